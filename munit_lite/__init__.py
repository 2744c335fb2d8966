"""munit_lite: a small MUNIT whose every claim can be measured on a world whose truth is known."""

import lazy_loader

__version__ = "0.1.0"

# The names in `__init__.pyi`, each imported when it is first used: torch takes seconds, and `munit-lite --help` and
# `munit-lite doctor` must answer where torch is broken.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
