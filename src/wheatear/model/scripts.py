"""What the letters of a writing system tell: whether it puts spaces between words."""

_SPACELESS = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x3005, 0x3007),  # Han iteration marks
    (0x3040, 0x30FF),  # Hiragana, Katakana
    (0x3400, 0x9FFF),  # Han
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)


def spaceless(letter: str) -> bool:
    """Whether a letter belongs to a script that writes words without spaces between them."""
    code = ord(letter)
    return any(low <= code <= high for low, high in _SPACELESS)
