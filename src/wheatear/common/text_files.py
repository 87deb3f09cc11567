"""Reading of text files that users write: settings, keys, phrases, word lists."""

import codecs
from pathlib import Path

_WIDE = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_text(path: Path) -> str:
    """Returns the text of a UTF-8 file, with or without a byte order mark, line ends as \\n.

    Raises ValueError with the reason for another encoding, and OSError.
    """
    data = path.read_bytes()
    if data.startswith(_WIDE) or b"\0" in data:
        raise ValueError("it is UTF-16 or no text at all; save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {line} is not UTF-8; save it as UTF-8") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")
