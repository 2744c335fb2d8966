"""The words, numbers and tables of generated pages."""

import doctest
import re

import pytest

from tools import pages


def test_the_examples_run():
    failed, attempted = doctest.testmod(pages)
    assert attempted > 0 and failed == 0


@pytest.mark.parametrize("name", [path.stem for path in pages.TEMPLATES.glob("*.md")])
def test_a_template_names_a_field_that_is_missing(name):
    field = re.search(r"{(\w+)", (pages.TEMPLATES / f"{name}.md").read_text()).group(1)
    with pytest.raises(KeyError, match=field):
        pages.fill_template(name)
