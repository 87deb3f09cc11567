"""Makes text from files, models and servers safe for a terminal."""

import re

REPLACEMENT = "\ufffd"
_BYTES = re.compile("[\udc80-\udcff]+")  # of a file name, as Python escapes what it cannot decode
_HALVES = re.compile("[\ud800-\udfff]")


def printable(text: object, *, lines: bool = False) -> str:
    """The text without anything that a terminal would obey, as one line.

    Control characters, escape sequences, direction marks and halves of characters become U+FFFD,
    so the result can be encoded as UTF-8. `lines` keeps line breaks and the spaces of a line, for
    licences and notices.
    """
    whole = readable(str(text))
    if lines:
        rows = whole.replace("\r\n", "\n").replace("\r", "\n").expandtabs().split("\n")
    else:
        rows = [" ".join(whole.split())]
    return "\n".join("".join(c if _is_safe(c) else REPLACEMENT for c in row) for row in rows)


def readable(name: str) -> str:
    """The name of a file such that it can be encoded: U+FFFD stands for bytes that are not UTF-8.

    What is UTF-8 is decoded even if the locale knows ASCII alone.
    """
    text = _BYTES.sub(lambda found: _decoded(found[0]), name)
    return _HALVES.sub(REPLACEMENT, text)


def _decoded(escaped: str) -> str:
    return escaped.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _is_safe(character: str) -> bool:
    return character.isprintable() or character in "\u00a0\u3000\u200c\u200d"
