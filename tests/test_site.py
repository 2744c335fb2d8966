"""The book: builds without a warning, offline, with every page, link, picture and equation in its place."""

import importlib
import itertools
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup
from notebook_files import COURSE, ROOT, TEACHING, WRITTEN, code, read

import munit_lite
from munit_lite.course import explorers

pytestmark = pytest.mark.slow

WIDGET = "application/vnd.jupyter.widget-view+json"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Every page of the book by its path."""
    out = tmp_path_factory.mktemp("build") / "site"
    options = ["--quiet", "--fail-on-warning", "--keep-going", "--builder", "html", "--conf-dir", "site"]
    command = [sys.executable, "-m", "sphinx", *options, ".", str(out)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    found = (path for path in out.rglob("*.html") if "_static" not in path.parts)
    return {path: BeautifulSoup(path.read_text(), "html.parser") for path in found}


def page_of(site, name):
    (found,) = [page for path, page in site.items() if path.stem == name and path.parent.name == "notebooks"]
    return found


def local(address: str) -> bool:
    return not urlsplit(address).scheme and not urlsplit(address).netloc


def targets(path: Path, page: BeautifulSoup) -> list[tuple[Path, str]]:
    """The files and places within them that a page links to."""
    found = []
    for link in page.find_all("a", href=True):
        if local(link["href"]):
            parts = urlsplit(link["href"])
            file = Path(os.path.normpath(path.parent / unquote(parts.path))) if parts.path else path
            found.append((file, unquote(parts.fragment)))
    return found


def test_links_inside_the_book_resolve(site):
    places = {path: {tag["id"] for tag in page.find_all(id=True)} for path, page in site.items()}
    links = [(path, *target) for path, page in site.items() for target in targets(path, page)]
    assert len(links) > 20 * len(WRITTEN)
    for path, file, fragment in links:
        assert file.exists(), f"{path.name} links {file}"
        whole = not fragment or file.suffix != ".html"
        assert whole or fragment in places[file], f"{path.name} links {file.name}#{fragment}"


def test_pages_follow_each_other_in_the_order_of_the_course(site):
    order = [name for name in COURSE if name in WRITTEN]
    for name, after in itertools.pairwise(order):
        assert page_of(site, name).find("a", class_="next-page")["href"] == f"{after}.html"
        assert page_of(site, after).find("a", class_="prev-page")["href"] == f"{name}.html"


def test_nothing_is_fetched_from_elsewhere(site):
    for path, page in site.items():
        for tag, attribute in (("script", "src"), ("img", "src"), ("link", "href")):
            for found in page.find_all(tag, {attribute: True}):
                assert local(found[attribute]) or found[attribute].startswith("data:"), f"{path.name}: {found}"


def test_every_script_is_there_and_the_site_stays_small(site):
    for path, page in site.items():
        for script in page.find_all("script", src=True):
            assert (path.parent / urlsplit(script["src"]).path).exists(), f"{path.name}: {script}"
    root = next(path.parent for path in site if path.name == "index.html")
    files = (path for path in root.rglob("*") if path.is_file() and ".doctrees" not in path.parts)
    assert sum(path.stat().st_size for path in files) < 25e6


@pytest.mark.parametrize("name", WRITTEN)
def test_every_stored_picture_is_shown_and_described(name, site):
    """Explorers among them: their widget needs a kernel, their picture does not."""
    cells = [cell for cell in code(read(name)) if "nbval-ignore-output" not in cell.metadata.get("tags", [])]
    stored = sum("image/png" in output.get("data", {}) for cell in cells for output in cell.outputs)
    shown = [image for image in page_of(site, name).find_all("img") if "_images" in image["src"]]
    assert len(shown) >= stored > 0
    assert all(len(image.get("alt", "")) > 20 for image in shown)


def test_each_explorer_of_the_package_has_its_place_in_the_course():
    places = {
        name: [k for k in explorers.__all__ if any(f"{k}(" in cell.source for cell in code(read(name)))]
        for name in WRITTEN
    }
    assert {k for found in places.values() for k in found} == set(explorers.__all__)


@pytest.mark.parametrize("name", WRITTEN)
def test_each_explorer_shows_its_picture_and_says_what_it_is(name, site):
    outputs = [output for cell in code(read(name)) for output in cell.outputs if WIDGET in output.get("data", {})]
    captions = page_of(site, name).find_all("figcaption")
    assert len(outputs) >= (name in TEACHING)
    for output, caption in zip(outputs, captions, strict=True):
        picture = caption.find_parent("figure").find("img")
        described = output.data["text/plain"][:60]
        assert output.data["image/png"] and (described in caption.text) != (described in picture["alt"])
        assert "run the notebook" in caption.text
        # Those of one model and its world run in the page, where a script replaces the picture.
        runs = described.startswith(("Style explorer.", "Example-guided explorer.", "World explorer."))
        assert bool(picture.get("class")) == runs, described
        assert bool(page_of(site, name).find("script", src=re.compile("explorers.js"))) >= runs


@pytest.mark.parametrize("tex, shown", [
    (r"\bar z_k", "<msub><mover><mi>z</mi><mo>ˉ</mo></mover><mi>k</mi></msub>"),
    (r"\underbrace{a}_{b}", "<munder><munder><mi>a</mi><mo>⏟</mo></munder><mi>b</mi></munder>"),
])  # fmt: skip
def test_accents_and_braces_stand_where_latex_puts_them(tex, shown, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "site"))
    conf = importlib.import_module("conf")
    bare = re.sub(r"<(\w+)[^>]*>", r"<\1>", conf.mathml(tex, block=False))
    assert re.sub(r"\s", "", bare) == f"<math>{shown}</math>"


@pytest.mark.parametrize("name", TEACHING)
def test_equations_are_shown_without_a_script(name, site):
    page = page_of(site, name)
    assert len(page.find_all("math")) > 3
    assert "$$" not in "".join(paragraph.text for paragraph in page.find_all("p"))


# --------------------------------------------------------------------------------------------------- the API pages


def api_page(site, name):
    (found,) = [page for path, page in site.items() if path.parts[-3:] == ("site", "api", f"{name}.html")]
    return found


def test_each_public_name_has_its_entry_in_the_api_and_a_link_from_the_overview(site):
    overview = api_page(site, "index")
    links = {link.text: link["href"] for link in overview.select("table a")}
    assert set(links) == set(munit_lite.__all__)
    for name, address in links.items():
        page, _, anchor = address.partition("#")
        entry = api_page(site, Path(page).stem).find(id=anchor)
        assert entry is not None and entry.find_next("dd").get_text(strip=True), name


def test_the_api_stands_in_the_navigation_of_every_page(site):
    for path, page in site.items():
        captions = [caption.get_text(strip=True) for caption in page.select(".sidebar-tree .caption")]
        assert "API" in captions or path.stem in ("genindex", "search", "py-modindex"), path


@pytest.mark.parametrize("number, name", [
    (1, "image_reconstruction_loss"),
    (2, "content_reconstruction_loss"),
    (3, "style_reconstruction_loss"),
])  # fmt: skip
def test_the_equation_of_a_loss_is_shown_with_its_arguments_and_example(number, name, site):
    entry = api_page(site, "losses").find(id=f"munit_lite.losses.{name}").find_next("dd")
    assert f"equation {number}" in entry.get_text() and entry.find("math") is not None
    assert not re.search(r"\\mathcal|\\left|\$\$", entry.get_text())
    fields = [field.get_text(strip=True).rstrip(":") for field in entry.find_all("dt")]
    assert {"Parameters", "Raises"} <= set(fields)
    assert f"{name}(" in entry.find("pre").get_text()


def test_a_field_of_the_configuration_is_described_in_whole(site):
    entry = api_page(site, "config").find(id="munit_lite.config.DataConfig.folder_1").find_next("dd")
    (documented,) = re.findall(r'    folder_1: str = ""\n    """(.*?)"""', (ROOT / "munit_lite/config.py").read_text())
    assert entry.get_text(strip=True) == documented
