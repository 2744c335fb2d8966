"""The words and numbers of generated pages."""

import doctest

from tools import page_text, pages


def test_the_examples_run():
    for module in (page_text, pages):
        failed, attempted = doctest.testmod(module)
        assert attempted > 0 and failed == 0
