"""Parts of files, and pipes that can be looked into."""

import io

import pytest
from piped_audio import Dribble

from wheatear.audio.byte_source import Pipe, Window, size_of_file

DATA = bytes(range(200))


@pytest.mark.parametrize("source", ["window", "pipe"])
def test_looked_at_bytes_are_read_again(source):
    source = Window(io.BytesIO(DATA), 0, 200) if source == "window" else Pipe(Dribble(DATA, [3]))
    assert source.look(8) == DATA[:8]
    assert source.read(4) == DATA[:4]
    assert source.skip(10) == 10
    assert source.look(2) == DATA[14:16]
    source.unread(DATA[10:14])
    assert (source.at, source.look(4)) == (10, DATA[10:14])
    assert source.skip(1000) == 190
    assert (source.read(1), source.look(1)) == (b"", b"")


def test_window_shows_its_part_of_a_file(tmp_path):
    (tmp_path / "a").write_bytes(DATA)
    with (tmp_path / "a").open("rb") as file:
        window = Window(file, 50, 150).part(10, 1000)
        file.seek(77)
        assert (len(window), window.read()) == (90, DATA[60:150])
        assert (window.peek(80, 100), window.peek(-1, 5)) == (DATA[140:150], b"")
        assert window.seek(-5, io.SEEK_END) == 85
        assert window.read(100) == DATA[145:150]


def test_window_keeps_an_exception_of_its_file():
    class Broken(io.BytesIO):
        def read(self, size=-1):
            raise OSError("broken")

    window = Window(Broken(DATA), 0, 200)
    assert window.readinto(bytearray(5)) == 0
    assert str(window.fault) == "broken"


def test_size_of_a_file_counts_from_its_position():
    file = io.BytesIO(DATA)
    file.seek(20)
    assert (size_of_file(file), file.read(1)) == (180, DATA[20:21])
    assert size_of_file(object()) is None
