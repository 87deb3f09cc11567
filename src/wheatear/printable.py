"""Makes text from files, models and servers safe for a terminal."""

REPLACEMENT = "\ufffd"


def printable(text: object, *, lines: bool = False) -> str:
    """The text without anything that a terminal would obey, as one line.

    Control characters, escape sequences, direction marks and halves of characters become U+FFFD,
    so the result can be encoded as UTF-8. `lines` keeps line breaks and the spaces of a line, for
    licences and notices.
    """
    if lines:
        rows = str(text).replace("\r\n", "\n").replace("\r", "\n").expandtabs().split("\n")
    else:
        rows = [" ".join(str(text).split())]
    return "\n".join("".join(c if _is_safe(c) else REPLACEMENT for c in row) for row in rows)


def _is_safe(character: str) -> bool:
    return character.isprintable() or character in "\u00a0\u3000\u200c\u200d"
