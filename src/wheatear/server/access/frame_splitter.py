"""What comes on a WebSocket, cut into what its parser is given at once: a frame, and no more.

The parser looks at all that it is given, and unmasks a frame when all of it is there.  So a frame
of megabytes is passed on as fragments, each of which takes no time.
"""

import struct

_LONG = 1 << 16  # bytes of a frame that is passed on in fragments of that size
_LEAST = 1 << 12  # bytes of a fragment that is not the last one
_FIN, _MASKED = 0x80, 0x80
_TEXT, _BINARY = 1, 2


class FrameSplitter:
    """The frames of one connection (RFC 6455, 5.2), as they come."""

    def __init__(self, most: int) -> None:
        """most: bytes of a message; frames that have more are left to the parser to refuse."""
        self._most = most
        self._pass = 0
        """Bytes of the present frame that are passed on as they are."""
        self._left = 0
        """Bytes of the present long frame that are passed on in fragments."""
        self._first, self._mask = 0, b""
        """The first byte of that frame, without its opcode once it has been passed on."""

    def next_piece(self, held: bytearray) -> bytes | None:
        """Takes the next piece out of what has come; None if more has to come first."""
        if not (self._pass or self._left) and not self._begin(held):
            return None
        if self._left:
            return self._fragment(held)
        piece = bytes(held[: self._pass])
        del held[: self._pass]
        self._pass -= len(piece)
        return piece or None

    def _begin(self, held: bytearray) -> bool:
        """Looks at the head of a frame; False if it has not come whole."""
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
        """The next part of a long frame, as a frame."""
        size = min(self._left, len(held), _LONG)
        if size < self._left:
            if size < _LEAST:
                return None
            size -= size % 4  # so that the mask begins anew
        last = size == self._left
        first = self._first if last else self._first & ~_FIN
        head = bytes([first, _MASKED | 127]) + struct.pack(">Q", size)
        piece = head + self._mask + held[:size]
        del held[:size]
        self._left -= size
        self._first &= _FIN  # what follows is a continuation
        return piece
