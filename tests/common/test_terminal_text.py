"""Foreign text on a terminal has no control characters."""

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
def test_control_characters_are_replaced(text, shown):
    assert printable(text) == shown
    printable(text).encode()


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("caf\udce9.wav", "caf\ufffd.wav"),
        ("caf\udcc3\udca9.wav", "café.wav"),  # UTF-8 in a locale with only ASCII
        ("a\ud83d", "a\ufffd"),
        ("two  spaces\n\x1b", "two  spaces\n\x1b"),
    ],
)
def test_file_name_can_be_encoded(name, shown):
    assert readable(name) == shown
    readable(name).encode()


def test_lines_are_kept_on_request():
    text = "NOTICE\r\n  of\tmany\rlines\x1b[2J\n"
    assert printable(text, lines=True) == "NOTICE\n  of    many\nlines\ufffd[2J\n"
