"""Links of a chain of Ogg, and the duration that each states."""

import pytest
from audio_files import SECONDS, packed

from wheatear.audio.containers import ogg


def links(data):
    return list(ogg.links(lambda at, size: data[at : at + size], 0))


@pytest.mark.parametrize(("subtype", "rate"), [("VORBIS", 16000), ("OPUS", 48000)])
def test_chain_gives_a_link_for_each_recording(subtype, rate):
    data = packed("OGG", subtype, rate)
    first, second = links(data * 2)
    assert (first.start, first.end, second.end) == (0, len(data), 2 * len(data))
    for link in (first, second):
        assert link.seconds == pytest.approx(SECONDS, abs=0.01)
        assert (link.is_sound, link.ended, link.holes) == (True, True, 0)


def test_missing_page_is_a_hole():
    data = packed("OGG", "VORBIS")
    pages = [at for at in range(len(data)) if data.startswith(b"OggS", at)]
    (link,) = links(data[: pages[3]] + data[pages[4] :])
    assert link.holes == 1
    assert link.seconds == pytest.approx(SECONDS, abs=0.01)


def test_link_without_its_last_page_is_not_ended():
    data = packed("OGG", "VORBIS")
    (link,) = links(data[: data.rindex(b"OggS")])
    assert not link.ended
    assert 0 < link.seconds < SECONDS


def test_other_bytes_have_no_link():
    assert links(b"RIFF" + bytes(100)) == []
