"""Splits WebSocket data into frames, so that the parser gets one at a time.

The parser processes all of its input, and unmasks a frame once it is complete.  A frame of
megabytes is therefore split into fragments, each of which takes little time.
"""

import struct

_LONG = 1 << 16  # bytes of a fragment; longer frames are split
_MIN_FRAGMENT = 1 << 12  # bytes, unless it is the last one
_FIN, _MASKED = 0x80, 0x80
_TEXT, _BINARY = 1, 2


class FrameSplitter:
    """Frames of one connection (RFC 6455, 5.2)."""

    def __init__(self, most: int) -> None:
        """Takes the maximum size of a message; the parser rejects frames with more."""
        self._most = most
        self._pass = 0
        """Bytes of the present frame that are passed on unchanged."""
        self._left = 0
        """Bytes of the present long frame that are passed on in fragments."""
        self._first, self._mask = 0, b""
        """First byte of that frame, without its opcode after the first fragment, and its mask."""

    def next_piece(self, held: bytearray) -> bytes | None:
        """Removes and returns the next piece; None if it is incomplete."""
        if not (self._pass or self._left) and not self._begin(held):
            return None
        if self._left:
            return self._fragment(held)
        piece = bytes(held[: self._pass])
        del held[: self._pass]
        self._pass -= len(piece)
        return piece or None

    def _begin(self, held: bytearray) -> bool:
        """Reads the head of a frame; False if it is incomplete."""
        if len(held) < 2:
            return False
        first, second = held[0], held[1]
        size, at = second & 0x7F, 2
        if size > 125:
            width = 2 if size == 126 else 8
            at += width
            if len(held) < at:
                return False
            size = int.from_bytes(held[2:at], "big")
        head = at + 4 * bool(second & _MASKED)
        if len(held) < head:
            return False
        sound = first & ~_FIN in (0, _TEXT, _BINARY) and second & _MASKED
        if sound and _LONG < size <= self._most:
            self._first, self._mask, self._left = first, bytes(held[at:head]), size
            del held[:head]
        else:
            self._pass = head + size
        return True

    def _fragment(self, held: bytearray) -> bytes | None:
        """Returns the next part of a long frame as a frame."""
        size = min(self._left, len(held), _LONG)
        if size < self._left:
            if size < _MIN_FRAGMENT:
                return None
            size -= size % 4  # so that the mask starts at its first byte
        last = size == self._left
        first = self._first if last else self._first & ~_FIN
        head = bytes([first, _MASKED | 127]) + struct.pack(">Q", size)
        piece = head + self._mask + held[:size]
        del held[:size]
        self._left -= size
        self._first &= _FIN  # continuation frames follow
        return piece
