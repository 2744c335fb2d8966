"""Write the page about users' own images, with its figures.

`tools/measure_own_images.py` and `tools/measure_few_images.py` measure, and `python -m tools.own_images_page` writes
data/results/own_images.md, own_images_flicker.png and own_images_sizes.png.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import ceil
from typing import Any

import torch
from IPython.display import Image
from matplotlib.figure import Figure

from munit_lite.course import figures
from munit_lite.evaluation.statistics import mean_over_directions
from munit_lite.experiments.results import read_results, read_results_file
from munit_lite.paths import CHECKPOINTS_DIR, RESULTS_DIR
from munit_lite.presets import preset
from munit_lite.storage.checkpoints import load
from munit_lite.world import DIRECTIONS, SHAPE_NAMES, SKETCH, World
from tools.measure_own_images import PHOTOS, SHIFTS
from tools.pages import WIDTH, fill_template, save_figure, table, value_range

PAGE = RESULTS_DIR / "own_images.md"
FLICKER_FIGURE, SIZES_FIGURE = (RESULTS_DIR / f"own_images_{name}.png" for name in ("flicker", "sizes"))
MODELS = ("world32", "world64s", PHOTOS)
SHOWN_FACTORS, SHOWN_CLASSES = (0.5, 1.0, 2.0, 4.0), ("disc", "square", "triangle", "star")

Directions = Mapping[str, Mapping[str, Any]]  # direction of translation -> metrics


def cell(metrics: Directions, name: str, digits: int = 2) -> str:
    """Return a mean over directions with its 95 % interval, or a bound for a share of none or of all."""
    value, half_width = mean_over_directions(metrics, name)
    step = 0.1**digits
    if not name.endswith("difference") and f"{value:.{digits}f}" in (f"{0:.{digits}f}", f"{1:.{digits}f}"):
        bound = step * max(1, ceil((min(value, 1 - value) + half_width) / step))
        return f"< {bound:.{digits}f}" if value < 0.5 else f"> {1 - bound:.{digits}f}"
    return f"{value:.{digits}f} ± {half_width:.{digits}f}"


def _column(name: str, *ways: str) -> Callable[[Directions], str]:
    """Return a column of a table: a metric as a mean over both directions, or in one."""
    return lambda metrics: cell({way: metrics[way] for way in ways or metrics}, name)


def _means(results: Mapping[str, Directions], *names: str) -> dict[str, dict[str, float]]:
    return {key: {name: mean_over_directions(m, name)[0] for name in names} for key, m in results.items()}


def _by_size(sizes: Mapping[str, Directions], model: str) -> dict[str, Directions]:
    side = preset(model).data.image_size
    return {f"{float(factor) * side:.0f} px ({factor})": metrics for factor, metrics in sizes.items()}


def flicker(measured: Mapping[str, Any], model: str, key: str | int, name: str = "flicker") -> tuple[float, float]:
    """Return a number of one shift, or of the references, with its 95 % half-width: means over both directions."""
    return mean_over_directions({d: by_shift[str(key)] for d, by_shift in measured[model].items()}, name)


def _flicker_table(measured: Mapping[str, Any], strides: Mapping[str, int]) -> str:
    def wide(model: str) -> str:
        if f"{model}, wide frame" not in measured:
            return "not measured"
        largest = max(flicker(measured, f"{model}, wide frame", k)[0] for k in SHIFTS if k % strides[model] == 0)
        return f"< {max(0.001, ceil(1000 * largest) / 1000):.3f}"

    def column(shift: Callable[[str], str | int], name: str = "flicker") -> Callable[[str], str]:
        return lambda model: "{:.1f} ± {:.1f}".format(*flicker(measured, model, shift(model), name))

    columns = {
        "stride": lambda model: f"{strides[model]} px",
        "shift by 1 px ↓": column(lambda _: 1),
        "by one stride ↓": column(strides.__getitem__),
        "by 8 px ↓": column(lambda _: 8),
        "two styles": column(lambda _: "references", "new_style"),
        "multiples of the stride, wide frame ↓": wide,
    }
    return table("model", {model: model for model in MODELS}, columns)


def flicker_figure(measured: Mapping[str, Any], strides: Mapping[str, int]) -> Figure:
    """Plot the flicker of each model against the shift of the camera."""
    figure, axes = figures.subplots(2, size=(WIDTH, 3.4))
    for k, (model, line) in enumerate(zip(MODELS, ("o-", "s--", "^:"), strict=True)):
        axis, color, stride = axes[k // 2], figures.COLORS[k], strides[model]
        values, half_widths = zip(*(flicker(measured, model, shift) for shift in SHIFTS), strict=True)
        label, on = f"{model} (stride {stride})", [shift for shift in SHIFTS if shift % stride == 0]
        axis.errorbar(SHIFTS, values, half_widths, fmt=line, color=color, mfc="white", capsize=2, label=label)
        axis.plot(on, [values[shift - 1] for shift in on], line[0], color=color, markersize=8, zorder=3)
    for axis, title, top in zip(axes, ("(a) known world", "(b) photos"), (4.5, 17), strict=True):
        axis.set_title(title, fontsize=10)
        axis.set(xlabel="shift of the camera in pixels", xticks=SHIFTS, ylim=(0, top))
        axis.legend(loc="upper left")
    axes[0].set_ylabel("flicker in gray levels")
    figure.suptitle("A shift by a multiple of the stride flickers less than the shifts beside it")
    return figure


def sizes_shown() -> list[Any]:
    """Return what the figure of sizes shows: the weights of `world32`, the factors and the classes of the inputs."""
    sums = [line for line in (CHECKPOINTS_DIR / "checksums.txt").read_text().splitlines() if "world32.safe" in line]
    return [sums, SHOWN_FACTORS, SHOWN_CLASSES]


@torch.no_grad()
def sizes_figure() -> Image:
    """Show paintings that `world32` generates from the same sketches at several sizes."""
    model, world = load("world32"), World()
    content = world.content(torch.arange(200), seed=0, domain=SKETCH, stream="test")
    index = torch.cat([(content.shape_class == SHAPE_NAMES.index(name)).nonzero()[0] for name in SHOWN_CLASSES])
    style = model.sample_style(1, torch.Generator().manual_seed(0)).expand(len(index), -1)
    side = model.config.data.image_size
    columns = {"sketch": world.images(index, 0, SKETCH, side, "test")}
    for factor in SHOWN_FACTORS:
        sketches = world.images(index, 0, SKETCH, round(factor * side), "test")
        columns[f"{factor * side:.0f} px ({factor:g})"] = model.translate(sketches, source=1, target=2, style=style)
    images = torch.stack([torch.nn.functional.interpolate(images, 128) for images in columns.values()], dim=1)
    title = "Away from 32 px, world32 blurs shapes or leaves them hollow"
    return figures.image_rows([*zip(SHOWN_CLASSES, images, strict=True)], "", title, cell=1.45, columns=[*columns])


def page() -> str:
    """Return the page in Markdown."""
    names = ("other_sizes", "few_images", "train_test_scale", "video_flicker")
    sizes, few, scale, video = map(read_results, names)
    settings = {name: read_results_file(name)["provenance"]["settings"] for name in names}
    world, photos = _by_size(sizes["world32"], "world32"), _by_size(sizes[PHOTOS], PHOTOS)
    runs = read_results("laboratory")["laboratory"]["munit"].values()
    fruit = read_results("apples2citrus")["domain 1 to domain 2"]
    at_size = photos["64 px (1)"]
    lost, whole = (
        [sum(d[f"{name}_{kind}"] for d in scale[PHOTOS].values()) for name in ("cycle_error", "input_detail")]
        for kind in ("difference", "at_size")
    )

    def agreement(way: str) -> Callable[[Directions], str]:
        return lambda m: "1 by definition" if m is at_size else cell({way: m[way]}, "variety_agreement")

    return fill_template(
        "own_images",
        photos=[domain["training_photos"] for domain in read_results("variety_classifiers").values()],
        preset={name: preset(name) for name in (*MODELS, "laboratory", "folder128")},
        settings=settings,
        lemons=100 * fruit["Lemon_fraction"],
        limes=100 * fruit["Lime_fraction"],
        few=few,
        few_means=_means(few, "class_accuracy", "diversity_ratio", "class_accuracy_shuffled_contents"),
        accepted=100 * mean_over_directions(few["100 images"], "held_out_images_accepted")[0],
        few_table=table(
            "training images per domain",
            few,
            {
                "class accuracy, new images ↑": _column("class_accuracy"),
                "class accuracy, training images ↑": _column("class_accuracy_training_images"),
                "diversity ratio": _column("diversity_ratio"),
                "training images accepted": _column("training_images_accepted"),
                "held-out images accepted ↑": _column("held_out_images_accepted"),
            },
        ),
        known=value_range([run["numbers"][way]["class_accuracy"] for run in runs for way in DIRECTIONS.values()]),
        world=world,
        world_table=table(
            "size (factor)",
            world,
            {
                f"{way}: {title}": _column(name, way)
                for way in DIRECTIONS.values()
                for title, name in {"class accuracy ↑": "class_accuracy", "style error ↓": "example_error"}.items()
            },
        ),
        unrelated=1 / 3,  # expected style error
        least_accuracy=min(m["true_class_accuracy"] for metrics in world.values() for m in metrics.values()),
        photo_table=table(
            "size (factor)",
            photos,
            {
                "apples to citrus: same variety": agreement("domain 1 to domain 2"),
                "citrus to apples: same variety": agreement("domain 2 to domain 1"),
                "target domain ↑": _column("classified_as_target"),
            },
        ),
        other_styles=[cell({way: at_size[way]}, "variety_agreement_other_styles") for way in at_size],
        same={size: 100 * mean_over_directions(m, "variety_agreement")[0] for size, m in photos.items()},
        other=100 * mean_over_directions(at_size, "variety_agreement_other_styles")[0],
        real=mean_over_directions(at_size, "photos_classified_as_their_domain")[0],
        flicker=flicker(video, PHOTOS, 1)[0],
        flicker_table=_flicker_table(video, settings["video_flicker"]["strides"]),
        wide_images=max(2, settings["video_flicker"]["count"] // 15),
        less=[-100 * part / total for part, total in zip(lost, whole, strict=True)],
        gain=[cell({way: few["100 images"][way]}, "class_accuracy_difference", 3) for way in DIRECTIONS.values()],
    )


def main() -> None:
    """Write the page and its figures again."""
    video = read_results_file("video_flicker")
    strides = video["provenance"]["settings"]["strides"]
    save_figure(FLICKER_FIGURE, flicker_figure(video["numbers"], strides), video["numbers"])
    save_figure(SIZES_FIGURE, sizes_figure(), sizes_shown())
    PAGE.write_text(page())


if __name__ == "__main__":
    main()
