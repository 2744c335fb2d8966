"""The words and numbers of generated pages."""

import doctest

from tools import laboratory_page, page_text


def test_the_examples_run():
    for module in (page_text, laboratory_page):
        failed, attempted = doctest.testmod(module)
        assert attempted > 0 and failed == 0
