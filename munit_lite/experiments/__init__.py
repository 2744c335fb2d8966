"""Experiments and their records: results with provenance, sweeps of papermill runs, claims written down beforehand,
tables and benchmarks. Every table is computed from the files in data/results."""
