"""Streams of frames without a container: AAC (ADTS and LOAS), AC-3, E-AC-3, MPEG transport."""

from collections.abc import Callable

from wheatear.audio.byte_source import Peek

_IN_A_ROW = 4  # frames that make a stream
_AC3_KILOBITS = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576)


def is_frame_stream(peek: Peek, at: int, frame_size: Callable[[bytes], int]) -> bool:
    """True if frames follow each other from an offset on.

    frame_size: bytes of a frame by its first eight, 0 for none.
    """
    for count in range(_IN_A_ROW):
        head = peek(at, 8)
        if len(head) < 8:
            return count >= 2 and (not head or frame_size(head.ljust(8, b"\0")) > 0)
        if not (size := frame_size(head)):
            return False
        at += size
    return True


def adts_size(head: bytes) -> int:
    """Bytes of a frame: ISO 14496-3, 1.A.2.2."""
    if head[0] != 0xFF or head[1] & 0xF6 != 0xF0 or head[2] >> 2 & 15 > 12:
        return 0
    size = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    return size if size > 7 else 0


def loas_size(head: bytes) -> int:
    """Bytes of a frame: ISO 14496-3, 1.7.2."""
    size = (head[1] & 0x1F) << 8 | head[2]
    return size + 3 if head[0] == 0x56 and head[1] & 0xE0 == 0xE0 and size > 2 else 0


def ac3_size(head: bytes) -> int:
    """Bytes of a frame: ATSC A/52, 5.4.1."""
    rate, code = head[4] >> 6, head[4] & 63
    if head[:2] != b"\x0bw" or head[5] >> 3 > 10 or rate == 3 or code > 37:
        return 0
    kilobits = 640 if code > 35 else _AC3_KILOBITS[code // 2]
    hertz = (48000, 44100, 32000)[rate]
    return (kilobits * 96000 // hertz + (code & 1 if rate == 1 else 0)) * 2


def eac3_size(head: bytes) -> int:
    """Bytes of a frame: ATSC A/52, annex E."""
    if head[:2] != b"\x0bw" or not 10 < head[5] >> 3 <= 16:
        return 0
    return (((head[2] & 7) << 8 | head[3]) + 1) * 2


def is_transport_stream(peek: Peek, at: int) -> bool:
    """True for MPEG packets of 188 bytes, or of 192 with a time before each."""
    for first, size in ((0, 188), (4, 192)):
        if peek(at + first, 1) == b"G":
            data = peek(at + first, 4 * size + 1)[::size]
            if len(data) >= 3 and data == b"G" * len(data):
                return True
    return False
