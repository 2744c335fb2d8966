"""One explorer a file: a pure function from a state to a picture, and the view that drives it."""

from munit_lite.course.explorers.example import ExampleExplorer
from munit_lite.course.explorers.joint import SymmetryExplorer
from munit_lite.course.explorers.loss import LossExplorer
from munit_lite.course.explorers.proposition import PropositionExplorer
from munit_lite.course.explorers.style import StyleExplorer
from munit_lite.course.explorers.surgery import SurgeryExplorer
from munit_lite.course.explorers.world import WorldExplorer

__all__ = [
    "ExampleExplorer",
    "LossExplorer",
    "PropositionExplorer",
    "StyleExplorer",
    "SurgeryExplorer",
    "SymmetryExplorer",
    "WorldExplorer",
]
