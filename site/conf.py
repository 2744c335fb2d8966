"""The course as a book: Sphinx over the repository's own pages and notebooks. `make site` writes it to build/site.

Nothing is executed, downloaded or copied beside the sources: the notebooks are shown with their stored outputs.
"""

from __future__ import annotations

import ast
import importlib
import itertools
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.ext import napoleon
from sphinx.ext.napoleon import GoogleDocstring
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # the API pages document the package that stands beside this folder

from tools.page_model import write_scripts  # noqa: E402

API = ["index", "world", "networks", "losses", "model", "objective", "training"]
API += ["methods", "config", "presets", "files"]
START = "README"
APPLY = "\u2061"  # the invisible sign between a function and its argument
IN_PAGE = re.compile(r"(StyleExplorer|ExampleExplorer|WorldExplorer)\([^=]*\)")  # cells that site/static/page replaces
SCRIPTS = "world_data view weights explorer_data model workers sketch pictures explorers"
ACCENTS = set("ˉˆ~˙")
MATHML = "{http://www.w3.org/1998/Math/MathML}"
WIDGET = "application/vnd.jupyter.widget-view+json"
ElementTree.register_namespace("", MATHML.strip("{}"))
PARTS = {
    "The assumption": "00 01",
    "The networks": "02 03 04",
    "The losses": "05 06 07 08 08b",
    "Training": "09",
    "The propositions": "10 11 12 13",
    "Use it": "14 15 16",
}

project = "munit-lite"
root_doc = START
include_patterns = ["README.md", "ERRATA.md", "data/**.md", "notebooks/*.ipynb", "site/draw.md", "site/api/*.md"]
exclude_patterns = [".*", "build", "runs", "**/.ipynb_checkpoints"]
extensions = ["myst_nb", "sphinx.ext.autodoc"]

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
default_role = "literal"  # docstrings write `name`, as Markdown does

nb_execution_mode = "off"
nb_merge_streams = True
nb_code_prompt_show, nb_code_prompt_hide = "Show {type}", "Hide {type}"
nb_ipywidgets_js: dict[str, dict[str, str]] = {}
nb_mime_priority_overrides = [("html", WIDGET, None)]  # explorers: their picture
nb_render_markdown_format = "myst"
myst_enable_extensions = ["amsmath", "colon_fence", "dollarmath"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = "munit-lite"
html_math_renderer = "mathml"
html_static_path = ["static", "../munit_lite/course/explorers/widget.css"]
html_css_files = ["book.css", "widget.css", "page/page.css"]
html_theme_options = {"navigation_with_keys": True}
html_copy_source = False
html_show_copyright = False
html_use_index = False
pygments_dark_style = "github-dark"


def pages(pattern: str) -> list[str]:
    """The names that Sphinx gives to the files of a pattern."""
    return [path.relative_to(ROOT).with_suffix("").as_posix() for path in sorted(ROOT.glob(pattern))]


def contents() -> str:
    """The table of contents in the order of the course; notebooks not written yet are left out."""
    parts = {
        part: [page for number in found.split() for page in pages(f"notebooks/{number}_*.ipynb")]
        for part, found in PARTS.items()
    }
    parts["In the page"] = ["site/draw"]
    parts["Beside it"] = ["ERRATA", "data/README", *pages("data/results/*.md"), *pages("data/checkpoints/*.md")]
    parts["API"] = [f"site/api/{page}" for page in API]
    tables = [
        ["```{toctree}", ":hidden:", f":caption: {part}", "", *found, "```"] for part, found in parts.items() if found
    ]
    return "\n\n".join("\n".join(table) for table in tables)


def public_names() -> dict[str, Any]:
    """Every object that the package exports, by the full name under which its page documents it."""
    statements = ast.parse((ROOT / "munit_lite/__init__.pyi").read_text()).body
    imports = [(f"munit_lite.{s.module}", a.name) for s in statements if isinstance(s, ast.ImportFrom) for a in s.names]
    return {f"{module}.{name}": getattr(importlib.import_module(module), name) for module, name in imports}


def table_of_names() -> str:
    """A table of the public names, each with a link to its page and its first sentence."""
    rows = ["| name | description |", "| --- | --- |"]
    for path, exported in public_names().items():
        summary = (exported.__doc__ or "").split("\n\n")[0].replace("\n", " ")
        rows.append(f"| {{py:obj}}`{path.rpartition('.')[2]} <{path}>` | {summary} |")
    return "\n".join(rows)


def entries_of_files() -> str:
    """Directives for the public names of `munit_lite.data` and `munit_lite.storage`, whose modules have no pages."""
    found = {path: exported for path, exported in public_names().items() if re.match(r"\w+\.(data|storage)\.", path)}
    return "\n".join(
        f".. {'autoexception' if isinstance(exported, type) else 'autofunction'}:: {path}"
        for path, exported in found.items()
    )


def prepare(app: Sphinx, docname: str, source: list[str]) -> None:
    """Gives the start page its table of contents, pictures their alternative text, and explorers a caption."""
    if docname == START:
        source[0] += "\n\n" + contents()
    elif docname == "site/api/index":
        source[0] = source[0].replace("PUBLIC_NAMES", table_of_names())
    elif docname == "site/api/files":
        source[0] = source[0].replace("ENTRIES", entries_of_files())
    elif docname.startswith("notebooks/"):
        notebook = json.loads(source[0])
        cells = notebook["cells"]
        for cell, below in zip(cells, [*cells[1:], {"source": ""}], strict=True):
            if "nbval-ignore-output" in cell["metadata"].get("tags", []):  # live curves have no alternative text
                cell["outputs"] = [
                    o
                    for o in cell.get("outputs", [])
                    if "image/png" not in o.get("data", {}) or o["metadata"].get("image/png", {}).get("alt")
                ]
            for output in cell.get("outputs", []):
                # Jupyter keeps it with the output, MyST-NB takes it from the cell.
                if alt := output.get("metadata", {}).get("image/png", {}).get("alt"):
                    cell["metadata"]["mystnb"] = {"image": {"alt": alt}}
                    if WIDGET in output["data"]:
                        hint = "(Interactive: run the notebook to use its controls.)"
                        if not "".join(below["source"]).startswith("*Figure "):  # one caption is enough
                            hint = f"{alt} {hint}"
                            alt = "The stored picture of an explorer; its caption says what it shows."
                        cell["metadata"]["mystnb"] = {"image": {"alt": alt}, "figure": {"caption": hint}}
                        if explorer := IN_PAGE.fullmatch("".join(cell["source"]).strip()):
                            cell["metadata"]["mystnb"]["image"]["classes"] = explorer[1]
        if any("classes" in cell["metadata"].get("mystnb", {}).get("image", {}) for cell in cells):
            tags = (f'<script defer src="../_static/page/{name}.js"></script>' for name in SCRIPTS.split())
            raw = "\n".join(["```{raw} html", *tags, "```"])
            cells.append({"cell_type": "markdown", "id": "scripts", "metadata": {}, "source": raw})
        source[0] = json.dumps(notebook)


def convert_docstring(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Turn a docstring into reStructuredText: its sections, and its equations, which stand between `$$`."""
    pieces = re.split(r"(\$\$.*?\$\$|`[^`]*`|^ *>>>[^\n]*)", "\n".join(lines), flags=re.DOTALL | re.MULTILINE)
    for k, piece in enumerate(pieces):
        if piece.startswith("$$"):
            tex = [f"   {line.strip()}" for line in piece.strip("$").strip().split("\n")]
            pieces[k] = "\n".join([".. math::", "", *tex, ""])
        elif k % 2 == 0:
            pieces[k] = re.sub(r"([|*])", r"\\\1", piece)  # which reStructuredText would read as markup
    text = "".join(pieces)
    if what in ("attribute", "data", "property"):  # napoleon would take the words before a colon for a type
        lines[:] = text.split("\n")
    else:
        lines[:] = GoogleDocstring(text, napoleon.Config(), app, what, name, obj, options).lines()


def skip_member(app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Leave out the fields of named tuples that have no docstring of their own."""
    return True if (getattr(obj, "__doc__", None) or "").startswith("Alias for field number") else None


def unlink(app: Sphinx, doctree: nodes.document) -> None:
    """Links to folders, and to notebooks of the course that are not written yet, become their text."""
    for link in list(doctree.findall(pending_xref)):
        if link["reftype"] != "myst":
            continue
        target = Path(app.env.doc2path(link["refdoc"])).parent / link["reftarget"]
        number = re.fullmatch(r"(\d\d)_\w+\.ipynb", target.name)
        planned = number and not list(ROOT.glob(f"notebooks/{number[1]}_*.ipynb"))
        if planned or target.is_dir():
            link.replace_self(link.children)


def mathml(tex: str, block: bool) -> str:
    """LaTeX as MathML, which browsers show and read aloud without a script.

    Raises:
        MathError: it holds what docutils does not know or would misread.
    """
    if misread := re.search(r"(frac|sqrt|[_^])\s*\d\d", tex):
        raise MathError(f"put braces around each argument in {misread[0]!r}: two digits are read as one number")
    tree = ElementTree.fromstring(tex2mathml(tex, as_block=block).replace("&ApplyFunction;", APPLY))
    for parent in list(tree.iter()):
        _place(parent)
        # Brackets grow with \left and \right alone, which make them the ends of a row.
        row = list(parent)
        inner = row[1:-1] if parent.tag == f"{MATHML}mrow" else row
        for bracket in (child for child in inner if child.text in set("{}‖⌊⌋⌈⌉⟨⟩")):
            bracket.set("stretchy", "false")
        for bar in (child for child in row if child.text == "|"):
            bar.attrib |= {"lspace": "0", "rspace": "0"}
        # A function has a thin space before an argument without brackets: log D, but log(1 - D).
        for function, argument in itertools.pairwise(row):
            if function.text in (APPLY, "min", "max", "sup", "inf"):
                function.attrib |= {"lspace": "0", "rspace": "0" if argument.text == "(" else "0.17em"}
    return ElementTree.tostring(tree, encoding="unicode")


def _place(parent: ElementTree.Element) -> None:
    """The index of an accented letter stands beside both, words to a brace below it."""
    name = parent.tag.removeprefix(MATHML)
    if name == "munderover" and parent[2].text in ACCENTS:
        letter, index, accent = parent
        accented = ElementTree.Element(f"{MATHML}mover", {"accent": "true"})
        accented.extend([letter, accent])
        parent[:] = [accented, index]
        parent.tag = f"{MATHML}msub"
    elif name == "msub" and parent[0].tag == f"{MATHML}munder":
        parent.tag = f"{MATHML}munder"


def visit_math(translator: HTML5Translator, node: nodes.math | nodes.math_block) -> None:
    """Writes an equation; one that cannot be converted is a warning, and shown as LaTeX."""
    block = isinstance(node, nodes.math_block)
    try:
        shown = mathml(node.astext(), block)
    except MathError as error:
        logging.getLogger(__name__).warning("%s in %s", error, node.astext(), location=node)
        shown = f"<code>{translator.encode(node.astext())}</code>"
    translator.body.append(f'<div class="math">{shown}</div>' if block else shown)
    raise nodes.SkipNode


def finish(app: Sphinx, exception: Exception | None) -> None:
    """Make the start page the index of the site, and write the scripts that come from the package."""
    if exception is None:
        write_scripts(app.outdir / "_static" / "page")
        shutil.copy(app.outdir / f"{START}.html", app.outdir / "index.html")


def setup(app: Sphinx) -> None:
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math, None))
    app.connect("env-get-outdated", lambda *_: [START])  # its table of contents may have grown
    app.connect("source-read", prepare)
    app.connect("autodoc-process-docstring", convert_docstring)
    app.connect("autodoc-skip-member", skip_member)
    app.connect("doctree-read", unlink)
    app.connect("build-finished", finish)
