"""Checkers of the notebooks' exercises: `checks.adain(your_function)` says whether it is right, or which bug it holds.

Every `Exercise` that a module of this folder defines is here by its own name; together their bugs are the museum.
"""

from __future__ import annotations

import importlib
import pkgutil

from munit_lite.course.exercises.framework import Bug, Case, Exercise, Verdict

__all__ = ["EXERCISES", "MUSEUM", "Bug", "Case", "Exercise", "Verdict"]

_MODULES = [module.name for module in pkgutil.iter_modules(__path__)]
_FOUND = [
    value
    for name in _MODULES
    for value in vars(importlib.import_module(f"{__name__}.{name}")).values()
    if isinstance(value, Exercise)
]
EXERCISES = {exercise.name: exercise for exercise in _FOUND}
MUSEUM = {bug.name: bug for exercise in _FOUND for bug in exercise.bugs}

_names = [*_MODULES, *(exercise.name for exercise in _FOUND), *(bug.name for e in _FOUND for bug in e.bugs)]
if _twice := sorted({name for name in _names if _names.count(name) > 1}):
    raise ValueError(f"two modules, exercises or bugs of the museum are named {_twice[0]!r}: rename one")


def __getattr__(name: str) -> Exercise:
    if name not in EXERCISES:
        raise AttributeError(f"there is no checker named {name!r}; known: {', '.join(sorted(EXERCISES))}")
    return EXERCISES[name]
