"""Write the page about users' own images, with its figures.

`tools/measure_own_images.py` and `tools/measure_few_images.py` measure, and `python -m tools.own_images_page` writes
data/results/own_images.md, own_images_flicker.png and own_images_sizes.png.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Any

import torch

from munit_lite.course import figures
from munit_lite.data.image_files import float_to_uint8
from munit_lite.evaluation.statistics import mean_over_directions
from munit_lite.experiments.markdown import markdown_table
from munit_lite.experiments.results import read_results, read_results_file
from munit_lite.paths import CHECKPOINTS_DIR, RESULTS_DIR
from munit_lite.presets import preset
from munit_lite.storage.checkpoints import load
from munit_lite.world import SHAPE_NAMES, SKETCH, World
from tools.measure_own_images import PHOTOS, SHIFTS
from tools.page_figures import FONT, WIDTH, digest_of, png_with_digest

PAGE = RESULTS_DIR / "own_images.md"
FLICKER_FIGURE, SIZES_FIGURE = (RESULTS_DIR / f"own_images_{name}.png" for name in ("flicker", "sizes"))
MODELS = ("world32", "world64s", PHOTOS)
SHOWN_FACTORS, SHOWN_CLASSES = (0.5, 1.0, 2.0, 4.0), ("disc", "square", "triangle", "star")

Directions = Mapping[str, Mapping[str, Any]]  # direction of translation -> metrics


def _cell(metrics: Directions, name: str, digits: int = 2) -> str:
    value, half_width = mean_over_directions(metrics, name)
    step = 0.1**digits
    if not name.endswith("difference") and f"{value:.{digits}f}" in (f"{0:.{digits}f}", f"{1:.{digits}f}"):
        bound = step * max(1, ceil((min(value, 1 - value) + half_width) / step))  # of a share of none or of all
        return f"< {bound:.{digits}f}" if value < 0.5 else f"> {1 - bound:.{digits}f}"
    return f"{value:.{digits}f} ± {half_width:.{digits}f}"


def _each_direction(metrics: Directions, *names: str, digits: int = 2) -> list[str]:
    return [_cell({direction: values}, name, digits) for direction, values in metrics.items() for name in names]


def worse_factors(sizes: Mapping[str, Directions], metric: str, sign: int = 1) -> list[str]:
    """Return the factors at which a metric is worse than at factor 1 by more than both half-widths together.

    The sign is 1 for a metric of which high values are good, and -1 for one of which low values are good.
    """
    found = {factor: mean_over_directions(metrics, metric) for factor, metrics in sizes.items()}
    value, half_width = found["1"]
    return [factor for factor, (v, h) in found.items() if sign * (value - v) > half_width + h]


def _at_size(factor: str | float, model: str) -> str:
    return f"{float(factor) * preset(model).data.image_size:.0f} px ({factor})"


def _few_table(few: Mapping[str, Directions], chance: str, reference: str) -> str:
    columns = {
        "class accuracy, new images ↑": "class_accuracy",
        "class accuracy, training images ↑": "class_accuracy_training_images",
        "diversity ratio": "diversity_ratio",
        "training images accepted": "training_images_accepted",
        "held-out images accepted ↑": "held_out_images_accepted",
    }
    rows = [[name, *(_cell(metrics, metric) for metric in columns.values())] for name, metrics in few.items()]
    rows += [["new images at every step", reference, "", "", "", ""], ["chance", chance, "", "", "", ""]]
    return markdown_table(["training images per domain", *columns], rows)


def _world_sizes_table(sizes: Mapping[str, Directions]) -> str:
    rows = [[_at_size(f, "world32"), *_each_direction(m, "class_accuracy", "example_error")] for f, m in sizes.items()]
    chance = [f"{metrics['class_accuracy_shuffled_contents']:.2f}" for metrics in sizes["1"].values()]
    rows.append(["chance", *(cell for value in chance for cell in (value, f"{1 / 3:.2f}"))])
    columns = [f"{way}: {name}" for way in sizes["1"] for name in ("class accuracy ↑", "style error ↓")]
    return markdown_table(["size (factor)", *columns], rows)


def _photo_sizes_table(sizes: Mapping[str, Directions]) -> str:
    rows = [
        [_at_size(f, PHOTOS), *_each_direction(metrics, "variety_agreement"), _cell(metrics, "classified_as_target")]
        for f, metrics in sizes.items()
    ]
    rows[list(sizes).index("1")][1:3] = ["1 by definition"] * 2
    rows.append(["two different styles", *_each_direction(sizes["1"], "variety_agreement_other_styles"), ""])
    header = ["size (factor)", "apples to citrus: same variety", "citrus to apples: same variety", "target domain ↑"]
    return markdown_table(header, rows)


def flicker(measured: Mapping[str, Any], model: str, key: str | int, name: str = "flicker") -> tuple[float, float]:
    """Return a number of one shift, or of the references, with its 95 % half-width: means over both directions."""
    return mean_over_directions({d: by_shift[str(key)] for d, by_shift in measured[model].items()}, name)


def _flicker_table(measured: Mapping[str, Any], strides: Mapping[str, int]) -> str:
    rows = []
    for model in MODELS:
        wide, on = f"{model}, wide frame", [k for k in SHIFTS if k % strides[model] == 0]
        exact = max(flicker(measured, wide, k)[0] for k in on) if wide in measured else None
        numbers = [flicker(measured, model, k) for k in (1, strides[model], SHIFTS[-1])]
        numbers.append(flicker(measured, model, "references", "new_style"))
        cells = [f"{value:.1f} ± {half_width:.1f}" for value, half_width in numbers]
        cells.append("not measured" if exact is None else f"< {max(0.001, ceil(1000 * exact) / 1000):.3f}")
        rows.append([model, f"{strides[model]} px", *cells])
    header = ["model", "stride", "shift by 1 px ↓", "by one stride ↓", f"by {SHIFTS[-1]} px ↓", "two styles"]
    return markdown_table([*header, "multiples of the stride, wide frame ↓"], rows)


def flicker_digest() -> str:
    """Return the digest of what the figure of the flicker shows."""
    measured = read_results("video_flicker")
    return digest_of({m: [[round(x, 4) for x in flicker(measured, m, k)] for k in SHIFTS] for m in MODELS})


def sizes_digest() -> str:
    """Return the digest of what the figure of sizes shows: the weights of `world32`, the factors and the inputs."""
    sums = [line for line in (CHECKPOINTS_DIR / "checksums.txt").read_text().splitlines() if "world32.safe" in line]
    return digest_of([sums, SHOWN_FACTORS, SHOWN_CLASSES])


FLICKER_ALT = (
    "Two panels with the flicker against the shift of the camera. For world32 it has low points at 2, 4, 6 and 8 "
    "pixels; for world64s and apples2citrus at 4 and 8. It is below 3 for the known world and 5 to 12 for photos."
)
SIZES_ALT = (
    "Four sketches and their paintings at four sizes. At 16 pixels the shapes are blurred; at 32 pixels they are those "
    "of the sketches; at 64 pixels they are filled in part; at 128 pixels only their outlines are painted."
)


def flicker_figure() -> bytes:
    """Return the flicker of each model against the shift, as PNG."""
    results = read_results_file("video_flicker")
    measured, strides = results["numbers"], results["provenance"]["settings"]["strides"]
    figure, axes = figures.subplots(2, size=(WIDTH, 3.4))
    looks = dict(zip(MODELS, zip(figures.COLORS, ("o-", "s--", "^:"), strict=False), strict=True))
    panels = {"(a) known world": (MODELS[:2], 4.5), "(b) photos": (MODELS[2:], 17)}
    for axis, (title, (models, top)) in zip(axes, panels.items(), strict=True):
        for model in models:
            (color, line), stride = looks[model], strides[model]
            values, half_widths = zip(*(flicker(measured, model, shift) for shift in SHIFTS), strict=True)
            label, on = f"{model} (stride {stride})", [shift for shift in SHIFTS if shift % stride == 0]
            axis.errorbar(SHIFTS, values, half_widths, fmt=line, color=color, mfc="white", capsize=2, label=label)
            axis.plot(on, [values[shift - 1] for shift in on], line[0], color=color, markersize=8, zorder=3)
        axis.set_title(title, fontsize=FONT)
        axis.set(xlabel="shift of the camera in pixels", xticks=SHIFTS, ylim=(0, top))
        axis.legend(loc="upper left")
    axes[0].set_ylabel("flicker in gray levels")
    figure.suptitle("A shift by a multiple of the stride flickers less than the shifts beside it", fontsize=FONT + 2)
    return png_with_digest(figure, FLICKER_ALT, flicker_digest())


@torch.no_grad()
def sizes_figure() -> bytes:
    """Return paintings that `world32` generates from the same sketches at several sizes, as PNG."""
    model, world = load("world32"), World()
    content = world.content(torch.arange(200), seed=0, domain=SKETCH, stream="test")
    index = torch.cat([(content.shape_class == SHAPE_NAMES.index(name)).nonzero()[0] for name in SHOWN_CLASSES])
    style = model.sample_style(1, torch.Generator().manual_seed(0)).expand(len(index), -1)
    columns = {"sketch": world.images(index, 0, SKETCH, model.config.data.image_size, "test")}
    for factor in SHOWN_FACTORS:
        sketches = world.images(index, 0, SKETCH, round(factor * model.config.data.image_size), "test")
        columns[_at_size(f"{factor:g}", "world32")] = model.translate(sketches, source=1, target=2, style=style)
    figure, axes = figures.subplots(len(columns), size=(WIDTH, 6.1), rows=len(index))
    for k, (title, images) in enumerate(columns.items()):
        enlarged = float_to_uint8(torch.nn.functional.interpolate(images, 128))  # by whole numbers
        for axis, pixels in zip(axes[k :: len(columns)], enlarged, strict=True):
            axis.imshow(pixels.permute(1, 2, 0))
            axis.set_axis_off()
        axes[k].set_title(title, fontsize=FONT)
    figure.suptitle("Away from 32 px, world32 blurs shapes or leaves them hollow", fontsize=FONT + 2)
    return png_with_digest(figure, SIZES_ALT, sizes_digest())


def page() -> str:
    """Return the page in Markdown."""
    names = ("other_sizes", "few_images", "train_test_scale", "video_flicker")
    sizes, few, scale, video = map(read_results, names)
    photos = [domain["training_photos"] for domain in read_results("variety_classifiers").values()]
    sides = [preset(name).data.image_size for name in (*MODELS, "laboratory")]
    return f"""# What to expect with images of your own

- **Number of images.** Collect many more than 100 images per domain. In our test 5, 17 and 100 were too few; we do not
  know how many are enough.
- **Size.** Translate at the size that the model was trained at, which is the default of `munit-lite translate`.
- **Video.** Translate all frames in the same style, which is the default, too. If the camera moves by one pixel, expect
  photos to flicker by about {flicker(video, PHOTOS, 1)[0]:.0f} of 255 gray levels.
- **Training crops.** They show objects slightly larger than `translate` does. You need not change anything.

## What we measured

Your own images have no true translations, so we measured with images about which we know more.

- The *known world*: we render *sketches* (outlines on paper) and *paintings* (colored shapes), so we know the class of
  each shape, such as disc or star, and each style, such as its hues. We can tell whether a translation is right.
- *Photos* of apples and citrus fruit, with five *varieties* per domain, such as lemon and lime. They have no true
  translations, so we can measure how translations change, but hardly whether they get better.

| models | trained on | size | training images per domain |
| --- | --- | --- | --- |
| `world32`, `world64s` | known world | {sides[0]} px, {sides[1]} px | new images at every step |
| `{PHOTOS}` | photos | {sides[2]} px | {photos[0]} apples, {photos[1]} citrus fruit |
| three models of few images | known world, larger shapes | {sides[3]} px | 5, 17 or 100 |

The *class accuracy* is the share of translations that show the class of their input, as recognized by a pretrained
predictor; *chance* compares with the class of another input. Arrows show whether high or low is better. The number
after ± is the half-width of a 95 % interval over images, not over training runs, because we trained each model once.

{_number_section(few, photos)}

{_size_section(sizes)}

{_video_section(video)}

{_crops_section(scale, few)}

## How to repeat it

The numbers are in [`few_images.json`](few_images.json), [`other_sizes.json`](other_sizes.json),
[`video_flicker.json`](video_flicker.json) and [`train_test_scale.json`](train_test_scale.json), and each file names the
command that measures them. `python -m tools.own_images_page` writes this page."""


def _number_section(few: Mapping[str, Directions], photos: list[int]) -> str:
    settings = read_results_file("few_images")["provenance"]["settings"]
    fruit = read_results("apples2citrus")["domain 1 to domain 2"]
    lemons, limes = (f"{100 * fruit[f'{name}_fraction']:.0f} %" for name in ("Lemon", "Lime"))
    accuracy, ratio, held_out = (
        [mean_over_directions(metrics, name)[0] for metrics in few.values()]
        for name in ("class_accuracy", "diversity_ratio", "held_out_images_accepted")
    )
    chance = f"{mean_over_directions(few['5 images'], 'class_accuracy_shuffled_contents')[0]:.2f}"
    runs = read_results("laboratory")["laboratory"]["munit"].values()
    known = [run["numbers"][direction]["class_accuracy"] for run in runs for direction in few["5 images"]]
    reference = f"{min(known):.2f} to {max(known):.2f}"
    to_painting, to_sketch = (metrics["class_accuracy"] for metrics in few["100 images"].values())
    return f"""## Use many more than 100 images per domain

Collect more images before you tune anything else. In our test even 100 images per domain were too few, and we cannot
say how many are enough. The shipped `{PHOTOS}` was trained on {photos[0]} photos of apples and {photos[1]} of citrus
fruit, and still favors some of the five varieties: a color classifier finds lemons in {lemons} of its translations of
apples and limes in {limes}. [Notebook 16](../../notebooks/16_real_images.ipynb) shows its translations, and what to
check in your own folders.

For the test, we saved sketches and paintings as PNG files, trained the preset `laboratory` on them for
{settings["steps"]:,} steps, and translated {few["5 images"]["sketch to painting"]["contents"]} new images each way.

{_few_table(few, chance, reference)}

*Means over both directions. The diversity ratio is the standard deviation of the styles among translations of one
input, divided by that of true images; 1 is best. The last two columns are the shares of real images that the
discriminator accepts, ideally the same. New images: the range over the runs in [laboratory.md](laboratory.md).*

With 5 images the class accuracy on new images is {accuracy[0]:.2f} and with 17 it is {accuracy[1]:.2f}, hardly above
the {chance} of chance. So the shape in a translation has almost nothing to do with the input, and training images are
not translated measurably better. With 100 images the class accuracy is {accuracy[2]:.2f}: {to_painting:.2f} from
sketches to paintings, and {to_sketch:.2f} in the other direction. With new images at every step it is {reference}, but
those runs had more steps ({preset("laboratory").steps:,}) and no random crops. The diversity ratio changes much less,
from {ratio[0]:.2f} to {ratio[2]:.2f}, so varied translations do not show that training worked.

The discriminators memorize their training images. With 5 or 17 of them they accept fewer than 1 % of the held-out
images, and with 100 images {100 * held_out[2]:.0f} %, although held-out images are just as real. So they probably teach
the generator what the training images look like, and not the domain. The larger preset `folder64` was not tested."""


def _size_section(sizes: Mapping[str, Any]) -> str:
    settings = read_results_file("other_sizes")["provenance"]["settings"]
    world, photos, trained = sizes["world32"], sizes[PHOTOS], preset("world32").data.image_size
    worse = [float(factor) * trained for factor in worse_factors(world, "class_accuracy")]
    smaller, larger = max(side for side in worse if side < trained), min(side for side in worse if side > trained)
    to_painting, to_sketch = world["2"].values()
    same = {f: 100 * mean_over_directions(m, "variety_agreement")[0] for f, m in photos.items()}
    other = 100 * mean_over_directions(photos["1"], "variety_agreement_other_styles")[0]
    true = [m["true_class_accuracy"] for d in world.values() for m in d.values()]
    own_error = [world[factor]["painting to sketch"]["true_style_error"] for factor in ("0.5", "1")]
    real = mean_over_directions(photos["1"], "photos_classified_as_their_domain")[0]
    return f"""## Translate at the size that the model was trained at

Leave out `--size`, so that `translate` resizes the shorter side of each image to the trained size:

```
munit-lite translate MODEL photo.jpg out/
```

If you need more pixels, enlarge the outputs with another tool, or train at a larger size. The preset `folder128` trains
at {preset("folder128").data.image_size} px, and `--image-size` sets another size:

```
munit-lite train folder128 --folder-1 apples/ --folder-2 citrus/ --image-size 96
```

At another size all objects appear larger or smaller to the networks than in training. The *factor* is the size of
inputs and outputs divided by the trained size.

![{SIZES_ALT}]({SIZES_FIGURE.name})

*The first test sketches of four classes, translated by `world32` in the same style at four sizes, with the factor in
parentheses. Each input was rendered at the size of its output; the first column shows it at {trained} px.*

{_world_sizes_table(world)}

*`world32`, {settings["contents"]} images per direction. The style error compares a translation with the example from
which its style was taken, as a share of each style factor's range; unrelated styles have an error of {1 / 3:.2f}.*

At half the size the shapes blur, and at larger sizes their outlines are painted but not filled, probably because the
networks then see too small a part of a shape. The means over both directions of class accuracy and style error are
worse by more than both half-widths together at {smaller:.0f} px and below, and at {larger:.0f} px and above, but not at
9/8 of the size. At twice the size, the class is recognized in only {100 * to_painting["class_accuracy"]:.0f} % of the
paintings. All sketches still show their class, but their style error of {to_sketch["example_error"]:.2f} is almost that
of unrelated styles. The fault is not the predictor's, which recognizes the class of at least {100 * min(true):.0f} % of
true images at each size. Part of the style error at {0.5 * trained:.0f} px, however, is its own: on true sketches it is
{own_error[0]:.2f}, against {own_error[1]:.2f} at {trained} px.

{_photo_sizes_table(photos)}

*`{PHOTOS}`, {settings["photos"]} photos per direction in {settings["styles"]} styles. Same variety: the share of
translations that show the variety which the same photo and style give at the trained size. Target domain: the share
with the colors of the target domain, as a mean over both directions; of real photos it is {real:.2f}. A classifier of
color histograms decides both.*

For photos we can only say that the result changes with the size. At 9/8 of the size, {same["1.125"]:.0f} % of the
translations show the same variety, and at four times the size {same["4"]:.0f} %; two different styles agree in
{other:.0f} %. The share in the target domain hardly changes, probably because fruit keeps the colors of fruit.

In training, a model of your own folders sees objects enlarged to 9/8 (see the last section). With `--size 72`, a model
for 64 px translates the whole picture at that scale. There, `world32` loses nothing measurable, but it was trained
without such crops. In photos, {100 - same["1.125"]:.0f} % of the varieties change; which is better was not measured."""


def _video_section(video: Mapping[str, Any]) -> str:
    settings = read_results_file("video_flicker")["provenance"]["settings"]
    return f"""## Translate all frames of a video in the same style

Translate a video as a folder of frames, with one style for all of them:

```
munit-lite translate MODEL frames/ out/ --styles 1 --seed 3
```

Another `--seed` gives another style, and `--style-from example.jpg` takes it from an image. Do not pass
`--fresh-styles`, which samples a new style for every frame. Keep the camera still if you can, because equal frames have
equal translations. If you cut the frames from a larger picture yourself, move them by multiples of the *stride*, the
number of input pixels per position of the content code, which the *content encoder* computes from the image:
{settings["strides"]["world32"]} in `world32`, and {settings["strides"][PHOTOS]} in the other two models.

If the camera moves, the translation changes even in a fixed style. We let a camera move over a larger image by 1 to
{SHIFTS[-1]} pixels, translated the frames before and after in the same style, and aligned the outputs. *Flicker* is
their mean absolute difference where they overlap. Moving objects and camera noise were not measured.

![{FLICKER_ALT}]({FLICKER_FIGURE.name})

*Flicker in gray levels of 255, with 95 % intervals; means over {settings["count"]} images in each direction. Large
filled markers show multiples of the stride. The two panels have different scales.*

{_flicker_table(video, settings["strides"])}

*Gray levels of 255, means over both directions. "Two styles": the difference between two translations of a frame in
different styles. The wide frame is four times as wide and high, so that shapes are far from its border; its column
shows the largest flicker at a multiple of the stride, over {max(2, settings["count"] // 15)} images.*

In the known world a shift by one pixel flickers by less than a tenth of the difference between two styles. In photos it
flickers by {flicker(video, PHOTOS, 1)[0]:.1f} gray levels, almost half of that difference. Flicker has a local minimum
at each multiple of the stride, but also grows with the shift: in `world32` it is no smaller at 8 px than at 1 px. The
known world shows two causes, which probably act in photos, too:

1. **The stride.** The content code moves along with the image only if the shift is a multiple of the stride. At other
   shifts the encoder samples the image at other positions.
2. **What enters and leaves the frame.** The normalization layers use statistics of the whole frame, and padding
   reflects what is near the border. In the wide frame around a shape on a plain background neither changes, and shifts
   by multiples of the stride leave the translation unchanged up to rounding.

MUNIT translates each frame by itself. A loss that compares frames could reduce the flicker, but MUNIT has none."""


def _crops_section(scale: Mapping[str, Any], few: Mapping[str, Directions]) -> str:
    to_painting, to_sketch = _each_direction(few["100 images"], "class_accuracy_difference", digits=3)
    photos, names = scale[PHOTOS].values(), ("cycle_error", "input_detail")
    lost, whole = ([sum(d[f"{n}_{kind}"] for d in photos) for n in names] for kind in ("difference", "at_size"))
    cycle, detail = (-100 * part / total for part, total in zip(lost, whole, strict=True))
    return f"""## Keep the training crops as they are

You need not change anything, although training on folders resizes an image to 9/8 of the model's size and crops it at
random, while `translate` resizes it to the size itself. At the scale of training the *cycle error* of photos, the mean
absolute error after a translation into the other domain and back, is {cycle:.0f} % lower, probably because the inputs
have {detail:.0f} % less detail there; the share in the target domain and the number of varieties do not differ
measurably. The class accuracy of the model of 100 images is higher at that scale, by {to_painting} from sketches to
paintings and by {to_sketch} in the other direction."""


def main() -> None:
    """Write the page and its figures again."""
    FLICKER_FIGURE.write_bytes(flicker_figure())
    SIZES_FIGURE.write_bytes(sizes_figure())
    PAGE.write_text(page())


if __name__ == "__main__":
    main()
