"""Sample sheets: each row is labeled, the images are those of the model, and a shipped model stands beside it."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from tiny import tiny

import munit_lite as ml
from munit_lite.callbacks import SampleSheets, TensorBoardLog
from munit_lite.data import open_data
from munit_lite.data.image_files import float_to_uint8
from munit_lite.methods import METHODS
from munit_lite.samples import REFERENCES, sample_sheet
from munit_lite.storage.checkpoints import shipped_checkpoints
from munit_lite.storage.tensors import read_header

NOTHING_SHIPPED = {"world_variant": "two_shapes"}
STYLES = [f"translation,\nsampled style {k}" for k in (1, 2, 3, 4)]
MUNIT_ROWS = ["input", "reconstruction", *STYLES, "example\nof the style", "translation,\nexample-guided"]


@pytest.fixture
def texts(monkeypatch):
    """All texts in the order in which they are drawn."""
    drawn = []
    draw_text = ImageDraw.ImageDraw.text

    def record(self, xy, text, *args, **kwargs):
        drawn.append(text)
        return draw_text(self, xy, text, *args, **kwargs)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", record)
    return drawn


def sheet_of(config, columns=2, step=None):
    return sample_sheet(ml.build(config).eval(), open_data(config), columns, step)


def corners(sheet, image):
    """Where an image is on the sheet, enlarged to at least 64 px by a whole number: (top, left) of each place."""
    zoom = -(-64 // image.shape[-1])
    wanted = np.kron(float_to_uint8(image).numpy(), np.ones((1, zoom, zoom), dtype=np.uint8))
    side = wanted.shape[-1]
    candidates = (sheet == torch.from_numpy(wanted[:, :1, :1])).all(0)[: -side + 1, : -side + 1].nonzero().tolist()
    return [(y, x) for y, x in candidates if np.array_equal(sheet[:, y : y + side, x : x + side].numpy(), wanted)]


@pytest.mark.parametrize(
    ("method", "rows"),
    [
        ("munit", MUNIT_ROWS),
        ("bicyclegan", MUNIT_ROWS),
        ("unit", ["input", "reconstruction", "translation"]),
        ("cyclegan", ["input", "reconstruction\n(round trip)", "translation"]),
        ("cyclegan_noise", ["input", "reconstruction\n(round trip)", *STYLES]),
        ("cyclegan_input_noise", ["input", "reconstruction\n(round trip)", *STYLES]),
    ],
)
def test_every_row_of_every_method_has_a_label(method, rows, texts):
    assert method in METHODS
    sheet_of(tiny(method=method, paired=method == "bicyclegan", **NOTHING_SHIPPED), step=1500)
    columns = ["input 1", "input 2"]
    directions = (["sketch to painting", *columns, *rows], ["painting to sketch", *columns, *rows])
    assert texts == ["world32, after 1,500 steps", *directions[0], *directions[1]]


@pytest.mark.parametrize(
    "size", [16, 32, 64, pytest.param(128, marks=pytest.mark.slow), pytest.param(256, marks=pytest.mark.slow)]
)
def test_labels_fit_beside_their_rows_and_images_are_enlarged_without_blur(size):
    small = {"world_variant": "laboratory", "num_style_downsamples": 2, "discriminator_layers": 3}
    config = tiny(image_size=size, **(small if size == 16 else {}))
    sheet = sheet_of(config)
    held_out = open_data(config).test(2)
    assert all(corners(sheet, image) for images in held_out[:2] for image in images)
    ink, cell = (sheet < 128).all(0), max(size, 64)
    assert ink[:, :2].sum() == ink[:2].sum() == ink[:, -2:].sum() == 0  # no text is cut off
    # The first input of domain 1, and that of domain 2, which is also an example above (see `sample_rows`).
    for first_top, left in (min(corners(sheet, held_out.images_1[0])), max(corners(sheet, held_out.images_2[1]))):
        for top in range(first_top, first_top + 8 * (cell + 2), cell + 2):
            label = ink[top - 1 : top + cell + 1, :left]
            inked_rows = label.any(1).nonzero()
            assert inked_rows.max() - inked_rows.min() >= max(8, cell // 18)  # letters large enough for this size
            assert not label[[0, -1]].any() and not label[:, -4:].any()  # none runs into a neighbor or an image


@pytest.mark.parametrize(
    ("settings", "directions"),
    [
        ({"folder_1": "cats", "folder_2": "dogs"}, ("domain 1 (cats) to domain 2 (dogs)",)),
        ({"folder_1": "cats", "folder_2": "dogs", "swap": True}, ("domain 1 (dogs) to domain 2 (cats)",)),
        ({"folder_1": "cats", "folder_2": "狗"}, ("domain 1 (cats) to domain 2", "domain 2 to domain 1 (cats)")),
        ({"folder": "pets"}, ("domain 1 (A) to domain 2 (B)", "domain 2 (B) to domain 1 (A)")),
    ],
)
def test_the_directions_of_folders_have_the_names_of_the_folders(settings, directions, texts, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("cats", "dogs", "狗", "pets/trainA", "pets/trainB"):
        (tmp_path / name).mkdir(parents=True)
        for k in range(11):  # of which two are held out
            pixels = np.random.default_rng([k, *name.encode()]).integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{k}.png")
    sheet_of(tiny(dataset="folder", **settings), columns=8)
    assert set(directions) <= set(texts) and "input 2" in texts and "input 3" not in texts


@pytest.mark.parametrize(
    ("step", "name", "heading"),
    [
        (None, "world32", "after 8,000 of 8,000 steps"),
        (1, "world32_step_1000", "after 1,000 of 8,000 steps"),
        (1600, "world32_step_2000", "after 2,000 of 8,000 steps"),
        (5999, "world32_step_4000", "after 4,000 of 8,000 steps"),
        (50_000, "world32", "after 8,000 of 8,000 steps"),
    ],
)
def test_the_shipped_checkpoint_nearest_in_steps_translates_the_same_inputs(step, name, heading, texts):
    config = tiny(seed=5)
    sheet = sheet_of(config, step=step)
    assert texts.count(f"for comparison: shipped model world32, {heading}") == 2  # once in each direction
    inputs, shipped = open_data(config).test(2), ml.load(name)
    styles = shipped.sample_style(2, torch.Generator().manual_seed(0))
    for source, images in ((1, inputs.images_1), (2, inputs.images_2)):
        for style in styles.split(1):
            assert all(corners(sheet, image) for image in shipped.translate(images, source, 3 - source, style=style))


@pytest.mark.parametrize(
    "settings",
    [NOTHING_SHIPPED, {"image_size": 64, "world_variant": "cyclic"}, {"image_size": 128}, {"folder": "apples2citrus"}],
)
def test_a_model_of_other_data_is_not_compared(settings, texts, tmp_path, monkeypatch):
    if "folder" in settings:  # at 32 px: the shipped model has 64
        monkeypatch.chdir(tmp_path)
        for name in ("trainA", "trainB"):
            (tmp_path / "apples2citrus" / name).mkdir(parents=True)
            for k in range(11):
                Image.new("RGB", (8, 8), (k, 9 * len(texts), ord(name[-1]))).save(
                    tmp_path / "apples2citrus" / name / f"{k}.png"
                )
        settings = settings | {"dataset": "folder"}
    sheet_of(tiny(**settings))
    assert texts and not any("for comparison" in text for text in texts)


def test_without_shipped_checkpoints_there_is_nothing_to_compare_with(texts, tmp_path, monkeypatch):
    monkeypatch.setattr("munit_lite.storage.checkpoints.CHECKPOINTS_DIR", tmp_path / "nowhere")
    monkeypatch.setattr("munit_lite.samples._load_reference", lambda name, device: ml.load(name))
    sheet_of(tiny())
    assert "sketch to painting" in texts and not any("for comparison" in text for text in texts)


@pytest.mark.parametrize("kind", REFERENCES)
def test_references_are_shipped_and_of_the_data_size_and_step_that_the_sheet_states(kind):
    for step, name in REFERENCES[kind].items():
        header = read_header(shipped_checkpoints()[name])
        data = ml.load(name).config.data
        dataset = data.folder if data.dataset == "folder" else data.dataset
        assert (header["step"], f"{dataset} at {data.image_size} px", data.swap) == (step, kind, False)
        assert ml.load(name).config.steps == max(REFERENCES[kind])


@pytest.mark.slow
def test_files_and_tensorboard_show_the_same_sheet_with_the_step_in_its_title(texts, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    callbacks = [SampleSheets(tmp_path / "samples"), TensorBoardLog(tmp_path / "tensorboard")]
    ml.train(tiny(steps=2, sample_every=2), tmp_path / "run", callbacks=callbacks)
    assert texts.count("world32, after 2 steps") == 2
    with Image.open(tmp_path / "samples" / "step_00000002.png") as saved:
        size = saved.size
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    (logged,) = events.Images("samples")
    assert (logged.width, logged.height, logged.step) == (*size, 2)
