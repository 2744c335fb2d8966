"""Names of other packages that many notebooks use, so that files of those packages can move without notebooks changing.

`munit_lite.course` exports them. A chapter that is *about* a package imports from that package directly.
"""

# ruff: noqa: F401
from munit_lite import doctor
from munit_lite.callbacks import SampleSheets, TensorBoardLog, sample_rows
from munit_lite.data import open_data
from munit_lite.evaluation import image_metrics
from munit_lite.evaluation.attribute_predictors import load_attribute_predictor
from munit_lite.evaluation.image_metrics import conditional_inception_score
from munit_lite.evaluation.metrics import content_features, held_out_predictions, held_out_r2, style_quantiles
from munit_lite.evaluation.mode_coverage import MeanStyleTranslator, parse_varieties
from munit_lite.evaluation.statistics import mean_with_interval
from munit_lite.experiments.notebook_times import time_yardstick_step
from munit_lite.experiments.results import RESULTS, papermill_command, read_results, write_results
from munit_lite.storage.checkpoints import RunFolder
