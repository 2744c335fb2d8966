"""Checkers of the exercises: `exercises.adain(your_function)` prints whether it is right, or which known bug it has.

Each `Exercise` that a module of this folder defines is available by its own name; `KNOWN_BUGS` holds the bugs of all.
"""

from __future__ import annotations

import importlib
import pkgutil

from munit_lite.course.exercises.framework import Bug, Exercise, Feedback, Input

__all__ = ["EXERCISES", "KNOWN_BUGS", "Bug", "Exercise", "Feedback", "Input"]

_MODULES = [module.name for module in pkgutil.iter_modules(__path__)]
_DEFINED = [
    value
    for name in _MODULES
    for value in vars(importlib.import_module(f"{__name__}.{name}")).values()
    if isinstance(value, Exercise)
]
EXERCISES = {exercise.name: exercise for exercise in _DEFINED}
KNOWN_BUGS = {bug.name: bug for exercise in _DEFINED for bug in exercise.bugs}

_names = [*_MODULES, *(exercise.name for exercise in _DEFINED), *(bug.name for e in _DEFINED for bug in e.bugs)]
if _duplicates := sorted({name for name in _names if _names.count(name) > 1}):
    raise ValueError(f"two modules, exercises or known bugs are named {_duplicates[0]!r}: rename one of them")


def __getattr__(name: str) -> Exercise:
    if name not in EXERCISES:
        raise AttributeError(f"there is no exercise named {name!r}; known: {', '.join(sorted(EXERCISES))}")
    return EXERCISES[name]
