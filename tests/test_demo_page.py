"""The first page of the demo: whole, without references to other files, and shown only where there is a screen."""

import re

import pytest

from tools import demo_page
from tools.demo_page import show, write_page


def test_the_page_shows_both_directions_and_needs_no_other_file(tmp_path):
    write_page(tmp_path / "new" / "page.html", columns=2)
    page = (tmp_path / "new" / "page.html").read_text()
    assert re.findall(r'alt="Translations from ([a-z ]+), in rows: input', page) == [
        "sketch to painting",
        "painting to sketch",
    ]
    assert set(re.findall(r'(?:src|href)="([^"]{0,21})', page)) == {"data:image/png;base64"}


@pytest.mark.parametrize("screen", [":0", ""])
def test_a_browser_is_opened_only_where_there_is_a_screen(screen, tmp_path, monkeypatch, capsys):
    opened = []
    monkeypatch.setattr(demo_page, "write_page", lambda file: None)
    monkeypatch.setattr(demo_page.webbrowser, "open", opened.append)
    monkeypatch.setattr(demo_page.sys, "platform", "linux")
    monkeypatch.setenv("DISPLAY", screen)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    show(tmp_path / "page.html")
    assert opened == ([(tmp_path / "page.html").resolve().as_uri()] if screen else [])
    assert str(tmp_path / "page.html") in capsys.readouterr().out
