"""What the notebooks import: set-up, predictions and their answers, figures, equations, exercises and
explorers."""

import lazy_loader

# The names in `__init__.pyi`, each imported when it is first used, as in `munit_lite` itself.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
