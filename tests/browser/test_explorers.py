"""Explorers as people use them: keyboard, mouse, buttons and uploads in JupyterLab, the picture compared each time."""

import ast
import base64
import io
import re

import numpy as np
import PIL.Image
import psutil
import pytest
from notebook_files import read
from playwright.sync_api import expect

from munit_lite.course.explorers import adain, example, loss, proposition, style, symmetry, world
from munit_lite.course.explorers.model_explorer import load_model_samples
from munit_lite.course.explorers.pictures import to_png

pytestmark = [pytest.mark.browser, pytest.mark.slow]
TITLES = (
    "Style explorer", "Example-guided explorer", "AdaIN explorer", "World explorer", "Loss explorer",
    "Proposition explorer", "Symmetry explorer",
)  # fmt: skip
expect.set_options(timeout=30_000)


@pytest.fixture(scope="module")
def page(opened, run_all):
    page = opened("explorers.ipynb")
    run_all(page)
    expect(page.get_by_role("group", name=TITLES[-1])).to_be_visible()
    yield page
    assert page.errors == []
    page.close()


class Driver:
    """One explorer on the page."""

    def __init__(self, page, title):
        self.page, self.root = page, page.get_by_role("group", name=title).first
        self.root.scroll_into_view_if_needed()

    def slider(self, name):
        return self.root.get_by_role("slider", name=name, exact=True)

    def press(self, button):
        self.root.get_by_role("button", name=button).click()

    @property
    def state(self):
        code = self.root.locator("code").text_content()
        return ast.literal_eval(re.search(r"state=(\{.*\})\)", code)[1])

    def picture(self):
        """The PNG that the browser shows."""
        read = """async image => {
            await image.decode();
            const bytes = new Uint8Array(await (await fetch(image.src)).arrayBuffer());
            return btoa(Array.from(bytes, byte => String.fromCharCode(byte)).join(''));
        }"""
        return base64.b64decode(self.root.locator("img").evaluate(read))

    def wait_for(self, **values):
        expect(self.root.locator("code")).to_have_text(
            re.compile(".*".join(re.escape(f"{name!r}: {value!r}") for name, value in values.items()))
        )


@pytest.fixture(scope="module")
def rendered(model):
    """Explorer title -> what its pure renderer gives for a state, as PNG."""
    samples = load_model_samples(model)
    return {
        "Style explorer": lambda state: to_png(style.render(samples, **state)),
        "Example-guided explorer": lambda state: to_png(example.render(samples, **state)),
        "AdaIN explorer": lambda state: to_png(adain.render(samples, **state)),
        "World explorer": lambda state: to_png(world.render(**state)),
        "Loss explorer": lambda state: to_png(loss.render(**state)),
        "Proposition explorer": lambda state: proposition.render(**state).data,
        "Symmetry explorer": lambda state: symmetry.render(**state).data,
    }


def same(one, two):
    """Whether two PNGs show the same; a kernel's threads may round a value differently."""
    one, two = (np.asarray(PIL.Image.open(io.BytesIO(data))).astype(int) for data in (one, two))
    return one.shape == two.shape and np.abs(one - two).max() <= 1


@pytest.fixture(scope="module")
def at_first(page):
    """The Style explorer's code and picture before anything was touched."""
    driver = Driver(page, "Style explorer")
    return driver.root.locator("code").text_content(), driver.picture()


@pytest.fixture
def explorer(page, at_first):
    driver = Driver(page, "Style explorer")
    yield driver
    driver.press("Reset")
    expect(driver.root.locator("code")).to_have_text(at_first[0])
    assert driver.picture() == at_first[1]


def test_the_keyboard_moves_a_slider_and_lab_does_not_take_its_keys(explorer, rendered):
    before = explorer.picture()
    slider = explorer.slider("style coordinate 1")
    slider.focus()
    for key, value in (("ArrowRight", 0.1), ("ArrowUp", 0.2), ("ArrowDown", 0.1), ("End", 3.0), ("Home", -3.0)):
        slider.press(key)
        expect(slider).to_have_attribute("aria-valuetext", f"{value:.2f}")
    slider.press("PageUp")
    expect(slider).not_to_have_attribute("aria-valuetext", "-3.00")
    slider.press("End")
    explorer.wait_for(style_1=3.0)
    assert explorer.picture() != before
    assert same(explorer.picture(), rendered["Style explorer"](explorer.state))
    assert explorer.state["style_2"] == explorer.state["style_3"] == 0


def test_the_mouse_drags_a_slider_and_the_last_place_is_shown(explorer, rendered):
    slider = explorer.slider("style coordinate 2")
    box = slider.bounding_box()
    middle = box["y"] + box["height"] / 2
    mouse = explorer.page.mouse
    mouse.move(box["x"] + box["width"] / 2, middle)
    mouse.down()
    for k in range(40):
        mouse.move(box["x"] + box["width"] * (0.5 + 0.5 * np.sin(k / 3)), middle)
    mouse.move(box["x"] + box["width"] * 0.9, middle)
    mouse.up()
    value = float(slider.input_value())
    assert 2 < value < 3
    explorer.wait_for(style_2=value)
    assert same(explorer.picture(), rendered["Style explorer"](explorer.state))


def move_200_times(slider):
    slider.evaluate(
        """async input => {
            for (let k = 0; k < 200; k++) {
                input.value = k === 199 ? 1.5 : 3 * Math.sin(k);
                input.dispatchEvent(new Event('input', { bubbles: true }));
                if (k % 10 === 0) await new Promise(resolve => setTimeout(resolve, 5));
            }
        }"""
    )


def test_200_fast_moves_end_at_the_last_one(explorer, rendered):
    move_200_times(explorer.slider("style coordinate 3"))
    explorer.wait_for(style_3=1.5)
    assert same(explorer.picture(), rendered["Style explorer"](explorer.state))


def test_memory_stays_flat(explorer):
    devtools = explorer.page.context.new_cdp_session(explorer.page)

    def memory():
        """Megabytes of the kernels, and of what the page still holds."""
        kernels = [p for p in psutil.Process().children(recursive=True) if "ipykernel" in " ".join(p.cmdline())]
        devtools.send("HeapProfiler.collectGarbage")
        page = devtools.send("Runtime.getHeapUsage")["usedSize"]
        return np.array([sum(kernel.memory_info().rss for kernel in kernels), page]) / 1e6

    found = []
    for _ in range(5):
        explorer.slider("style coordinate 3").press("Home")
        explorer.wait_for(style_3=-3.0)
        move_200_times(explorer.slider("style coordinate 3"))
        explorer.wait_for(style_3=1.5)
        found.append(memory())
    grown = found[-1] - found[1]
    print("200 moves, five times: MB of the kernel and of the page", np.round(found, 1).tolist())
    assert (grown < (20, 5)).all()  # a picture has 0.05 MB; kept, those of 600 moves would be seen


def test_from_key_to_picture_takes_a_fraction_of_a_second(explorer):
    times = explorer.slider("style coordinate 1").evaluate(
        """async (input, image) => {
            const times = [];
            for (let k = 0; k < 20; k++) {
                const changed = new Promise(resolve => {
                    const observer = new MutationObserver(() => { observer.disconnect(); resolve(); });
                    observer.observe(image, { attributeFilter: ['src'] });
                });
                const begin = performance.now();
                input.dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowRight', bubbles: true }));
                await changed;
                await image.decode();
                times.push(performance.now() - begin);
            }
            return times;
        }""",
        explorer.root.locator("img").element_handle(),
    )
    median, worst = np.percentile(times, (50, 95))
    print(f"from key to decoded picture: median {median:.0f} ms, 95 % within {worst:.0f} ms")
    assert median < 2000  # wanted: 250; Chromium, Lab, kernel and other tests share two cores, and 2 s is a hang


def test_buttons_sample_a_style_and_copy_the_state(explorer, rendered):
    image = explorer.root.locator("img")
    before = image.get_attribute("src")
    explorer.press("Sample from the prior")
    expect(image).not_to_have_attribute("src", before)
    assert any(explorer.state[f"style_{k}"] for k in (1, 2, 3))
    assert same(explorer.picture(), rendered["Style explorer"](explorer.state))
    explorer.press("Copy this state as code")
    expect(explorer.root.get_by_role("status")).to_have_text("Copied.")
    copied = explorer.page.evaluate("() => navigator.clipboard.readText()")
    assert copied == f"StyleExplorer('model.safetensors', state={explorer.state})"


def upload(explorer, tmp_path, name, content):
    file = tmp_path / name
    file.write_bytes(content)
    explorer.root.get_by_label("Your own image (replaces the selected one)").set_input_files(file)


def test_an_uploaded_image_is_shown_and_a_broken_one_reported(explorer, tmp_path):
    image, alert = explorer.root.locator("img"), explorer.root.get_by_role("alert")
    before, first = image.get_attribute("src"), explorer.picture()
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (50, 40), "#606060").save(buffer, "png")
    upload(explorer, tmp_path, "mine.png", buffer.getvalue())
    expect(image).not_to_have_attribute("src", before)
    shown = np.asarray(PIL.Image.open(io.BytesIO(explorer.picture())))
    assert (shown[100, 100] == 0x60).all() and explorer.picture() != first
    upload(explorer, tmp_path, "broken.png", b"no image at all")
    expect(alert).to_contain_text("broken.png cannot be read as an image")
    assert np.array_equal(np.asarray(PIL.Image.open(io.BytesIO(explorer.picture()))), shown)
    before = image.get_attribute("src")
    explorer.press("Reset")
    expect(image).not_to_have_attribute("src", before)
    expect(alert).to_be_hidden()


@pytest.mark.parametrize("title, choice, option, name", [
    ("Style explorer", "direction", "painting to sketch", "image"),
    ("Example-guided explorer", "direction", "painting to sketch", "first example"),
    ("AdaIN explorer", "operation", adain.SWAP, "second style"),
    ("World explorer", "shape", "ring", "foreground hue"),
    ("Loss explorer", "run", "all losses and the cycle loss", "first style"),
    ("Proposition explorer", "what is broken", "content in the style, encoder only", "images of each domain"),
    ("Symmetry explorer", "rotated networks", symmetry.DECODER_ONLY, "angle"),
])  # fmt: skip
def test_each_explorer_follows_its_choices_and_sliders(page, rendered, title, choice, option, name):
    driver = Driver(page, title)
    pictures = {driver.picture()}
    driver.root.get_by_label(choice, exact=True).select_option(option)
    expect(driver.root.locator("code")).to_contain_text(f"'{option}'")
    pictures.add(driver.picture())
    slider, image = driver.slider(name), driver.root.locator("img")
    before = image.get_attribute("src")
    slider.focus()
    slider.press("Home" if slider.input_value() == slider.get_attribute("max") else "End")
    expect(image).not_to_have_attribute("src", before)
    pictures.add(driver.picture())
    assert len(pictures) == 3
    assert same(driver.picture(), rendered[title](driver.state))


@pytest.mark.parametrize("title", TITLES)
def test_everything_has_a_name_for_screen_readers(page, title):
    root = Driver(page, title).root
    for role in ("slider", "combobox", "button", "img"):
        for element in root.get_by_role(role).all():
            assert element.evaluate("e => (e.labels?.[0] ?? e).textContent.trim() || e.alt"), (title, role)
    sentence = root.locator("p[aria-live]").text_content()
    assert root.locator("img").get_attribute("alt") == sentence and len(sentence) > 20
    assert root.get_by_role("slider").first.get_attribute("aria-describedby")


def test_a_notebook_shows_pictures_when_opened_and_explorers_when_run(opened, run_all):
    name, explorers = "04_adain_decoder", {"AdaINExplorer": ("AdaIN explorer", "second style")}
    sources = [cell.source for cell in read(name).cells]
    page = opened(f"notebooks/{name}.ipynb")

    def cell(explorer):
        """The explorer's cell, scrolled to: Lab makes those that can be seen."""
        number = next(k for k, source in enumerate(sources) if f"{explorer}(" in source)
        page.evaluate("number => jupyterapp.shell.currentWidget.content.scrollToItem(number, 'center')", number)
        return page.locator(f"[data-windowed-list-index='{number}']")

    for explorer in explorers:
        expect(cell(explorer).locator(".jp-RenderedImage img")).to_be_visible()
    run_all(page)
    for explorer, (title, slider) in explorers.items():
        expect(cell(explorer).get_by_role("group", name=title)).to_be_visible(timeout=120_000)
        driver = Driver(page, title)
        before, source = driver.picture(), driver.root.locator("img").get_attribute("src")
        driver.slider(slider).press("End")
        expect(driver.root.locator("img")).not_to_have_attribute("src", source)
        assert driver.picture() != before
    assert page.errors == []
    page.close()


def test_a_missing_checkpoint_is_a_message(page):
    root = page.get_by_role("group", name="Style explorer").nth(1)
    expect(root.get_by_role("alert")).to_contain_text("no_such_model is neither a run folder")
    assert root.get_by_role("slider").count() == root.get_by_role("button").count() == 0
    expect(root.locator("img")).to_be_hidden()


def test_it_fits_into_900_pixels(page):
    page.set_viewport_size({"width": 900, "height": 1000})
    for title in TITLES:
        root = Driver(page, title).root
        assert root.evaluate("e => e.scrollWidth <= e.clientWidth && e.getBoundingClientRect().right <= innerWidth")
    page.set_viewport_size({"width": 1300, "height": 1000})
