"""MPEG audio: frames, damage, and bytes that resemble frames."""

import io

import numpy as np
import pytest
import soundfile
from audio_files import SPEECH, mp3_without_tag, packed, read_reporting
from hypothesis import given, settings
from hypothesis import strategies as st
from piped_audio import Dribble

from wheatear.audio import file_type
from wheatear.audio.file_type import container_at
from wheatear.audio.pcm import RawFormat
from wheatear.audio.reader import open_audio
from wheatear.errors import AudioError


@pytest.mark.parametrize("tagged", [True, False])
def test_zeros_in_mp3_become_silence(tagged):
    """Frames after the damage keep their times."""
    data = bytearray(packed("MP3") if tagged else mp3_without_tag())
    expected, none = read_reporting(io.BytesIO(data))
    middle = len(data) // 2
    data[middle : middle + 2000] = bytes(2000)
    samples, reports = read_reporting(io.BytesIO(data))
    assert none == []
    assert any("damaged at 1." in s or "damaged at 2." in s for s in reports)
    assert len(samples) == pytest.approx(len(expected), abs=0.1 * 16000)
    np.testing.assert_allclose(samples[:20000], expected[:20000], atol=1e-4)


def is_mpeg_by_libsndfile(data):
    """True if libsndfile recognizes bytes as MPEG audio."""
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            return file.format == "MP3"
    except soundfile.LibsndfileError:
        return False


def test_quiet_pcm_is_not_recognized_as_mpeg_audio():
    """Quiet PCM often resembles a header of layer I, whose first bytes are the sample -1."""
    guessed = 0
    for start in range(0, 50_000, 617):
        quiet = (SPEECH[start : start + 4_000] * 2000).astype("<i2")
        quiet[:1] = -1
        quiet[1:2] = 0x1C14
        data = quiet.tobytes()
        guessed += is_mpeg_by_libsndfile(data)
        assert container_at(lambda at, size, data=data: data[at : at + size]) is None
        with pytest.raises(AudioError, match=r"cannot decode the audio.*raw PCM with its format"):
            open_audio(io.BytesIO(data))
        np.testing.assert_array_equal(
            read_reporting(Dribble(data, [999]))[0],
            read_reporting(io.BytesIO(data), raw=RawFormat())[0],
        )
    assert guessed  # otherwise this test proves nothing


@settings(max_examples=60, deadline=None)
@given(data=st.binary(min_size=12, max_size=3000), lead=st.sampled_from([b"\xff\xff", b"\xff\xfb"]))
def test_bytes_after_a_frame_header_are_no_stream(data, lead):
    data = lead + data
    kind = container_at(lambda at, size: data[at : at + size])
    assert kind is not file_type.MPEG
