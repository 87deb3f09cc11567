"""Files of chunks and the ends that they state."""

import io
import struct

import pytest
from audio_files import SECONDS, packed, read_reporting

from wheatear.audio.byte_source import Window
from wheatear.audio.containers.chunks import (
    aiff_extent,
    au_extent,
    caf_extent,
    chunks,
    flac_header,
    mov_extent,
    w64_extent,
)


def test_bytes_after_the_stated_end_are_reported():
    data = bytearray(packed("AU"))
    data[8:12] = (16000).to_bytes(4, "big")  # half a second
    _, reports = read_reporting(io.BytesIO(bytes(data)))
    assert [line for line in reports if "bytes follow what it describes" in line]


def test_chunks_are_walked_with_their_padding():
    data = b"abcd" + struct.pack(">I", 3) + b"xyz\0" + b"efgh" + struct.pack(">I", 0)
    walked = list(chunks(lambda at, size: data[at : at + size], 0, ">4sI"))
    assert walked == [(b"abcd", 8, 3), (b"efgh", 20, 0)]


@pytest.mark.parametrize(
    ("form", "extent"),
    [("AIFF", aiff_extent), ("AU", au_extent), ("CAF", caf_extent), ("W64", w64_extent)],
)
def test_file_states_its_end_and_duration(form, extent):
    data = packed(form)
    end, seconds = extent(Window(io.BytesIO(data + b"more"), 0, len(data) + 4))
    assert end == len(data)
    assert seconds == pytest.approx(SECONDS)


def test_flac_states_its_duration():
    data = packed("FLAC")
    start, seconds = flac_header(Window(io.BytesIO(data), 0, len(data)))
    assert data[start : start + 2] == b"\xff\xf8"
    assert seconds == pytest.approx(SECONDS)


@pytest.mark.parametrize("size", [0, 7, 1 << 31, (1 << 32) - 1])
def test_walk_over_any_size_ends(size):
    data = b"ftyp" + struct.pack(">I", size) + bytes(64)
    for walk in (aiff_extent, au_extent, caf_extent, w64_extent, mov_extent, flac_header):
        end, _ = walk(Window(io.BytesIO(data), 0, len(data)))
        assert end >= 0
