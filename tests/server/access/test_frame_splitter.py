"""Long frames reach the parser as fragments, and what it makes of them is the same message."""

import os
import random
import struct

import pytest
from raw_socket import BINARY, CLOSE, PING, TEXT, frame
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side

from wheatear.server.access.frame_splitter import FrameSplitter

MOST = 1 << 20


def masked(opcode: int, data: bytes, fin: bool = True) -> bytes:
    """A frame with a mask that matters."""
    mask = os.urandom(4)
    bare = frame(opcode, b"", fin=fin)
    size = len(data)
    head = bytes([bare[0], 0x80 | (127 if size >= 1 << 16 else 126)])
    head += struct.pack(">Q" if size >= 1 << 16 else ">H", size)
    key = (mask * (size // 4 + 1))[:size]
    mixed = int.from_bytes(data, "big") ^ int.from_bytes(key, "big")
    return head + mask + mixed.to_bytes(size, "big")


def parsed(stream: bytes, pieces: random.Random) -> tuple[list[tuple[int, bytes]], Protocol]:
    """Messages and control frames of what comes in any pieces."""
    cutter, held = FrameSplitter(MOST), bytearray()
    conn = Protocol(Side.SERVER, max_size=MOST)
    got: list[tuple[int, bytes]] = []
    at = 0
    while at < len(stream):
        size = pieces.choice((1, 7, 1000, 70_000, 300_000))
        held += stream[at : at + size]
        at += size
        while (piece := cutter.next_piece(held)) is not None:
            assert piece[0] & 8 or len(piece) <= (1 << 16) + 14
            conn.receive_data(piece)
            for event in conn.events_received():
                assert isinstance(event, Frame)
                if event.opcode is Opcode.CONT:
                    got[-1] = (got[-1][0], got[-1][1] + bytes(event.data))
                else:
                    got.append((int(event.opcode), bytes(event.data)))
            if conn.parser_exc is not None:
                return got, conn
    return got, conn


@pytest.mark.parametrize("seed", range(5))
def test_messages_are_the_same(seed):
    chance = random.Random(seed)
    messages, stream = [], b""
    for size in chance.sample((0, 1, 125, 126, 65_535, 65_536, 65_537, 65_539, 300_001, MOST), 7):
        data, opcode = chance.randbytes(size), chance.choice((TEXT, BINARY))
        messages.append((opcode, data))
        if size > 125:
            stream += masked(opcode, data)
        else:
            stream += frame(opcode, data)
        if chance.random() < 0.5:
            messages.append((PING, b"p"))
            stream += frame(PING, b"p")
    got, conn = parsed(stream, chance)
    assert conn.parser_exc is None
    assert got == messages


def test_long_fragments_are_the_same():
    data = random.Random(1).randbytes(400_000)
    parts = [data[:150_000], data[150_000:150_001], data[150_001:]]
    stream = masked(TEXT, parts[0], False) + frame(0, parts[1], fin=False) + masked(0, parts[2])
    got, conn = parsed(stream, random.Random(2))
    assert conn.parser_exc is None
    assert got == [(TEXT, data)]


@pytest.mark.parametrize(
    "wrong",
    [
        frame(BINARY, bytes(70_000), mask=False), frame(3, bytes(70_000)),
        b"\x82\xff" + struct.pack(">Q", MOST + 1) + bytes(4), b"\x82\xff" + b"\xff" * 8 + bytes(4),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_by_its_head(wrong):
    _, conn = parsed(wrong[:14], random.Random(3))
    assert conn.parser_exc is not None
    assert conn.close_sent is not None
    assert conn.close_sent.code in (1002, 1009)


@pytest.mark.parametrize(
    "wrong",
    [frame(BINARY, bytes(5000), flags=4), frame(PING, bytes(200)), frame(CLOSE, bytes(70_000))],
)
def test_what_is_wrong_is_refused_when_it_is_whole(wrong):
    _, conn = parsed(wrong, random.Random(3))
    assert conn.close_sent is not None
    assert conn.close_sent.code == 1002
