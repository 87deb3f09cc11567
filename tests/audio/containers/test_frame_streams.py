"""Streams of frames without a container."""

import pytest
from audio_files import SPEECH, read_reporting
from media_files import made
from piped_audio import Dribble

from wheatear.audio.containers import frame_streams


@pytest.mark.parametrize(
    ("form", "codec", "rate"),
    [("ac3", "ac3", 48000), ("eac3", "eac3", 48000), ("latm", "aac", 48000), ("mp2", "mp2", 44100)],
)
def test_stream_through_a_pipe_is_decoded(form, codec, rate):
    samples, reports = read_reporting(Dribble(made(form, codec, rate), [777]))
    assert len(samples) == pytest.approx(len(SPEECH), abs=0.15 * 16000)
    assert reports == []


@pytest.mark.parametrize(
    ("form", "codec", "rate", "frame_size"),
    [
        ("adts", "aac", 16000, frame_streams.adts_size),
        ("latm", "aac", 48000, frame_streams.loas_size),
        ("ac3", "ac3", 48000, frame_streams.ac3_size),
        ("eac3", "eac3", 48000, frame_streams.eac3_size),
    ],
)
def test_frame_sizes_lead_from_frame_to_frame(form, codec, rate, frame_size):
    data, at, frames = made(form, codec, rate), 0, 0
    while at < len(data):
        size = frame_size(data[at : at + 8])
        assert size > 0
        at, frames = at + size, frames + 1
    assert at == len(data)
    assert frames > 20


def test_transport_stream_is_recognized_by_its_packets():
    data = made("mpegts", "aac", 48000)
    assert frame_streams.is_transport_stream(lambda at, size: data[at : at + size], 0)
    assert not frame_streams.is_transport_stream(lambda at, size: data[at : at + size], 1)
