"""One explorer per file: a pure function from a state to a picture, and the widget that calls it."""

from munit_lite.course.explorers.adain import AdaINExplorer
from munit_lite.course.explorers.example import ExampleExplorer
from munit_lite.course.explorers.loss import LossExplorer
from munit_lite.course.explorers.proposition import PropositionExplorer
from munit_lite.course.explorers.style import StyleExplorer
from munit_lite.course.explorers.symmetry import SymmetryExplorer
from munit_lite.course.explorers.world import WorldExplorer

__all__ = [
    "AdaINExplorer",
    "ExampleExplorer",
    "LossExplorer",
    "PropositionExplorer",
    "StyleExplorer",
    "SymmetryExplorer",
    "WorldExplorer",
]
