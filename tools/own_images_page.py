"""Write the page about users' own images, with its figure.

`tools/measure_own_images.py` and `tools/measure_few_images.py` measure, and `python -m tools.own_images_page` writes
data/results/own_images.md and data/results/own_images_flicker.png.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from statistics import mean
from typing import Any

from munit_lite.course import figures
from munit_lite.evaluation.statistics import mean_over_directions
from munit_lite.experiments.markdown import markdown_table
from munit_lite.experiments.results import read_results, read_results_file
from munit_lite.paths import RESULTS_DIR
from tools.measure_own_images import PHOTOS, SHIFTS
from tools.page_figures import FONT, WIDTH, digest_of, png_with_digest
from tools.page_text import minus_signs

PAGE = RESULTS_DIR / "own_images.md"
FIGURE = RESULTS_DIR / "own_images_flicker.png"
MODELS = ("world32", "world64s", PHOTOS)

Directions = Mapping[str, Mapping[str, Any]]  # direction of translation -> metrics


def _cell(metrics: Directions, name: str, digits: int = 2) -> str:
    value, half_width = mean_over_directions(metrics, name)
    step = 0.1**digits
    if not name.endswith("difference") and f"{value:.{digits}f}" in (f"{0:.{digits}f}", f"{1:.{digits}f}"):
        bound = step * max(1, ceil((min(value, 1 - value) + half_width) / step))  # of a share of none or of all
        return f"< {bound:.{digits}f}" if value < 0.5 else f"> {1 - bound:.{digits}f}"
    return f"{value:.{digits}f} ± {half_width:.{digits}f}"


def _value(metrics: Directions, name: str, digits: int = 2) -> str:
    return f"{mean_over_directions(metrics, name)[0]:.{digits}f}"


def worse_factors(sizes: Mapping[str, Directions], metric: str, sign: int = 1) -> list[str]:
    """Return the factors at which a metric is worse than at the trained size by more than both half-widths together.

    Args:
        sizes: factor -> direction -> metrics, with the factor "1".
        metric: has a 95 % interval.
        sign: 1 if high values are good, -1 if low ones are.

    Example:
        >>> accuracies = {"1": (0.9, 0.02), "2": (0.88, 0.02), "4": (0.5, 0.02)}
        >>> named = {key: {"a to b": {"x": value, "x_interval": h}} for key, (value, h) in accuracies.items()}
        >>> worse_factors(named, "x")
        ['4']
    """
    found = {factor: mean_over_directions(metrics, metric) for factor, metrics in sizes.items()}
    value, half_width = found["1"]
    return [factor for factor, (v, h) in found.items() if sign * (value - v) > half_width + h]


def sizes_table(measured: Mapping[str, Mapping[str, Directions]]) -> str:
    """Return the table of other sizes: means over both directions of translation."""
    columns = {
        "world32: class accuracy": ("world32", "class_accuracy", 2),
        "style error": ("world32", "example_error", 2),
        "diversity ratio": ("world32", "diversity_ratio", 2),
        f"{PHOTOS}: same variety": (PHOTOS, "variety_agreement", 2),
        "target domain": (PHOTOS, "classified_as_target", 2),
        "cycle error": (PHOTOS, "cycle_error", 1),
    }
    rows = [
        [factor, *(_cell(measured[model][factor], name, digits) for model, name, digits in columns.values())]
        for factor in measured["world32"]
    ]
    rows[list(measured["world32"]).index("1")][4] = "1 by definition"
    return markdown_table(["factor", *columns], rows)


def scale_table(measured: Directions) -> str:
    """Return the table of both scales: means over both directions, and paired differences."""
    titles = {
        "cycle_error": ("cycle error, gray levels", 2),
        "reconstruction_error": ("reconstruction error, gray levels", 2),
        "input_detail": ("detail of the inputs, gray levels", 2),
        "classified_as_target": ("share in the target domain", 3),
        "distinct_varieties": ("varieties among six styles", 2),
    }
    rows = []
    for name, (title, digits) in titles.items():
        values = [_value(measured, f"{name}_{scale}", digits) for scale in ("at_size", "at_training_scale")]
        rows.append([title, *values, minus_signs(_cell(measured, f"{name}_difference", digits))])
    return markdown_table(["", "resized to 64 px", "resized to 72 px", "difference"], rows)


def few_table(measured: Mapping[str, Directions]) -> str:
    """Return the table of few images: means over both directions."""
    columns = {
        "class accuracy, new images": "class_accuracy",
        "class accuracy, training images": "class_accuracy_training_images",
        "diversity ratio": "diversity_ratio",
        "training images accepted": "training_images_accepted",
        "held-out images accepted": "held_out_images_accepted",
        "translations rejected": "translations_rejected",
    }
    rows = [[name, *(_cell(metrics, metric) for metric in columns.values())] for name, metrics in measured.items()]
    return markdown_table(["per domain", *columns], rows)


def flicker(measured: Mapping[str, Any], model: str, key: str, name: str = "flicker") -> float:
    """Return a number of one shift, or of the references, as the mean over both directions of translation."""
    return mean_over_directions({d: by_shift[key] for d, by_shift in measured[model].items()}, name)[0]


def flicker_table(measured: Mapping[str, Any], strides: Mapping[str, int]) -> str:
    """Return the table of flicker in gray levels, by whether the shift is a multiple of the stride."""
    rows = []
    for model in MODELS:
        on, off = ([k for k in SHIFTS if (k % strides[model] == 0) == hit] for hit in (True, False))
        wide = f"{model}, wide frame"
        exact = max(flicker(measured, wide, str(k)) for k in on) if wide in measured else None
        rows.append(
            [
                model,
                str(strides[model]),
                *(f"{mean(flicker(measured, model, str(k)) for k in shifts):.1f}" for shifts in (off, on)),
                "not measured" if exact is None else f"{exact:.3f}" if exact >= 0.001 else "< 0.001",
                *(f"{flicker(measured, model, 'references', name):.1f}" for name in ("new_style", "interpolation")),
            ]
        )
    header = ["model", "stride", "other shifts", "multiples of the stride", "the same, wide frame", "new style"]
    return markdown_table([*header, "interpolation of the input"], rows)


def flicker_digest() -> str:
    """Return the digest of what the figure shows."""
    measured = read_results("video_flicker")
    return digest_of({m: [round(flicker(measured, m, str(k)), 4) for k in SHIFTS] for m in MODELS})


ALT = (
    "Three lines show the flicker against the shift of the camera. The line of apples2citrus lies far above those of "
    "both models of the known world. Each line has low points at the multiples of its model's stride."
)


def flicker_figure() -> bytes:
    """Return the flicker of each model against the shift, as PNG."""
    results = read_results_file("video_flicker")
    measured, strides = results["numbers"], results["provenance"]["settings"]["strides"]
    figure, (axis,) = figures.subplots(1, size=(WIDTH, 3.4))
    for color, line, model in zip(figures.COLORS, ("o-", "s--", "^:"), MODELS, strict=False):
        values = [flicker(measured, model, str(shift)) for shift in SHIFTS]
        axis.plot(SHIFTS, values, line, color=color, label=f"{model} (stride {strides[model]})")
    axis.set_title("Shifts by multiples of the encoder's stride flicker least", fontsize=FONT + 2)
    axis.set_xlabel("shift of the camera in pixels", fontsize=FONT)
    axis.set_ylabel("flicker in gray levels", fontsize=FONT)
    axis.set_ylim(bottom=0)
    axis.tick_params(labelsize=FONT)
    axis.legend(fontsize=FONT)
    return png_with_digest(figure, ALT, flicker_digest())


def page() -> str:
    """Return the page in Markdown."""
    sizes, few = read_results("other_sizes"), read_results("few_images")
    scale, video = read_results("train_test_scale"), read_results_file("video_flicker")
    frames, strides = video["numbers"], video["provenance"]["settings"]["strides"]
    size_settings, photo_settings, few_settings = (
        read_results_file(name)["provenance"]["settings"] for name in ("other_sizes", "train_test_scale", "few_images")
    )
    true = [m["true_class_accuracy"] for d in sizes["world32"].values() for m in d.values()]
    chance = _value(few["5 images"], "class_accuracy_shuffled_contents")
    reference = [
        run["numbers"][direction]["class_accuracy"]
        for run in read_results("laboratory")["laboratory"]["munit"].values()
        for direction in few["5 images"]
    ]
    accuracy = {name: _value(metrics, "class_accuracy") for name, metrics in few.items()}
    held_out = {name: _value(metrics, "held_out_images_accepted") for name, metrics in few.items()}
    new_styles = [flicker(frames, model, "references", "new_style") for model in MODELS]
    fixed = [mean(flicker(frames, model, str(k)) for k in SHIFTS) for model in MODELS]
    return f"""# What to expect with images of your own

Four measurements answer questions about your own images: at which size to translate them, whether it matters that
training enlarges them a little, how many you need, and whether a video flickers. Where the known world can stand in
for your images, translations are compared with the truth; for photos without truth we use the photos of apples and
citrus fruit. The number after ± is the half-width of a 95 % interval over images. Each model was trained once. The
tables show means over both directions of translation.

## Translate at the size of the training

A model translates best at the size that it was trained at. `world32` was trained at 32 px and `{PHOTOS}` at 64 px;
the factor is the size of inputs and outputs divided by that size.

{sizes_table(sizes)}

*`world32`, {size_settings["contents"]} images per direction: the share of translations that show the class
of their input; the error of the style that is taken from an example, in units of each factor's range; and the
standard deviation of the styles divided by the true one, on a twentieth of the images. `{PHOTOS}`,
{size_settings["photos"]} photos per direction in {size_settings["styles"]} styles: the share of
translations whose variety, by color, is the one that the same photo and style give at the trained size; the share
whose colors are those of the target domain; and the mean absolute error after a round trip, in gray levels of 255.*

{_size_sentences(sizes)} The limit is not the measurement: the attribute predictor recognizes the class of at least
{100 * min(true):.0f} % of true images of each size.

So translate at the trained size, and enlarge the result with another tool if you need more pixels. If you need a
larger translation, train at that size.

## The scale of training crops has a small cost

Training resizes an image to 9/8 of the model's size and crops it at random; tests and `munit-lite translate` resize
it to the size itself. Objects are therefore 9/8 times larger in training. We translate {photo_settings["photos"]}
held-out photos per direction in {photo_settings["styles"]} styles at both scales: resized to 64 px, and resized to 72
px with a center crop of 64 px.

{scale_table(scale[PHOTOS])}

*Means over photos; the difference is paired by photo. The detail of an input is what it loses by a shift of half a
pixel and back with linear interpolation.*

{_scale_sentences(scale, few)}

We therefore recommend to document the mismatch and to keep the defaults. Its cost is a few hundredths of class
accuracy in one model of few images and not measurable in photos, while a center crop at the scale of the training
would keep only 8/9 of each side of an image. If your subject is in the middle, you can have that scale: resize your
images to 9/8 of the model's size and crop their centers before you translate them.

## Five or seventeen images per domain are far too few

With 5 or 17 images per domain, translations lose the class of a shape. We saved images of the known world as PNG
files, trained the networks of the preset `laboratory` on these folders for {few_settings["steps"]:,} steps, and
translated 500 new images in each direction.

{few_table(few)}

*Class accuracy: the share of translations that show the class of their input. Diversity ratio: as above. The last
three columns are the shares of images that the discriminators classify correctly: training images and held-out images
as real, and translations as generated.*

The class accuracy on new images is {accuracy["5 images"]} with 5 images and {accuracy["17 images"]} with 17. The
accuracy against the class of another image is {chance}, so these models all but ignore the class, also of their own
training images. With 100 images the class accuracy is {accuracy["100 images"]}. The preset `laboratory` itself, which
renders new images at every step, reaches {min(reference):.2f} to {max(reference):.2f}
([laboratory.md](laboratory.md)); it also trains for 2,500 steps and without crops. The diversity ratio hardly
differs, so varied translations do not show that training worked.

The discriminators memorize their training images. They accept fewer than 1 % of held-out real images with 5 or 17
training images, and {100 * float(held_out["100 images"]):.0f} % with 100, although held-out images are as real as the
others. Such a discriminator tells the generator how the training images look, and not how the domain looks. So
collect more images before you tune anything else, and compare the discriminator on training and held-out images.

## A video with a fixed style flickers, least at shifts by multiples of the stride

A fixed style flickers less than new styles for each frame do, but in photos still visibly. We let a camera move over
a larger image by 1 to 8 pixels, translate both frames with one style, align the outputs, and average the absolute
difference over their overlap.

![{ALT}]({FIGURE.name})

*Flicker of a fixed style in gray levels of 255, against the shift of the camera between two frames; means over
{video["provenance"]["settings"]["count"]} images in each direction.*

{flicker_table(frames, strides)}

*Gray levels of 255. "New style": the same frame in two styles. "Interpolation of the input": what an input loses by a
shift of half a pixel and back. In a wide frame, four times as wide and high, the shapes are far from the border.*

On average over the shifts, the flicker is {fixed[0]:.1f} gray levels for {MODELS[0]} and {fixed[1]:.1f} for
{MODELS[1]}, where new styles differ by {new_styles[0]:.0f} and {new_styles[1]:.0f}. For {MODELS[2]} it is
{fixed[2]:.1f} of {new_styles[2]:.0f}, almost half. Two things cause it:

1. **The stride of the content encoder.** It halves the side once in `world32` and twice in the other two models, so
   the content code moves along with the image only if the shift is a multiple of 2 or 4 pixels. At other shifts the
   encoder samples other positions, and a sharp contour moves against the grid.
2. **What enters and leaves the frame.** Instance normalization, and layer normalization in the decoder, use
   statistics over the whole frame, which change with every column that enters, and padding reflects what is near the
   border. In a wide frame around a shape on a plain background, neither changes, and shifts by multiples of the
   stride are exact up to rounding. In photos something always enters, so no shift is exact.

So use one style for all frames, and keep the camera still or move it by multiples of the stride. MUNIT sees one frame
at a time; a loss that compares frames, which would reduce the flicker further, is not part of it.

## How to repeat it

`python -m tools.measure_own_images` with `other-sizes`, `train-test-scale` or `video-flicker` measures, and so does
`python -m tools.measure_few_images`; `python -m tools.own_images_page` writes this page. The numbers of each
direction are in [`other_sizes.json`](other_sizes.json), [`train_test_scale.json`](train_test_scale.json),
[`few_images.json`](few_images.json) and [`video_flicker.json`](video_flicker.json)."""


def _size_sentences(sizes: Mapping[str, Any]) -> str:
    worse = [float(factor) for factor in worse_factors(sizes["world32"], "class_accuracy")]
    smaller, larger = max(f for f in worse if f < 1), min(f for f in worse if f > 1)
    to_painting, to_sketch = sizes["world32"]["2"].values()
    same = {f: 100 * mean_over_directions(m, "variety_agreement")[0] for f, m in sizes[PHOTOS].items()}
    other = 100 * mean_over_directions(sizes[PHOTOS]["1"], "variety_agreement_other_styles")[0]
    return f"""For `world32` the size matters from a factor of {smaller:g} downwards and of {larger:g} upwards:
there, class accuracy and style are worse by more than both half-widths together. At a factor of 9/8 they are not. At
twice the size, the class accuracy from sketches to paintings is {to_painting["class_accuracy"]:.2f}; from paintings
to sketches it stays at {to_sketch["class_accuracy"]:.2f}, but the style error rises to
{to_sketch["example_error"]:.2f}, near the {1 / 3:.2f} of unrelated styles. Photos of fruit change more gradually: at
9/8 of the size, {same["1.125"]:.0f} % of the translations show the same variety, and at four times the size
{same["4"]:.0f} %; two different styles agree in {other:.0f} %. The share in the target domain hardly falls, because
fruit keeps the colors of fruit. The cycle error even falls, because large photos are smooth, so it says nothing about
the quality here."""


def _scale_sentences(scale: Mapping[str, Any], few: Mapping[str, Directions]) -> str:
    to_painting, to_sketch = (
        f"{metrics['class_accuracy_difference']:.3f} ± {metrics['class_accuracy_difference_interval']:.3f}"
        for metrics in few["100 images"].values()
    )
    control = [abs(metrics["class_accuracy_difference"]) for metrics in scale["world32"].values()]
    least = min(metrics["class_accuracy_at_training_scale"] for metrics in scale["world32"].values())
    lost = {
        name: 100
        * (
            1
            - float(_value(scale[PHOTOS], f"{name}_at_training_scale"))
            / float(_value(scale[PHOTOS], f"{name}_at_size"))
        )
        for name in ("cycle_error", "input_detail")
    }
    return f"""At the scale of the training, the cycle error of photos is {lost["cycle_error"]:.0f} % lower. The
inputs are smoother there, with {lost["input_detail"]:.0f} % less detail, which can explain it. The share in the
target domain and the number of varieties do not differ measurably. In the known world, the truth is known: the model
that was trained on a folder of 100 images (below) has a class accuracy that is higher by {to_painting} from sketches
to paintings, and by {to_sketch} from paintings to sketches. A control, `world32`, which was trained without such
crops, differs by at most {max(control):.3f}; it has an accuracy of at least {least:.3f} at both scales, so it
cannot show whether larger shapes are easier in general."""


def main() -> None:
    """Write the page and its figure again."""
    FIGURE.write_bytes(flicker_figure())
    PAGE.write_text(page())


if __name__ == "__main__":
    main()
