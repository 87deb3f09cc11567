"""Tags before and after the audio of a file: ID3, APE and Lyrics3."""

from wheatear.audio.byte_source import Peek

_LONGEST_LYRICS = 1 << 16  # bytes


def past_tags(peek: Peek, at: int) -> int:
    """Returns the offset after the tags that begin at an offset."""
    while size := _tag_size(peek, at):
        at += size
    return at


def _tag_size(peek: Peek, at: int) -> int:
    head = peek(at, 32)
    if head[:3] == b"ID3" and len(head) >= 10 and head[3] < 0xFF and max(head[6:10]) < 0x80:
        size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
        return 10 + size + (10 if head[5] & 0x10 else 0)
    if head[:3] == b"TAG" and len(peek(at, 128)) == 128:
        return 227 if head[:4] == b"TAG+" else 128
    if head[:8] == b"APETAGEX":
        is_header = len(head) == 32 and head[23] & 0x20  # the body follows a header only
        return 32 + (int.from_bytes(head[12:16], "little") if is_header else 0)
    if head[:11] == b"LYRICSBEGIN":
        data = peek(at, _LONGEST_LYRICS)
        ends = [n for mark in (b"LYRICS200", b"LYRICSEND") if (n := data.find(mark)) > 0]
        return min(ends) + 9 if ends else 0
    return 0
