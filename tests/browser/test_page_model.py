"""The model in the site's pages: it agrees with torch, and people can draw with it by mouse and keyboard."""

import ast
import base64
import functools
import http.server
import io
import itertools
import json
import re
import shutil
import threading
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from notebook_files import ROOT
from playwright.sync_api import expect

import munit_lite as ml
from munit_lite import world
from munit_lite.course import explorers
from munit_lite.evaluation.attribute_predictors import load_attribute_predictor
from tools.freehand_drawings import write_drawings
from tools.page_model import write_scripts

pytestmark = [pytest.mark.browser, pytest.mark.slow]
SCRIPTS = ROOT / "site/static/page"
DRAWINGS = Path(__file__).parent / "freehand_drawings.json"
EXPLORERS = {  # name -> control and value of each change, in order
    "StyleExplorer": {"view": "between two styles", "second style": "End", "style coordinate 3": "Home"},
    "ExampleExplorer": {"direction": "painting to sketch", "first example": "End"},
    "WorldExplorer": {"shape": "cross", "rotation": "End", "light": "Home", "paper": "End"},
}
STROKE_POINTS = [(0.3, 0.3), (0.7, 0.32), (0.72, 0.7), (0.3, 0.68), (0.31, 0.31)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The page "Draw" without the theme of the site."""
    root = tmp_path_factory.mktemp("pages")
    shutil.copytree(SCRIPTS, root / "_static/page")
    shutil.copy(ROOT / "munit_lite/course/explorers/widget.css", root / "_static")
    write_scripts(root / "_static/page")
    (root / "site").mkdir()
    styles = "".join(f'<link rel="stylesheet" href="../_static/{name}">' for name in ("widget.css", "page/page.css"))
    (block,) = re.findall(r"```\{raw\} html\n(.*?)```", (ROOT / "site/draw.md").read_text(), flags=re.DOTALL)
    head = f'<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width">{styles}'
    (root / "site/draw.html").write_text(head + block)
    scripts = re.findall(r'SCRIPTS = "(.*)"', (ROOT / "site/conf.py").read_text())[0].split()
    figures = (f'<figure><img class="{name.lower()}" alt="stored"></figure>' for name in EXPLORERS)
    tags = (f'<script defer src="../_static/page/{name}.js"></script>' for name in scripts)
    (root / "site/explorers.html").write_text("".join([head, *figures, *tags]))
    return root


@pytest.fixture(scope="module")
def addresses(folder):
    """The page as a file and from a server on loopback."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield {
            "file": (folder / "site/draw.html").as_uri(),
            "loopback": f"http://127.0.0.1:{server.server_port}/site/draw.html",
        }
        server.shutdown()


class Draw:
    """The page "Draw", opened."""

    def __init__(self, browser, address, width=1200):
        self.page = browser.new_page(viewport={"width": width, "height": 1000})
        self.page.set_default_timeout(60_000)
        self.requests, self.errors = [], []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(address)
        self.area = self.page.get_by_role("application", name="Drawing area")
        self.status = self.page.get_by_role("status")
        self.wait()

    def wait(self):
        """Wait for all paintings; returns the milliseconds that the page states."""
        expect(self.status).to_have_text(re.compile(r"Eight paintings in \d+ ms\."), timeout=60_000)
        return int(re.findall(r"\d+", self.status.text_content())[0])

    def stroke(self, points):
        box, mouse = self.area.bounding_box(), self.page.mouse
        at = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
        mouse.move(*at[0])
        mouse.down()
        for point in at[1:]:
            mouse.move(*point)
        mouse.up()

    def images(self, selector):
        """The images that canvases show, (N, 3, 32, 32) in [-1, 1]."""
        read = "all => all.map(c => Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data))"
        pixels = np.array(self.page.locator(selector).evaluate_all(read)).reshape(-1, 32, 32, 4)[..., :3]
        return torch.tensor(pixels / 127.5 - 1, dtype=torch.float32).permute(0, 3, 1, 2)

    def paintings(self):
        return self.images(".draw-paintings canvas")


@pytest.fixture
def draw(chromium, addresses):
    opened = Draw(chromium, addresses["file"])
    yield opened
    assert opened.errors == []
    opened.page.close()


RUN_MODEL = """images => {
    const model = new (defineModel().Munit)(unpackTensors(WEIGHTS));
    return images.map(({ source, pixels, style }) => {
        const image = { data: Float64Array.from(pixels), channels: 3, height: 32, width: 32 };
        const content = model.encodeContent(image, source);
        const translation = model.decode(content, style, 3 - source);
        return [content.data, model.encodeStyle(image, source), translation.data].map(values => Array.from(values));
    });
}"""


@torch.no_grad()
def test_codes_and_translations_agree_with_torch_in_both_directions(draw):
    model, samples = ml.load("world32").eval(), ml.World().pairs(torch.arange(20), 5, 32)
    styles = model.sample_style(20, torch.Generator().manual_seed(5))
    for source, images in ((1, samples.image_1), (2, samples.image_2)):
        content, style = model.encode(images, source)
        translation = model.decode(content, styles, 3 - source)
        arguments = [
            {"source": source, "pixels": image.flatten().tolist(), "style": code.tolist()}
            for image, code in zip(images, styles, strict=True)
        ]
        found = draw.page.evaluate(RUN_MODEL, arguments)
        for k, expected in enumerate((content, style, translation)):
            in_page = torch.tensor([values[k] for values in found], dtype=torch.float64)
            error = (in_page - expected.flatten(1)).abs().max()
            print(f"domain {source}, output {k}: largest difference {error:.1e}")
            assert error <= 1e-4


@pytest.mark.parametrize("shape", world.SHAPE_NAMES)
def test_a_placed_shape_is_the_sketch_that_the_world_renders(shape, draw):
    k = world.SHAPE_NAMES.index(shape)
    content = world.Content(
        torch.tensor([k]), torch.tensor([[0.45, 0.55]]), torch.tensor([0.25]), torch.tensor([0.2 if k > 1 else 0.0])
    )
    style = world.SketchStyle(torch.tensor([0.055]), torch.tensor([0.17]), torch.tensor([0.85]))
    expected = world.render(content, style, world.SKETCH, 32)[0]
    code = "name => Array.from(renderSketch(outlineShape({ name, x: 0.45, y: 0.55, size: 0.25, angle: 0.2 })).data)"
    found = torch.tensor(draw.page.evaluate(code, shape)).view(3, 32, 32)
    # Circles are polygons of 180 sides, which lie up to 0.0012 pixels inside.
    assert (found - expected).abs().max() < (1e-5 if k > 1 else 0.003)


@pytest.mark.parametrize("protocol", ["file", "loopback"])
def test_a_stroke_is_painted_quickly_and_nothing_leaves_the_page(protocol, addresses, chromium):
    draw = Draw(chromium, addresses[protocol])
    before, times = draw.paintings(), []
    for _ in range(20):
        draw.page.get_by_role("button", name="Clear").click()
        draw.stroke(STROKE_POINTS)
        times.append(draw.wait())
    predicted = load_attribute_predictor(2)(draw.paintings()).shape_class
    assert [world.SHAPE_NAMES[k] for k in predicted] == ["square"] * 8
    assert (draw.paintings() - before).abs().amax((1, 2, 3)).min() > 0.1
    median, late = np.percentile(times, (50, 95))
    print(f"{protocol}: from stroke to eight paintings: median {median:.0f} ms, 95 % within {late:.0f} ms")
    assert median < 1500  # wanted: 400, on a machine of its own; other tests share the two cores
    root = addresses[protocol].removesuffix("site/draw.html")
    assert draw.errors == [] and all(url.startswith((root, "blob:")) for url in draw.requests)
    draw.page.close()


def test_the_recorded_drawings_are_those_of_the_tool(tmp_path):
    write_drawings(tmp_path / "drawings.json")
    recorded, written = (json.loads(file.read_text()) for file in (DRAWINGS, tmp_path / "drawings.json"))
    for old, new in zip(recorded, written, strict=True):
        assert old["shape"] == new["shape"]
        for points, same in zip(old["strokes"], new["strokes"], strict=True):
            assert np.allclose(points, same, atol=1.1e-3)  # coordinates have three digits


def test_20_freehand_drawings_keep_their_class_in_all_eight_paintings(draw):
    drawings = json.loads(DRAWINGS.read_text())
    predictor, kept = load_attribute_predictor(2), []
    for drawing in drawings:
        draw.page.get_by_role("button", name="Clear").click()
        for stroke in drawing["strokes"]:
            draw.stroke(stroke)
        draw.wait()
        predicted = [world.SHAPE_NAMES[k] for k in predictor(draw.paintings()).shape_class]
        kept.append(predicted == [drawing["shape"]] * 8)
        if not kept[-1]:
            print(drawing["shape"], "is painted as", predicted)
    print(f"{sum(kept)} of {len(kept)} drawings keep their class")
    assert len(kept) == 20 and sum(kept) >= 17


def test_the_keyboard_alone_places_moves_and_styles_a_shape(draw):
    keyboard = draw.page.keyboard
    for _ in range(3):  # the focus order begins with the drawing area
        keyboard.press("Tab")
        if draw.area.evaluate("area => area === document.activeElement"):
            break
    keyboard.press("3")
    draw.wait()
    predict = load_attribute_predictor(2)
    first = predict(draw.paintings())
    assert {world.SHAPE_NAMES[k] for k in first.shape_class} == {"square"}
    for key in [*["ArrowRight"] * 4, *["ArrowUp"] * 3, *["-"] * 4]:
        keyboard.press(key)
    draw.wait()
    moved = predict(draw.paintings())
    change = torch.cat([moved.position - first.position, (moved.size - first.size)[:, None]], dim=1).mean(0)
    assert torch.allclose(change, torch.tensor([0.08, -0.06, -0.04]), atol=0.02)

    before = draw.paintings()
    slider = draw.page.get_by_role("slider", name="style coordinate 1")
    slider.focus()
    keyboard.press("Home" if float(slider.input_value()) > 0 else "End")
    draw.wait()
    difference = (draw.paintings() - before).abs().amax((1, 2, 3))
    assert difference[0] > 0.1 and difference[1:].max() == 0
    second = draw.page.get_by_role("button", name="Painting 2")
    second.focus()
    keyboard.press("Enter")
    assert second.get_attribute("aria-pressed") == "true"
    assert torch.equal(draw.images(".draw-chosen canvas")[0], draw.paintings()[1])
    name = second.get_attribute("aria-label")
    draw.page.get_by_role("button", name="New styles").focus()
    keyboard.press("Enter")
    draw.wait()
    assert second.get_attribute("aria-label") != name


def test_undo_removes_the_last_stroke_and_an_empty_area_has_no_paintings(draw):
    draw.stroke(STROKE_POINTS)
    draw.wait()
    before = draw.images("figure canvas")[0]
    draw.stroke([(0.1, 0.1), (0.2, 0.1)])
    draw.wait()
    assert not torch.equal(draw.images("figure canvas")[0], before)
    undo = draw.page.get_by_role("button", name="Undo")
    undo.click()
    draw.wait()
    assert torch.equal(draw.images("figure canvas")[0], before)
    undo.click()
    expect(draw.status).to_have_text("The drawing area is empty.")
    assert draw.paintings().max() == -1


def test_a_finger_draws_on_a_screen_400_pixels_wide(addresses, chromium):
    draw = Draw(chromium, addresses["file"], width=400)
    assert draw.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    box = draw.area.bounding_box()
    devtools = draw.page.context.new_cdp_session(draw.page)
    for kind, (x, y) in zip(["touchStart", *["touchMove"] * 4], STROKE_POINTS, strict=True):
        point = {"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]}
        devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [point]})
    devtools.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    draw.wait()
    predicted = load_attribute_predictor(2)(draw.paintings()).shape_class
    assert [world.SHAPE_NAMES[k] for k in predicted] == ["square"] * 8
    draw.page.close()


# --------------------------------------------------------------------------------------------------- the explorers


@pytest.fixture(scope="module")
def explorer_page(folder, chromium):
    page = chromium.new_page(viewport={"width": 1200, "height": 1000})
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto((folder / "site/explorers.html").as_uri())
    yield page
    assert errors == []
    page.close()


def read_picture(root):
    read = """async image => {
        await image.decode();
        const bytes = new Uint8Array(await (await fetch(image.src)).arrayBuffer());
        return btoa(Array.from(bytes, byte => String.fromCharCode(byte)).join(''));
    }"""
    return base64.b64decode(root.locator("img").evaluate(read))


def pixels(png):
    return np.asarray(PIL.Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def assert_cells_agree(found, expected):
    """Compare tables whose numbers may differ by two units of their last digit."""
    assert [len(row) for row in found] == [len(row) for row in expected]
    for cell, other in zip(*map(itertools.chain.from_iterable, (found, expected)), strict=True):
        number, known = (re.match(r"-?[\d.]+", text) for text in (cell, other))
        if number and known:
            unit = 0.01 if "." in known[0] else 1
            assert abs(float(number[0]) - float(known[0])) < 2.5 * unit, (cell, other)
            assert cell[number.end() :] == other[known.end() :]
        else:
            assert cell == other


@pytest.mark.parametrize("name", EXPLORERS)
def test_an_explorer_shows_what_it_shows_in_jupyterlab(name, explorer_page):
    explorer = getattr(explorers, name)("world32")
    root = explorer_page.get_by_role("group", name=explorer.title)
    code = root.locator("code")
    for label, value in EXPLORERS[name].items():
        expect(code).not_to_have_text("", timeout=60_000)
        before = code.text_content()
        control = root.get_by_label(label, exact=True)
        if control.evaluate("element => element.tagName") == "SELECT":
            control.select_option(value)
        else:
            control.press(value)
        expect(code).not_to_have_text(before, timeout=60_000)
    explorer.state = ast.literal_eval(re.search(r"state=(\{.*\})\)", code.text_content())[1])
    assert code.text_content() == explorer.code
    assert root.locator("p[aria-live]").text_content() == explorer.sentence
    cells = "rows => rows.map(row => Array.from(row.cells, cell => cell.textContent))"
    assert_cells_agree(root.locator("table tr").evaluate_all(cells), explorer.rows)
    shown, expected = pixels(read_picture(root)), pixels(explorer.picture)
    assert shown.shape == expected.shape
    assert np.abs(shown - expected).max() <= 1
    expect(explorer_page.locator(f"figure:has(img.{name.lower()})")).to_be_hidden()


def test_reset_and_samples_from_the_prior(explorer_page):
    explorer = explorers.StyleExplorer("world32")
    root = explorer_page.get_by_role("group", name=explorer.title)
    root.get_by_role("button", name="Reset").click()
    expect(root.locator("code")).to_have_text(explorer.code, timeout=60_000)
    root.get_by_role("button", name="Sample from the prior").click()
    explorer.handle_action("sample")
    expect(root.locator("code")).to_have_text(explorer.code, timeout=60_000)


def test_an_uploaded_image_is_shown_and_a_wrong_one_reported(explorer_page, tmp_path):
    root = explorer_page.get_by_role("group", name="Style explorer")
    root.get_by_role("button", name="Reset").click()
    image, alert = root.locator("img"), root.get_by_role("alert")

    def upload(name, color):
        file = tmp_path / name
        if color:
            PIL.Image.new("RGB", (50, 40), color).save(file)
        else:
            file.write_bytes(b"no image at all")
        root.get_by_label("Your own image (replaces the selected one)").set_input_files(file)

    upload("broken.png", None)
    expect(alert).to_have_text("broken.png cannot be read as an image")
    upload("red.png", "#ff2020")
    expect(alert).to_contain_text("red.png has colors, but a sketch has none")
    before = image.get_attribute("src")
    upload("gray.png", "#606060")
    expect(image).not_to_have_attribute("src", before, timeout=60_000)
    expect(alert).to_be_hidden(timeout=60_000)
    assert (pixels(read_picture(root))[100, 100] == 0x60).all()
