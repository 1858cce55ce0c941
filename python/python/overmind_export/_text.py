"""Text from outside, for a terminal or a page."""

from __future__ import annotations

#: Characters that control a terminal or the direction of text, and their replacements.
_REPLACED: dict[int, str] = dict.fromkeys((*range(0x20), *range(0x7F, 0xA0)), "\ufffd")
_REPLACED |= dict.fromkeys((0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)), "\ufffd")
_REPLACED |= dict.fromkeys(range(0xD800, 0xE000), "\ufffd")
_REPLACED |= dict.fromkeys((0x09, 0x0A, 0x0D, 0x2028, 0x2029), " ")


def harmless(text: str) -> str:
    """Returns a text on one line, without characters that control a terminal or the direction of text.

    Examples
    --------
    >>> harmless("a\\x1b[2Jb\\nc")
    'a\ufffd[2Jb c'
    """
    return text.translate(_REPLACED)


def plural(number: int, noun: str, nouns: str | None = None) -> str:
    """Returns a number with its noun.

    Examples
    --------
    >>> plural(1, "row"), plural(1234, "row")
    ('1 row', '1,234 rows')
    """
    return f"{number:,} {noun if number == 1 else nouns or noun + 's'}"
