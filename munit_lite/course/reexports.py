"""Names of other packages that many notebooks use, so that files of those packages can move without notebooks changing.

`munit_lite.course` exports them. A chapter that is *about* a package imports from that package directly.
"""

# ruff: noqa: F401
from munit_lite import doctor
from munit_lite.callbacks import QualityLog, SampleSheets, TensorBoardLog
from munit_lite.data import open_data
from munit_lite.evaluation import image_metrics, steganography
from munit_lite.evaluation.attribute_predictors import load_attribute_predictor
from munit_lite.evaluation.image_metrics import conditional_inception_score
from munit_lite.evaluation.mode_coverage import parse_varieties
from munit_lite.evaluation.statistics import held_out_r2, mean_with_interval
from munit_lite.evaluation.translator import MeanStyleTranslator
from munit_lite.evaluation.world_metrics import content_features, style_quantiles
from munit_lite.experiments.markdown import markdown_table
from munit_lite.experiments.provenance import papermill_command
from munit_lite.experiments.recipe_tables import deviations_table
from munit_lite.experiments.results import read_results, write_results
from munit_lite.paths import RESULTS_DIR
from munit_lite.samples import sample_rows
from munit_lite.storage.run_folder import RunFolder
