"""Files on disk: atomic writes, run folders that a run resumes from, checkpoints, and the weight files of the
original implementation. A reader sees the old file or the whole new one, never a part."""
