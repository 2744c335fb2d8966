"""Explorers of a model and of the world: pictures against the model itself; a control moves what it should."""

import io
import time

import numpy as np
import PIL.Image
import pytest
import torch
from closeness import assert_same_images, assert_same_outputs
from tiny import tiny

import munit_lite as ml
from munit_lite.course.explorers import (
    AdaINExplorer,
    ExampleExplorer,
    LossExplorer,
    PropositionExplorer,
    StyleExplorer,
    SymmetryExplorer,
    WorldExplorer,
    adain,
    example,
    loss,
    proposition,
    style,
    symmetry,
    world,
)
from munit_lite.course.explorers.model_explorer import NUM_IMAGES, load_model_samples
from munit_lite.course.explorers.pictures import GAP, TILE_SIZE, label_columns, tile_images
from munit_lite.course.explorers.widget import default_values
from munit_lite.experiments.results import read_results
from munit_lite.storage.files import CheckpointError
from munit_lite.theory.verdicts import FAILS, HOLDS
from munit_lite.world import SHAPE_NAMES, STYLE_FACTORS, World, code_from_style, style_from_code

pytestmark = pytest.mark.numerical

STEP = TILE_SIZE + GAP
MODEL_EXPLORERS = [StyleExplorer, ExampleExplorer, AdaINExplorer]


@pytest.fixture(scope="module")
def model():
    """Untrained, but with AdaIN that depends strongly on the style."""
    made = ml.build(tiny(num_residual_blocks=2)).eval()
    for auto_encoder in made.auto_encoders:
        torch.nn.init.normal_(auto_encoder.decoder.mlp[-1].weight, std=1.0)
    return made


@pytest.fixture(scope="module")
def samples(model):
    return load_model_samples(model)


def as_bytes(images):
    return ((images.detach() + 1) * 127.5).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()


def tile(picture, row, column, top=0):
    """One image of a grid of 32-pixel images, at its own size."""
    y, x = top + row * STEP, column * STEP
    return picture[y : y + TILE_SIZE : TILE_SIZE // 32, x : x + TILE_SIZE : TILE_SIZE // 32]


LARGE = 4 * TILE_SIZE + 2 * GAP  # where the grid below the large pair begins


@pytest.mark.parametrize("kind", MODEL_EXPLORERS)
def test_the_same_state_gives_the_same_bytes(kind, model):
    one, two = kind(model), kind(model)
    assert one.picture == two.picture and one.stored_image.data == two.stored_image.data and one.sentence
    assert not one.problem


@pytest.mark.parametrize("kind", MODEL_EXPLORERS)
def test_every_control_changes_the_picture_somewhere_and_both_directions_work(kind, model):
    explorer = kind(model)
    one, two = explorer.samples.directions
    assert explorer.state["direction"] == one
    shown = explorer.picture
    explorer.state = explorer.state | {"direction": two}
    assert explorer.picture != shown and not explorer.problem


# ---------------------------------------------------------------------------------------------------- style


def test_there_is_a_slider_for_each_coordinate_of_the_style():
    for style_dim in (2, 8):
        controls = StyleExplorer(ml.build(tiny(style_dim=style_dim))).controls
        sliders = [spec for spec in controls if spec["key"].startswith("style_")]
        assert len(sliders) == style_dim
        heights = sliders[0]["density"]
        middle, edge = heights[len(heights) // 2], heights[0]
        assert middle == 1 and edge == pytest.approx(np.exp(-4.5), abs=1e-3)


@pytest.mark.parametrize("source", [1, 2])
def test_the_style_explorer_shows_the_models_own_translations(samples, model, source):
    state = default_values(style.make_controls(samples)) | {
        "direction": samples.directions[source - 1],
        "style_2": 1.3,
        "image": 3,
    }
    picture = style.render(samples, **state)
    inputs = samples.images[source - 1]
    wanted = as_bytes(model.translate(inputs, source, 3 - source, style=torch.tensor([[0.0, 1.3, 0.0]])))
    for column in range(NUM_IMAGES):
        np.testing.assert_array_equal(tile(picture, 0, column, LARGE), as_bytes(inputs)[column])
        assert_same_images(tile(picture, 1, column, LARGE), wanted[column])
    large = picture[: 4 * TILE_SIZE : 8, 4 * TILE_SIZE + GAP : 8 * TILE_SIZE + GAP : 8]
    assert_same_images(large, wanted[2])


def test_inputs_come_from_the_held_out_images_of_the_models_own_world(samples):
    pairs = World().pairs(torch.arange(NUM_IMAGES), 0, 32)
    torch.testing.assert_close(samples.images[0], pairs.image_1)
    assert not torch.equal(samples.images[1], pairs.image_2)  # no true pairs to look at


def rows_that_change(one, two, rows):
    return [
        k for k in range(rows) if (one[LARGE + k * STEP :][:TILE_SIZE] != two[LARGE + k * STEP :][:TILE_SIZE]).any()
    ]


@pytest.mark.parametrize("moved", [1, 2, 3])
def test_a_slider_moves_every_row_but_the_one_that_turns_its_own_coordinate(samples, moved):
    state = default_values(style.make_controls(samples)) | {"view": style.COORDINATES}
    one, two = style.render(samples, **state), style.render(samples, **state | {f"style_{moved}": 2.0})
    assert rows_that_change(one, two, 3) == [k for k in range(3) if k != moved - 1]


def test_the_second_style_moves_only_the_view_between_two_styles_and_not_its_first_column(samples):
    state = default_values(style.make_controls(samples))
    other = state | {"second_style_seed": 2}
    for view in (style.ALL_IMAGES, style.COORDINATES):
        same = [style.render(samples, **given | {"view": view}) for given in (state, other)]
        np.testing.assert_array_equal(*same)
    one, two = (style.render(samples, **given | {"view": style.INTERPOLATION}) for given in (state, other))
    for row in range(3):
        np.testing.assert_array_equal(tile(one, row, 0, LARGE), tile(two, row, 0, LARGE))
        assert (tile(one, row, NUM_IMAGES - 1, LARGE) != tile(two, row, NUM_IMAGES - 1, LARGE)).any()


def test_the_way_between_two_styles_ends_at_the_second(samples, model):
    state = default_values(style.make_controls(samples)) | {"view": style.INTERPOLATION, "second_style_seed": 5}
    made = model.translate(samples.images[0][:1], 1, 2, style=samples.sample_style(5))
    last = tile(style.render(samples, **state), 0, NUM_IMAGES - 1, LARGE)
    assert_same_images(last, as_bytes(made)[0])


def test_samples_come_from_the_prior(samples):
    drawn = torch.cat([samples.sample_style(number) for number in range(1, 800)])
    assert drawn.mean().abs() < 0.1 and abs(drawn.std() - 1) < 0.1 and drawn.abs().max() <= 3
    assert torch.equal(samples.sample_style(7), samples.sample_style(7))


def test_the_button_samples_another_style_each_time_and_reset_goes_back(model):
    explorer = StyleExplorer(model)
    first, seen = explorer.picture, set()
    for _ in range(5):
        explorer.handle_action("sample")
        seen.add(tuple(explorer.state[f"style_{k}"] for k in (1, 2, 3)))
    assert len(seen) == 5 and not explorer.problem and explorer.picture != first
    explorer.handle_action("reset")
    assert explorer.picture == first


# ------------------------------------------------------------------------------------------ example-guided


@pytest.mark.parametrize("source", [1, 2])
def test_each_cell_has_the_content_of_its_row_and_the_style_of_its_column(samples, model, source):
    state = {"direction": samples.directions[source - 1], "first_content": 7, "first_example": 5}
    picture = example.render(samples, **state)
    contents, examples = samples.images[source - 1], samples.images[2 - source]
    assert (tile(picture, 0, 0) == 255).all()
    for row, content in enumerate((6, 7, 0, 1)):
        np.testing.assert_array_equal(tile(picture, row + 1, 0), as_bytes(contents)[content])
        for column, given in enumerate((4, 5, 6, 7, 0, 1, 2)):
            np.testing.assert_array_equal(tile(picture, 0, column + 1), as_bytes(examples)[given])
            made = model.translate(contents[[content]], source, 3 - source, style_from=examples[[given]])
            assert_same_images(tile(picture, row + 1, column + 1), as_bytes(made)[0])


# ---------------------------------------------------------------------------------------------------- AdaIN


@pytest.fixture(scope="module")
def parameters(samples):
    decoder = samples.model.auto_encoder(2).decoder
    with torch.no_grad():
        return decoder.adain_parameters(samples.sample_style(1)), decoder.adain_parameters(samples.sample_style(2))


def test_untouched_parameters_decode_to_the_models_own_translation(samples, model, parameters):
    with torch.no_grad():
        made = adain.decode_with_parameters(samples, samples.contents[0], parameters[0], 2)
    assert_same_outputs(made, model.translate(samples.images[0], 1, 2, style=samples.sample_style(1)))


def test_an_edit_changes_the_named_layer_and_channels_and_nothing_else(parameters):
    first, second = parameters
    edit = adain.AdaINEdit([2], slice(1, 4), scale=2.0, shift=0.5)
    changed = adain.edit_parameters(first, second, edit)
    wanted = first.clone()
    wanted[0, 1, 0, 1:4] += 0.5  # layer 2 is the first of block 1: rows 0 (shift) and 1 (scale)
    wanted[0, 1, 1, 1:4] *= 2.0
    torch.testing.assert_close(changed, wanted)
    exchanged = adain.edit_parameters(first, second, adain.AdaINEdit([1], slice(None), swap=True))
    wanted = first.clone()
    wanted[0, 0, 2:] = second[0, 0, 2:]
    torch.testing.assert_close(exchanged, wanted)


def test_swapping_every_layer_gives_the_second_style_and_no_channels_give_the_first(samples):
    state = default_values(adain.make_controls(samples)) | {"operation": adain.SWAP}
    whole = adain.translate_with_edits(samples, **state)
    other = adain.translate_with_edits(samples, **state | {"style_seed": state["second_style_seed"]})
    assert_same_outputs(whole.after, other.before)
    assert_same_outputs(whole.swaps[:1], whole.before[:1])
    assert_same_outputs(whole.swaps[-1:], whole.after[:1])
    none = adain.translate_with_edits(samples, **state | {"first_channel": 9, "last_channel": 3})
    assert_same_outputs(none.after, none.before)
    assert (whole.after - whole.before).abs().max() > 0.01


def test_scale_and_shift_at_rest_change_nothing(samples):
    state = default_values(adain.make_controls(samples))
    rest = adain.translate_with_edits(samples, **state)
    assert_same_outputs(rest.after, rest.before)
    for change in ({"scale": 2.0}, {"shift": 1.0}):
        assert (adain.translate_with_edits(samples, **state | change).after - rest.before).abs().max() > 1e-3
        assert torch.equal(adain.translate_with_edits(samples, **state | change).before, rest.before)


def test_a_label_stands_below_each_image_of_a_row():
    row = tile_images([torch.zeros(3, 3, 32, 32)])
    labeled = label_columns(["first\nstyle", "", "second\nstyle"], row)
    np.testing.assert_array_equal(labeled[: len(row)], row)
    below = labeled[len(row) :]
    dark = [(below[:, k * STEP : k * STEP + TILE_SIZE] < 128).any() for k in range(3)]
    assert dark == [True, False, True]


# ------------------------------------------------------------------------------------------------------ world

SKETCH = np.s_[:, : 4 * TILE_SIZE]
PAINTING = np.s_[:, 4 * TILE_SIZE + GAP :]


@pytest.mark.parametrize("name, sketch, painting", [
    ("shape", True, True), ("x", True, True), ("y", True, True), ("size", True, True), ("rotation", True, True),
    ("line_width", True, False), ("ink", True, False), ("paper", True, False),
    ("foreground_hue", False, True), ("background_hue", False, True), ("light", False, True),
])  # fmt: skip
def test_a_factor_of_the_world_moves_what_it_should(name, sketch, painting):
    controls = world.make_controls()
    state = default_values(controls)
    moved = "square" if name == "shape" else controls[name].high
    one, two = world.render(**state), world.render(**state | {name: moved})
    assert ((one[SKETCH] != two[SKETCH]).any(), (one[PAINTING] != two[PAINTING]).any()) == (sketch, painting)


def test_the_world_explorer_draws_what_the_world_draws():
    pairs = World().pairs(torch.arange(20), 3, 32)
    for k in range(20):
        content = pairs.content
        state = {
            "shape": SHAPE_NAMES[int(content.shape_class[k])], "x": float(content.position[k, 0]),
            "y": float(content.position[k, 1]), "size": float(content.size[k]), "rotation": float(content.rotation[k]),
        }  # fmt: skip
        for domain, codes in ((1, pairs.code_1), (2, pairs.code_2)):
            factors = style_from_code(codes[[k]], domain)
            state |= {f.name: float(getattr(factors, f.name)) for f in STYLE_FACTORS[domain]}
        picture = world.render(**state)
        for image, part in ((pairs.image_1, SKETCH), (pairs.image_2, PAINTING)):
            assert_same_images(picture[part][::8, ::8], as_bytes(image[[k]])[0])


def test_the_table_shows_true_factors_close_predictions_and_codes(model):
    explorer = WorldExplorer(model, state={"foreground_hue": 0.12, "x": 0.4, "rotation": 0.2})
    header, *rows = explorer.rows
    cells = {name: dict(zip(header[1:], values, strict=True)) for name, *values in rows}
    assert cells["shape"] == {
        "truth": "star",
        "predicted from the sketch": "star",
        "predicted from the painting": "star",
        "true code": "",
    }
    assert cells["x"]["truth"] == "0.40" and abs(float(cells["x"]["predicted from the painting"]) - 0.4) <= 0.02
    hue = cells["foreground hue"]
    assert hue["truth"] == "0.12" and abs(float(hue["predicted from the painting"]) - 0.12) <= 0.03
    wanted = code_from_style(world.make_styles(**{k: v for k, v in explorer.state.items() if k in (
        "line_width", "ink", "paper", "foreground_hue", "background_hue", "light")})[2])[0, 0]  # fmt: skip
    assert hue["true code"] == f"{wanted:.2f}"
    explorer.state = explorer.state | {"shape": "disc"}
    assert {row[0]: row[1:4] for row in explorer.rows}["rotation"] == ["none"] * 3


def test_the_world_explorer_without_attribute_predictors_shows_a_message(monkeypatch):
    def missing(domain):
        raise CheckpointError("there is no file attribute_predictor.safetensors")

    monkeypatch.setattr(world, "load_attribute_predictor", missing)
    explorer = WorldExplorer()
    assert explorer.problem.startswith(
        "the attribute predictors are missing (there is no file attribute_predictor.safetensors)"
    )
    assert not explorer.picture
    assert explorer.controls == [] and explorer.stored_image is None


def test_the_world_explorer_works_without_a_model_and_says_why():
    explorer = WorldExplorer("no such model")
    assert explorer.picture and not explorer.problem
    assert "No style codes are shown: no such model is neither" in explorer.sentence


# ---------------------------------------------------------------------------------------------------- loss


@pytest.mark.parametrize("run", loss.RUNS)
def test_the_loss_explorer_shows_the_shipped_runs_own_translations_and_figures(run):
    samples, explorer = load_model_samples(loss.RUNS[run]), LossExplorer()
    explorer.state = {"run": run, "direction": samples.directions[1], "image": 7, "first_style_seed": 5}
    shown = np.asarray(PIL.Image.open(io.BytesIO(explorer.picture)))
    top = loss.NUM_ROWS * STEP - GAP + 2 * GAP
    for row, number in enumerate((6, 7, 0)):  # after the last image comes the first
        wanted = samples.model.translate(samples.images[1][[number]], 2, 1, style=samples.sample_style(6))
        assert_same_images(tile(shown, row, 2, top), as_bytes(wanted)[0])
    assert (tile(shown, 0, 0, top) == as_bytes(samples.images[1][6:7])[0]).all()
    measured = read_results(loss.RUNS[run])[samples.directions[1]]["class_accuracy"]
    told = next(row for row in explorer.rows if row[0] == "class accuracy")
    assert told[2].startswith(f"{measured:.2f} ± ")
    assert eval(explorer.code, {"LossExplorer": LossExplorer}).picture == explorer.picture


def test_the_loss_explorer_without_a_run_shows_a_message(monkeypatch):
    monkeypatch.setitem(loss.RUNS, "no image reconstruction", "no_such_run")
    loss.load_run.cache_clear()
    explorer = LossExplorer()
    assert explorer.problem.startswith("no_such_run is neither") and explorer.controls == []
    loss.load_run.cache_clear()


# ------------------------------------------------------------------------------------------------- proposition


@pytest.mark.parametrize("broken", proposition.BREAKS)
def test_a_break_of_no_strength_is_the_oracle_and_a_full_one_is_noticed_where_it_can_be(broken):
    units = default_values(proposition.make_controls())["units"]
    found = {t: proposition.run_checks(broken, t, units, 0) for t in (0.0, 1.0)}
    assert all(result.status == HOLDS for result in found[0.0].values())
    failing = {name for name, result in found[1.0].items() if result.status == FAILS}
    if "mixed" in broken:
        assert failing == {"content_preservation"}
    else:
        assert "optimality" in failing and all(result.status != "undecided" for result in found[1.0].values())


@pytest.mark.slow
def test_the_proposition_explorer_reports_what_the_checks_say():
    explorer = PropositionExplorer({"strength": 0.3, "units": 200})
    found = proposition.run_checks(**explorer.state)
    assert [row[1] for row in explorer.rows[1:]] == [result.status for result in found.values()]
    assert all(
        f"{proposition.CHECK_NAMES[name]}: {result.status}" in explorer.sentence for name, result in found.items()
    )
    shown = explorer.picture
    explorer.state = explorer.state | {"units": 100}
    assert explorer.picture != shown and not explorer.problem
    assert eval(explorer.code, {"PropositionExplorer": PropositionExplorer}).picture == explorer.picture


# --------------------------------------------------------------------------------- missing, broken, uploaded, code


@pytest.mark.parametrize("kind", MODEL_EXPLORERS)
def test_a_missing_checkpoint_is_one_sentence_and_no_controls(kind):
    explorer = kind("no_such_model")
    assert explorer.problem.startswith("no_such_model is neither a run folder, a file of weights, nor a checkpoint")
    assert explorer.controls == [] and explorer.actions == {} and explorer.uploads == {} and not explorer.picture
    stored, _ = explorer._repr_mimebundle_()
    assert stored["text/plain"] == explorer.problem and "image/png" not in stored


def send(explorer, upload, file, content):
    """As the browser does."""
    explorer._handle_message(explorer, {"upload": upload, "file": file}, [memoryview(content)])


def file_of(color, kind="PNG", size=(40, 60)):
    buffer = io.BytesIO()
    PIL.Image.new("RGB", size, color).save(buffer, kind)
    return buffer.getvalue()


def test_an_uploaded_image_takes_the_place_of_the_chosen_one_until_reset(model):
    explorer = StyleExplorer(model)
    first = explorer.picture
    explorer.state = explorer.state | {"image": 4}
    before = explorer.picture
    send(explorer, "image", "mine.jpg", file_of("#808080", "JPEG"))
    shown = np.asarray(PIL.Image.open(io.BytesIO(explorer.picture)))
    assert not explorer.problem and np.abs(tile(shown, 0, 3, LARGE).astype(int) - 128).max() <= 2
    assert explorer.picture != before
    explorer.handle_action("reset")
    assert explorer.picture == first


@pytest.mark.parametrize("content, told", [
    (b"", "mine.png cannot be read as an image"),
    (b"GIF89a broken", "mine.png cannot be read as an image"),
    (file_of("gray")[:60], "mine.png cannot be read as an image"),
    (file_of("gray", size=(400, 4)), "mine.png is 400 x 4 pixels, but its long side must be at most 16 times"),
    (file_of("red"), "mine.png has colors, but a sketch has none: choose the other direction"),
])  # fmt: skip
def test_a_broken_upload_is_a_sentence_that_names_the_file_and_nothing_changes(model, content, told):
    explorer = StyleExplorer(model)
    before = explorer.picture
    send(explorer, "image", "mine.png", content)
    assert explorer.problem.startswith(told) and explorer.picture == before
    explorer.handle_action("reset")
    assert explorer.problem == ""


def test_uploads_go_to_the_strip_they_are_meant_for(model):
    explorer = ExampleExplorer(model)
    send(explorer, "example", "gray.png", file_of("#555555"))
    assert explorer.problem.startswith("gray.png has no colors, but a painting has some")
    send(explorer, "example", "../../red.png", file_of("red"))
    shown = np.asarray(PIL.Image.open(io.BytesIO(explorer.picture)))
    assert not explorer.problem and (tile(shown, 0, 1) == [255, 0, 0]).all()
    send(explorer, "content", "gray.png", file_of("#555555"))
    shown = np.asarray(PIL.Image.open(io.BytesIO(explorer.picture)))
    assert (tile(shown, 1, 0) == 0x55).all()


@pytest.mark.parametrize("kind", [*MODEL_EXPLORERS, WorldExplorer])
def test_the_copied_code_makes_the_same_explorer(kind, model, tmp_path):
    from munit_lite.storage.checkpoints import save_model

    file = tmp_path / "model.safetensors"
    save_model(file, model, step=1)
    explorer = kind(file)
    changed = {c["key"]: c["high"] if c["kind"] == "slider" else c["options"][-1] for c in explorer.controls}
    explorer.state = changed
    again = eval(explorer.code, {kind.__name__: kind})
    assert not explorer.problem and again.picture == explorer.picture and again.state == explorer.state


def test_a_model_of_the_laboratory_is_explored_with_the_predictors_of_its_world():
    size = {"image_size": 16, "num_style_downsamples": 2, "discriminator_layers": 3}
    samples = load_model_samples(ml.build(tiny(world_variant="laboratory", **size)).eval())
    assert [predictor.world_variant for predictor in samples.predictors] == ["laboratory"] * 2
    assert samples.predict_attributes(samples.images[0], 1).shape_class.shape == (NUM_IMAGES,)


def test_a_picture_takes_milliseconds():
    samples = load_model_samples(ml.build(ml.preset("world32", steps=1)).eval())
    state = default_values(style.make_controls(samples))
    times = []
    for k in range(15):
        begin = time.perf_counter()
        style.render(samples, **state | {"style_1": k / 10})
        times.append(time.perf_counter() - begin)
    assert sorted(times)[7] < 0.5  # measured: 20 ms; a busy machine may take longer


# ---------------------------------------------------------------------------------------------------- symmetry


@pytest.mark.parametrize("angle", [30, 90])
def test_a_rotation_in_both_networks_passes_every_check_and_loses_the_content(angle):
    found = {name: result.status for name, result in symmetry.run_checks(angle, symmetry.BOTH_NETWORKS, 0).items()}
    assert {name for name, status in found.items() if status != HOLDS} == {"content_preservation"}
    forth, back = (
        torch.corrcoef(pairs.T)[0, 1].item() for pairs in symmetry.position_scores(angle, symmetry.BOTH_NETWORKS, 0)
    )
    assert forth == pytest.approx(np.cos(np.radians(angle)), abs=0.12) and forth == pytest.approx(back, abs=0.2)


def test_a_rotation_in_one_network_is_detected_by_the_checks_that_can_see_it():
    found = {name: result.status for name, result in symmetry.run_checks(90, symmetry.DECODER_ONLY, 0).items()}
    assert found["positions"] == found["cycle_consistency"] == FAILS
    forth, back = symmetry.position_scores(90, symmetry.DECODER_ONLY, 0)
    assert torch.corrcoef(forth.T)[0, 1].abs() < 0.15 and torch.corrcoef(back.T)[0, 1] > 0.999


def test_without_a_rotation_the_symmetry_explorer_shows_the_oracle():
    assert {result.status for result in symmetry.run_checks(0, symmetry.BOTH_NETWORKS, 0).values()} == {HOLDS}
    assert symmetry.render(0, symmetry.BOTH_NETWORKS, 0).data != symmetry.render(90, symmetry.BOTH_NETWORKS, 0).data


@pytest.mark.slow
def test_the_symmetry_explorer_reports_what_the_checks_say():
    explorer = SymmetryExplorer({"angle": 60, "networks": symmetry.DECODER_ONLY})
    found = symmetry.run_checks(**explorer.state)
    assert [row[1] for row in explorer.rows[1:]] == [result.status for result in found.values()]
    assert all(f"{symmetry.CHECK_LABELS[name]}: {result.status}" in explorer.sentence for name, result in found.items())
    assert eval(explorer.code, {"SymmetryExplorer": SymmetryExplorer}).picture == explorer.picture
