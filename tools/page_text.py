"""Words and numbers in the pages of data/results."""

from __future__ import annotations

import re
from collections.abc import Sequence

_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def minus_signs(text: str) -> str:
    """Return a text whose negative numbers begin with a minus sign instead of a hyphen.

    Example:
        >>> minus_signs("at most -0.1, from 1-2")
        'at most −0.1, from 1-2'
    """
    return re.sub(r"(?<![\w.)])-(?=\d)", "−", text)


def count_in_words(number: int) -> str:
    """Return a number up to twelve as a word.

    Example:
        >>> count_in_words(2), count_in_words(17)
        ('two', '17')
    """
    return _WORDS[number] if number < len(_WORDS) else str(number)


def listed(names: Sequence[str], word: str = "and") -> str:
    """Return names as a list in a sentence.

    Example:
        >>> listed(["a", "b", "c"]), listed(["a", "b"], "or"), listed(["a"])
        ('a, b and c', 'a or b', 'a')
    """
    return f"{', '.join(names[:-1])} {word} {names[-1]}" if len(names) > 1 else "".join(names)


def seed_range(seeds: Sequence[str]) -> str:
    """Return seeds in words, consecutive ones as a range.

    Example:
        >>> seed_range(["0", "1", "2"]), seed_range(["3", "5"])
        ('0 to 2', '3 and 5')
    """
    numbers = sorted(map(int, seeds))
    if len(numbers) > 2 and numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"{numbers[0]} to {numbers[-1]}"
    return listed([str(number) for number in numbers])
