"""Text of others reaches a terminal as text."""

import pytest

from wheatear.common.terminal_text import printable, readable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("Öl \u044f \u6f22 \U0001f600", "Öl \u044f \u6f22 \U0001f600"),
        ("a\x1b]0;owned\x07b", "a\ufffd]0;owned\ufffdb"),
        ("a\x1b[31mb\x9b31m", "a\ufffd[31mb\ufffd31m"),
        ("two\nlines\t and  spaces ", "two lines and spaces"),
        ("\u202egnp.exe", "\ufffdgnp.exe"),
        ("caf\udce9.wav", "caf\ufffd.wav"),
        ("nul\0", "nul\ufffd"),
        (3, "3"),
    ],
)
def test_nothing_is_left_that_a_terminal_obeys(text, shown):
    assert printable(text) == shown
    printable(text).encode()


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("caf\udce9.wav", "caf\ufffd.wav"),
        ("caf\udcc3\udca9.wav", "café.wav"),  # UTF-8 in a locale that knows ASCII alone
        ("a\ud83d", "a\ufffd"),
        ("two  spaces\n\x1b", "two  spaces\n\x1b"),
    ],
)
def test_a_name_can_be_encoded(name, shown):
    assert readable(name) == shown
    readable(name).encode()


def test_lines_are_kept_where_they_are_wanted():
    text = "NOTICE\r\n  of\tmany\rlines\x1b[2J\n"
    assert printable(text, lines=True) == "NOTICE\n  of    many\nlines\ufffd[2J\n"
