"""The paper's propositions as measurements: an exact oracle and broken variants of it, two-sample tests, and checks
that report an effect with its interval. Their error rates say how often the checks err."""
