"""The known world against independent truth: finite differences, brute-force rasters, SciPy, plain integers."""

import colorsys
import itertools
import math
import time
import zlib

import numpy as np
import pytest
import torch
from closeness import assert_same_outputs
from scipy import stats

from munit_lite.counter_rng import uniform
from munit_lite.world import (
    CONTENT_FACTORS,
    SHAPE_NAMES,
    SHAPES,
    STYLE_FACTORS,
    WORLD_VARIANTS,
    Content,
    PaintingStyle,
    SketchStyle,
    World,
    code_from_style,
    render,
    style_from_code,
)

pytestmark = pytest.mark.numerical

# The smallest rotation that maps each shape to itself, restated here.
PERIOD = {"disc": 0.0, "ring": 0.0, "square": math.pi / 2, "triangle": 2 * math.pi / 3} | {
    "cross": math.pi / 2,
    "star": 2 * math.pi / 5,
}
RECORD = {1: SketchStyle, 2: PaintingStyle}
STRAY = 4.5  # standard errors that an estimate of zero may stray
each_domain = pytest.mark.parametrize("domain", [1, 2])
each_shape = pytest.mark.parametrize("name", SHAPE_NAMES)
each_variant = pytest.mark.parametrize("variant", WORLD_VARIANTS)


def factors_of(domain):
    return list(CONTENT_FACTORS) + list(STYLE_FACTORS[domain])


def rows(name, count, domain, seed=0):
    """Random items of a shape as (count, 7) float64: x, y, size, angle and three style factors."""
    low, span = np.array([(f.low, f.span) for f in factors_of(domain)]).T
    values = low + span * np.random.default_rng(seed).uniform(size=(count, 7))
    values[:, 3] *= PERIOD[name]
    return torch.from_numpy(values)


def draw(name, values, domain, size=32):
    shape = torch.full((len(values),), SHAPE_NAMES.index(name))
    content = Content(shape, values[:, :2], values[:, 2], values[:, 3])
    return render(content, RECORD[domain](*values[:, 4:].T), domain, size)


def differences(name, values, domain, step):
    """Central differences of the images by each of the seven factors: (count, 7, pixels)."""
    moved = [draw(name, values + s * e, domain).flatten(1) for e in torch.eye(7).double() * step for s in (1, -1)]
    return torch.stack([(up - down) / (2 * step) for up, down in zip(moved[0::2], moved[1::2], strict=True)], dim=1)


# ------------------------------------------------------------------------------------------------- differentiable


@each_domain
@each_shape
def test_gradients_agree_with_finite_differences_in_every_factor(name, domain):
    values = rows(name, 4, domain).requires_grad_()
    weights = torch.randn(4, 3 * 32 * 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    (found,) = torch.autograd.grad((draw(name, values, domain).flatten(1) * weights).sum(), values)
    wanted = (differences(name, values.detach(), domain, step=1e-8) * weights[:, None]).sum(2)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    assert (found[:, 3] != 0).all() or PERIOD[name] == 0


@each_domain
@each_shape
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_are_finite_where_a_pixel_center_is_the_center_of_the_shape(name, domain, dtype):
    values = rows(name, 2, domain).to(dtype)
    values[:, :2] = 16.5 / 32
    values[0, 3] = 0.0  # and pixels on the folds of the symmetry
    values.requires_grad_()
    (found,) = torch.autograd.grad(draw(name, values, domain).square().sum(), values)
    assert found.isfinite().all() and found.abs().max() < 1e5


# ------------------------------------------------------------------------------------------------- true geometry


def polygon(name):
    """Corners of a cornered shape of circumradius about 1, all the way round."""
    if name == "cross":
        quarter = [(0.95, -0.3), (0.95, 0.3), (0.3, 0.3)]
        return np.concatenate([np.array(quarter) @ np.linalg.matrix_power([[0, 1], [-1, 0]], k) for k in range(4)])
    count, first, radii = {"square": (4, 0.5, [0.98995]), "triangle": (3, 0.5, [1.0]), "star": (10, 0, [1, 0.48])}[name]
    angles = (np.arange(count) + first) * 2 * np.pi / count
    return np.resize(radii, count)[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def inside_and_distance(name, x, y):
    """Even-odd crossings and the distance to the outline, for points in units of the size."""
    if PERIOD[name] == 0:
        circles = {"disc": [0.85], "ring": [0.44, 0.92]}[name]
        radius = np.hypot(x, y)
        return sum(radius < c for c in circles) % 2 == 1, np.min([abs(radius - c) for c in circles], axis=0)
    inside, distance = np.zeros(x.shape, bool), np.full(x.shape, np.inf)
    corners = polygon(name)
    for (ax, ay), (bx, by) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        with np.errstate(divide="ignore", invalid="ignore"):
            inside ^= ((ay > y) != (by > y)) & (x < ax + (y - ay) * (bx - ax) / (by - ay))
        along = ((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / ((bx - ax) ** 2 + (by - ay) ** 2)
        t = np.clip(along, 0, 1)
        distance = np.minimum(distance, np.hypot(x - ax - t * (bx - ax), y - ay - t * (by - ay)))
    return inside, distance


def raster(name, row, domain, size=32, sub=16):
    """An image with sub x sub samples a pixel: no folding, no ramps."""
    px, py, radius, angle, *style = row
    at = (np.arange(size * sub) + 0.5) / (size * sub)
    dx, dy = (at[None, :] - px) / radius, (at[:, None] - py) / radius
    cos, sin = np.cos(angle), np.sin(angle)
    inside, distance = inside_and_distance(name, dx * cos + dy * sin, dy * cos - dx * sin)
    drawn = distance * radius < style[0] / 2 if domain == 1 else inside
    cover = drawn.reshape(size, sub, size, sub).mean(axis=(1, 3))
    if domain == 1:
        return np.repeat(2 * (style[2] + (style[1] - style[2]) * cover)[None] - 1, 3, axis=0)
    at = (np.arange(size) + 0.5) / size
    lit = ((at[None, :] - px) * np.cos(style[2]) - (at[:, None] - py) * np.sin(style[2])) / radius
    fill, ground = (np.array(colorsys.hsv_to_rgb(*hsv)) for hsv in ((style[0], 0.85, 1), (style[1], 0.45, 0.6)))
    fill, ground = fill[:, None, None] * (0.75 + 0.25 * lit), ground[:, None, None]
    return 2 * (ground + (fill - ground) * cover) - 1


RASTER_TOLERANCE = {1: 0.008, 2: 0.003}  # mean absolute error of an image; measured at most 0.006 and 0.0021


@each_domain
@each_shape
def test_images_agree_with_a_brute_force_raster(name, domain):
    values = rows(name, 6, domain, seed=7)
    truth = np.stack([raster(name, row, domain) for row in values.numpy()])
    error = np.abs(draw(name, values, domain).numpy() - truth).mean(axis=(1, 2, 3))
    assert error.max() < RASTER_TOLERANCE[domain]
    values[:, 0] += 1 / 32  # the comparison would notice a shift of one pixel
    shifted = np.abs(draw(name, values, domain).numpy() - truth).mean(axis=(1, 2, 3))
    assert shifted.min() > 2 * RASTER_TOLERANCE[domain]


@each_domain
def test_an_image_averaged_down_is_the_smaller_image(domain):
    large = World().images(torch.arange(200), 0, domain, 128)
    error = (torch.nn.functional.avg_pool2d(large, 4) - World().images(torch.arange(200), 0, domain, 32)).abs()
    mean, high = {1: (0.0035, 0.22), 2: (0.001, 0.10)}[domain]  # measured 0.0028, 0.17 and 0.0007, 0.075
    assert error.mean() < mean
    assert torch.quantile(error[:, 0].flatten(), 0.999) < high


@each_domain
@each_shape
def test_the_stated_period_and_no_smaller_rotation_is_a_symmetry(name, domain):
    values = rows(name, 4, domain)
    image, period = draw(name, values, domain), SHAPES[SHAPE_NAMES.index(name)].period
    assert period == pytest.approx(PERIOD[name])

    def change(angle):
        turned = torch.cat([values[:, :3], values[:, 3:4] + angle, values[:, 4:]], dim=1)
        return (draw(name, turned, domain) - image).square().mean(dim=(1, 2, 3)).sqrt()

    if period == 0:
        assert change(0.7).max() < 1e-9
        return
    assert change(period).max() < 1e-9
    assert min(change(period * k / 24).min() for k in range(1, 24)) > 0.015  # rms; measured 0.023


# -------------------------------------------------------------------------------------------------- identifiable


@each_domain
@each_shape
def test_every_factor_moves_the_image_in_a_direction_of_its_own(name, domain):
    spans = torch.tensor([f.span for f in factors_of(domain)], dtype=torch.float64)
    spans[3] *= PERIOD[name]
    jacobian = differences(name, rows(name, 60, domain, seed=2), domain, step=1e-7) * spans[:, None]
    moving = [k for k in range(7) if k != 3 or PERIOD[name]]
    assert jacobian[:, 3].abs().max() == 0 or PERIOD[name]
    singular = torch.linalg.svdvals(jacobian[:, moving])  # in units of each factor's range
    # Measured: at least 0.018 in sketches and 0.053 in paintings; a lost factor gives about 1e-9.
    assert (singular[:, -1] / singular[:, 0]).min() > {1: 0.01, 2: 0.03}[domain]


def pairwise(values):
    """Euclidean distances of all rows, the diagonal at infinity."""
    distances = torch.cdist(values, values, compute_mode="donot_use_mm_for_euclid_dist")
    return distances.fill_diagonal_(math.inf)


def doubled(content):
    return Content(content.shape_class, *(t.double() for t in (content.position, content.size, content.angle)))


@each_domain
def test_no_two_contents_give_the_same_image(domain):
    content = doubled(World().content(torch.arange(600), 1, domain))
    images = render(content, style_from_code(torch.zeros(600, 3).double(), domain), domain, 32)
    apart = pairwise(images.flatten(1)) / math.sqrt(3 * 32 * 32)  # rms over pixels
    own = torch.cat([content.position, content.size[:, None], content.rotation[:, None]], dim=1)
    factors = pairwise(own / torch.tensor([f.span for f in CONTENT_FACTORS]))
    same = content.shape_class[:, None] == content.shape_class
    assert apart.min() > 0.002
    assert apart[~same].min() > 0.05  # measured 0.072 in paintings, 0.167 in sketches
    assert (apart / factors)[same & apart.isfinite()].min() > 0.08  # a change of 1 range is at least 0.11 rms


@each_domain
def test_no_two_styles_give_the_same_image(domain):
    content = doubled(World().content(torch.zeros(600, dtype=torch.int64), 1, domain))
    code = World().style_code(torch.arange(600), 1, domain).double()
    images = render(content, style_from_code(code, domain), domain, 32)
    apart = pairwise(images.flatten(1)) / math.sqrt(3 * 32 * 32)
    assert apart.min() > 5e-4
    factors = pairwise(torch.special.ndtr(code))
    assert (apart / factors)[apart.isfinite()].min() > 0.03  # measured 0.057


@each_variant
def test_turns_stay_strictly_inside_one_period(variant):
    content = World(variant).content(torch.arange(20_000), 4)
    period = torch.tensor([PERIOD[name] for name in SHAPE_NAMES])[content.shape_class]
    assert content.rotation.abs().max() < 0.5
    assert (content.angle[period > 0].abs() < period[period > 0] / 2).all()
    assert (content.angle[period == 0] == 0).all() and (content.rotation[period == 0] == 0).all()


@each_domain
def test_styles_and_codes_round_trip(domain):
    code = torch.linspace(-4, 4, 81, dtype=torch.float64)[:, None] * torch.tensor([1.0, -1.0, 0.5])
    assert (code_from_style(style_from_code(code, domain)) - code).abs().max() < 1e-6


@each_domain
def test_style_factors_are_uniform_and_independent(domain):
    style = style_from_code(World().style_code(torch.arange(20_000), 0, domain).double(), domain)
    values = np.stack([getattr(style, f.name).numpy() for f in STYLE_FACTORS[domain]])
    for factor, found in zip(STYLE_FACTORS[domain], values, strict=True):
        assert factor.low < found.min() and found.max() < factor.high
        assert stats.kstest(found, stats.uniform(factor.low, factor.span).cdf).pvalue > 1e-3
    assert np.abs(np.corrcoef(values) - np.eye(3)).max() < STRAY / math.sqrt(20_000)


def test_hues_of_fill_and_ground_are_disjoint_and_read_back_from_pixels():
    values = rows("disc", 50, 2)
    values[:, :2] = 16.5 / 32
    image = (draw("disc", values, 2) + 1) / 2
    fill, ground = ([colorsys.rgb_to_hsv(*x)[0] for x in image[:, :, k, k].tolist()] for k in (16, 0))
    np.testing.assert_allclose(np.stack([fill, ground], axis=1), values[:, 4:6], atol=1e-9)
    low, high = STYLE_FACTORS[2][0], STYLE_FACTORS[2][1]
    assert low.high < high.low and high.high - 1 < low.low  # the color wheel is round


def test_tones_of_ink_and_paper_are_disjoint_and_read_back_from_pixels():
    values = rows("square", 50, 1)
    image = (draw("square", values, 1, size=128) + 1) / 2
    found = torch.stack([image.flatten(1).amin(1), image[:, 0, 0, 0]], dim=1)
    torch.testing.assert_close(found, values[:, 5:7])
    _, ink, paper = STYLE_FACTORS[1]
    assert ink.high < paper.low


# ------------------------------------------------------------------------------------------------------ sampling


def reference_uniform(index, key):
    """The counter-based generator in Python's own integers."""

    def mix(x):
        x = ((x ^ (x >> 16)) * 0x21F0AAAD) % 2**32
        x = ((x ^ (x >> 15)) * 0x735A2D97) % 2**32
        return x ^ (x >> 15)

    first, second = zlib.crc32(key.encode()), zlib.crc32(key[::-1].encode() + b"/2")
    return (mix(mix(mix(index % 2**32) ^ first) ^ (index >> 32) ^ second) + 0.5) / 2**32


def test_random_numbers_are_the_same_on_every_machine():
    index = [0, 1, 2, 12345, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 2**45]
    found = uniform(torch.tensor(index), "0/train/1/content/x")
    assert found.tolist() == [reference_uniform(i, "0/train/1/content/x") for i in index]


STREAMS = ["0/train/1/content/x", "1/train/1/content/x", "0/test/1/content/x", "0/train/2/content/x"]
STREAMS += ["0/train/1/content/y", "0/train/1/style/0", "0/train/1/style/1"]


def test_streams_are_uniform_and_independent_of_each_other_and_of_their_neighbors():
    count = 40_000
    streams = np.stack([uniform(torch.arange(count), key).numpy() for key in STREAMS])
    assert min(stats.kstest(stream, "uniform").pvalue for stream in streams) > 1e-3
    couples = [*itertools.combinations(streams, 2), *((s[:-lag], s[lag:]) for s in streams for lag in (1, 2))]
    for one, two in couples:
        assert abs(np.corrcoef(one, two)[0, 1]) < STRAY / math.sqrt(count)
        joint = np.histogram2d(one, two, bins=16, range=[[0, 1], [0, 1]])[0]
        assert stats.chisquare(joint.ravel()).pvalue > 1e-4


@each_variant
@each_domain
def test_an_item_does_not_depend_on_its_batch(variant, domain):
    world, order = World(variant), torch.randperm(120, generator=torch.Generator().manual_seed(0))

    def items(index):
        content = world.content(index, 5, domain)
        code = world.style_code(index, 5, domain)
        image = world.images(index, 5, domain, 32)
        return [content.shape_class, content.position, content.size, content.angle, code, image]

    whole = items(torch.arange(120))
    together = [[column[order] for column in whole], items(order)]
    pieces = [zip(*(items(index) for index in torch.arange(120).split(width)), strict=True) for width in (1, 7)]
    for found, wanted in (together, *(([torch.cat(piece) for piece in parts], whole) for parts in pieces)):
        assert torch.equal(found[0], wanted[0])  # the classes, which are whole numbers
        for column, expected in zip(found[1:], wanted[1:], strict=True):
            assert_same_outputs(column, expected)


@each_variant
@each_domain
def test_classes_come_as_often_as_stated(variant, domain):
    names, *frequencies = (
        WORLD_VARIANTS[variant].shapes,
        WORLD_VARIANTS[variant].frequencies_1,
        WORLD_VARIANTS[variant].frequencies_2,
    )
    found = World(variant).content(torch.arange(20_000), 2, domain).shape_class.bincount(minlength=len(SHAPE_NAMES))
    kept = [int(found[SHAPE_NAMES.index(name)]) for name in names]
    assert sum(kept) == 20_000
    assert stats.chisquare(kept, 20_000 * np.array(frequencies[domain - 1])).pvalue > 1e-3


@each_domain
def test_the_laboratory_magnifies_the_middle_of_the_standard_world(domain):
    """A zoom of 2 shows the middle half: the same picture as the center of one with twice the pixels a side."""
    world = World("laboratory")
    content, style_code = world.content(torch.arange(50), 3), world.style_code(torch.arange(50), 3, domain)
    style = style_from_code(style_code, domain)
    whole = render(content, style, domain, 64)
    zoomed = render(content, style, domain, 32, zoom=2.0)
    torch.testing.assert_close(zoomed, whole[:, :, 16:48, 16:48], rtol=0, atol=1e-4)
    assert torch.equal(world.render(content, style, domain, 16), render(content, style, domain, 16, zoom=1.4))


def test_the_laboratory_has_the_ranges_that_its_comment_states():
    contents = {name: World(name).content(torch.arange(20_000), 1) for name in ("standard", "laboratory")}
    spans = {
        name: [(column.max() - column.min()).item() for column in (*c.position.T, c.size, c.rotation)]
        for name, c in contents.items()
    }
    shares = np.array(spans["laboratory"]) / np.array(spans["standard"])
    zoom = World("laboratory").variant.zoom
    assert shares * [zoom, zoom, zoom, 1] == pytest.approx([0.56, 0.56, 1.4, 1], rel=0.01)


@each_domain
def test_shapes_of_the_laboratory_stay_inside_the_image(domain):
    world = World("laboratory")
    content = world.content(torch.arange(5000), 2)
    reach = content.size[:, None] + (content.position - 0.5).abs()  # from the center, in standard image widths
    assert (reach.max(dim=1).values * world.variant.zoom).max() < 0.55  # at most 5 % of a width is cut off


def test_no_permutation_of_the_standard_classes_is_a_symmetry_and_variants_differ_as_named():
    standard, different, cyclic = (WORLD_VARIANTS[name] for name in ("standard", "different_frequencies", "cyclic"))
    assert len(set(standard.frequencies_1)) == len(standard.shapes) == 6
    laboratory = WORLD_VARIANTS["laboratory"]
    assert len(set(laboratory.frequencies_1)) == len(laboratory.shapes) == 5
    assert standard.frequencies_1 == standard.frequencies_2
    assert sorted(different.frequencies_1) != sorted(different.frequencies_2)
    assert set(cyclic.frequencies_1) == set(cyclic.frequencies_2) == {1 / len(cyclic.shapes)}
    assert all(PERIOD[name] > 0 for name in cyclic.shapes)


@pytest.mark.parametrize("variant", ["standard", "cyclic"])
@each_domain
def test_continuous_content_is_uniform_independent_and_the_same_for_every_class(variant, domain):
    """For the cyclic variant: shifting the class and keeping turn and size changes nothing of p(c)."""
    content = World(variant).content(torch.arange(20_000), 6, domain)
    cornered = content.angle != 0
    columns = {
        "x": content.position[:, 0],
        "y": content.position[:, 1],
        "size": content.size,
        "rotation": content.rotation,
    }
    for factor in CONTENT_FACTORS:
        kept = cornered if factor.name == "rotation" else torch.ones_like(cornered)
        found, shape = columns[factor.name][kept].double().numpy(), content.shape_class[kept].numpy()
        assert stats.kstest(found, stats.uniform(factor.low, factor.span).cdf).pvalue > 1e-3
        groups = [found[shape == k] for k in np.unique(shape)]
        assert min(stats.ks_2samp(a, b).pvalue for a, b in itertools.pairwise(groups)) > 1e-3
    table = np.corrcoef(torch.stack([column[cornered] for column in columns.values()]).numpy())
    assert np.abs(table - np.eye(4)).max() < STRAY / math.sqrt(int(cornered.sum()))


@pytest.mark.parametrize(("variant", "stated"), [("correlated", 0.8), ("standard", 0.0)])
def test_size_follows_x_as_much_as_stated(variant, stated):
    content = World(variant).content(torch.arange(20_000), 8)
    x, _, size, _ = CONTENT_FACTORS
    quantiles = [(content.position[:, 0] - x.low) / x.span, (content.size - size.low) / size.span]
    scores = [stats.norm.ppf(q.double().clamp(1e-6, 1 - 1e-6)) for q in quantiles]
    assert np.corrcoef(scores)[0, 1] == pytest.approx(stated, abs=STRAY / math.sqrt(20_000))
    assert stats.kstest(quantiles[1], "uniform").pvalue > 1e-3


def test_training_domains_are_unpaired_but_pairs_share_their_content():
    world, index = World(), torch.arange(10_000)
    one, two = (world.content(index, 0, domain) for domain in (1, 2))
    counts = np.histogram2d(one.shape_class, two.shape_class, bins=6)[0]
    assert stats.chi2_contingency(counts).pvalue > 1e-3
    for a, b in zip((*one.position.T, one.size), (*two.position.T, two.size), strict=True):
        assert abs(np.corrcoef(a, b)[0, 1]) < STRAY / 100
    pairs = world.pairs(index[:50], 0, 32)
    assert torch.equal(pairs.image_1, render(pairs.content, style_from_code(pairs.code_1, 1), 1, 32))
    assert torch.equal(pairs.image_2, render(pairs.content, style_from_code(pairs.code_2, 2), 2, 32))
    seen = (pairs.content.position[:, None] == one.position).all(dim=2)
    assert not seen.any()  # held out
    assert abs(np.corrcoef(pairs.code_1[:, 0], pairs.code_2[:, 0])[0, 1]) < 0.6


# ---------------------------------------------------------------------------------------- the interface of render


@each_domain
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_images_have_their_shape_and_dtype_and_stay_in_range_at_every_extreme(domain, dtype):
    ends = [(f.low, f.high) for f in factors_of(domain)]
    for name, size in itertools.product(SHAPE_NAMES, (16, 32)):
        values = torch.tensor(list(itertools.product(*ends)), dtype=dtype)
        values[:, 3] *= PERIOD[name]
        image = draw(name, values, domain, size)
        assert image.shape == (128, 3, size, size) and image.dtype == dtype
        assert image.min() >= -1 and image.max() <= 1


@each_domain
def test_wrong_requests_are_refused(domain):
    content = World().content(torch.arange(2), 0, domain)
    style, other = (style_from_code(torch.zeros(2, 3), d) for d in (domain, 3 - domain))
    with pytest.raises(ValueError, match=f"the style is a {type(other).__name__}"):
        render(content, other, domain, 32)
    with pytest.raises(ValueError, match="size 15 is too small"):
        render(content, style, domain, 15)
    for call in (
        lambda: render(content, style, 3, 32),
        lambda: style_from_code(torch.zeros(2, 3), 0),
        lambda: World().content(torch.arange(2), 0, 3),
        lambda: World().style_code(torch.arange(2), 0, 3),
    ):
        with pytest.raises(ValueError, match="there are two: 1 and 2"):
            call()
    for shape in ((2, 8), (3,), (1, 2, 3)):
        with pytest.raises(ValueError, match=r"has shape \(B, 3\), not"):
            style_from_code(torch.zeros(shape), domain)
    with pytest.raises(ValueError, match="unknown world variant 'flat'; known: standard"):
        World("flat")


def test_ten_thousand_images_are_drawn_in_seconds():
    begin = time.perf_counter()
    for index in torch.arange(10_000).split(500):
        World().images(index, 0, 1 + int(index[0]) // 500 % 2, 32)
    rate = 10_000 / (time.perf_counter() - begin)
    print(f"{rate:.0f} images/s at 32 px")
    assert rate >= 2000
