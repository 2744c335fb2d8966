"""The widget of every explorer: states are validated, the newest wins, errors become messages, an image is stored."""

import base64
import io

import numpy as np
import PIL.Image
import pytest
from IPython.display import Image

from munit_lite.course.explorers.pictures import to_png
from munit_lite.course.explorers.widget import Choice, Explorer, Slider


def draw(red, width, tone="dark"):
    """A picture that is a plain function of the values."""
    picture = np.zeros((4, 8, 3), np.uint8)
    picture[:, :width, 0] = round(255 * red)
    return picture if tone == "dark" else 255 - picture


STORED = Image(to_png(draw(0.5, 3)), format="png", alt="A bar of three pixels.")
CONTROLS = {"red": (0.0, 1.0, 0.5), "width": (0, 8, 3), "tone": Choice(("dark", "light"))}


@pytest.fixture
def explorer():
    return Explorer(draw, CONTROLS, STORED)


def pixels(explorer):
    return np.asarray(PIL.Image.open(io.BytesIO(explorer.picture)))


def test_the_picture_is_rendered_from_the_defaults_and_from_every_later_state(explorer):
    np.testing.assert_array_equal(pixels(explorer), draw(0.5, 3))
    explorer.state = {"red": 1.0, "width": 7, "tone": "light"}
    np.testing.assert_array_equal(pixels(explorer), draw(1.0, 7, "light"))
    assert explorer.problem == "" and explorer.sentence == STORED.alt


def test_after_200_moves_the_last_one_is_shown(explorer):
    for k in range(200):
        explorer.state = explorer.state | {"red": k / 199, "width": k % 8}
    np.testing.assert_array_equal(pixels(explorer), draw(1.0, 199 % 8))


def test_whole_numbers_stay_whole_and_others_lose_the_noise_of_binary(explorer):
    explorer.state = explorer.state | {"width": 5.0, "red": 0.1 + 0.2}
    assert explorer.code == "explorer.state = {'red': 0.3, 'width': 5, 'tone': 'dark'}"


def test_the_code_brings_the_state_back(explorer):
    explorer.state = {"red": 0.25, "width": 6, "tone": "light"}
    code, shown = explorer.code, explorer.picture
    explorer.handle_action("reset")
    assert explorer.picture != shown and explorer.state == {"red": 0.5, "width": 3, "tone": "dark"}
    exec(code, {"explorer": explorer})
    assert explorer.picture == shown


@pytest.mark.parametrize(
    "change, message",
    [
        ({"red": 1.5}, "red is 1.5, but goes from 0 to 1"),
        ({"red": "much"}, "red is 'much', but goes from 0 to 1"),
        ({"red": float("nan")}, "red is nan, but goes from 0 to 1"),
        ({"tone": "pink"}, "tone is 'pink', but the choices are: dark, light"),
        ({"green": 1}, "the explorer has no 'green'; known: red, width, tone"),
    ],
)
def test_a_wrong_state_is_a_message_and_leaves_the_picture(explorer, change, message):
    before, good = explorer.picture, explorer.state
    explorer.state = good | change
    assert explorer.problem == message and explorer.picture == before
    explorer.state = good
    assert explorer.problem == ""


def test_errors_for_the_reader_are_shown_and_others_are_not_hidden():
    def fails(red):
        raise (ValueError("too red: turn it down") if red > 0.5 else KeyError("a defect"))

    shown = Explorer(fails, {"red": (0.0, 1.0, 0.8)}, STORED)
    assert shown.problem == "too red: turn it down" and not shown.picture
    with pytest.raises(KeyError):
        Explorer(fails, {"red": (0.0, 1.0, 0.2)}, STORED)


def test_a_stored_page_has_the_image_with_its_alternative_text(explorer):
    stored, metadata = explorer._repr_mimebundle_()
    assert base64.b64decode(stored["image/png"]) == STORED.data
    assert stored["text/plain"] == STORED.alt and metadata["image/png"]["alt"] == STORED.alt
    assert stored["application/vnd.jupyter.widget-view+json"]["model_id"] == explorer.model_id


def test_figures_are_shown_as_they_are():
    figure = Image(to_png(draw(0.1, 2)), format="png", alt="A figure.")
    assert Explorer(lambda **_: figure, {"red": (0.0, 1.0, 0.5)}, STORED).picture == figure.data


@pytest.mark.parametrize(
    "low, high, first, step", [(0, 8, 3, 1), (0.0, 1.0, 0.5, 0.02), (-3.0, 3.0, 0.0, 0.1), (0.04, 0.07, 0.05, 0.0005)]
)
def test_steps_fit_the_range(low, high, first, step):
    assert Slider(low, high, first).step == pytest.approx(step)


def test_controls_have_labels_and_descriptions():
    explorer = Explorer(
        lambda **_: draw(0, 0), {"line_width": (0.04, 0.07, 0.05), "tone": Choice(("a", "b"), "Tone")}, STORED
    )
    slider, choice = explorer.controls
    assert (
        slider["label"] == "line width" and slider["description"] == "from 0.04 to 0.07" and choice["label"] == "Tone"
    )
