"""Makes text from files, models and servers safe for a terminal."""

import re

REPLACEMENT = "\ufffd"
_BYTES = re.compile("[\udc80-\udcff]+")  # Python's escapes in undecodable file names
_SURROGATES = re.compile("[\ud800-\udfff]")


def printable(text: object, *, lines: bool = False) -> str:
    """Returns a text as one line without control characters.

    Control characters, escape sequences, direction marks and lone surrogates become U+FFFD, so the
    result can be encoded as UTF-8. `lines` keeps line breaks and spaces, for licenses and notices.
    """
    whole = readable(str(text))
    if lines:
        rows = whole.replace("\r\n", "\n").replace("\r", "\n").expandtabs().split("\n")
    else:
        rows = [" ".join(whole.split())]
    return "\n".join("".join(c if _is_safe(c) else REPLACEMENT for c in row) for row in rows)


def readable(name: str) -> str:
    """Returns a file name that can be encoded; bytes that are not UTF-8 become U+FFFD.

    UTF-8 is decoded even if the locale only knows ASCII.
    """
    text = _BYTES.sub(lambda found: _decoded(found[0]), name)
    return _SURROGATES.sub(REPLACEMENT, text)


def _decoded(escaped: str) -> str:
    return escaped.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _is_safe(character: str) -> bool:
    return character.isprintable() or character in "\u00a0\u3000\u200c\u200d"
