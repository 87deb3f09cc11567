"""Stretches of audio: the same samples for every format and offset."""

import io
from fractions import Fraction

import av
import numpy as np
import pytest
import soundfile as sf
import soxr

from wheatear.audio.reader import sample_speech
from wheatear.errors import AudioError, AudioTruncatedWarning
from wheatear.evaluate.clips import Clip, read_stretch, speech_span, stored_seconds
from wheatear.evaluate.corpora import read_corpus
from wheatear.train.data.manifest import read_manifest

SPEECH = sample_speech()
SECONDS = len(SPEECH) / 16_000


def encoded(path, codec, rate):
    sound = soxr.resample(SPEECH, 16_000, rate) if rate != 16_000 else SPEECH
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(sound[None].astype(np.float32), "fltp", "mono")
        frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
        fifo = av.AudioFifo()
        for part in av.AudioResampler(stream.format, "mono", rate).resample(frame):
            part.pts = None
            fifo.write(part)
        size = stream.codec_context.frame_size or 1024
        at = 0
        while (part := fifo.read(size, partial=True)) is not None:
            part.pts, part.time_base, part.sample_rate = at, Fraction(1, rate), rate
            at += part.samples
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("formats")
    louder = soxr.resample(SPEECH, 16_000, 44_100)
    sf.write(folder / "a.wav", np.stack([louder, louder], 1), 44_100)
    for name in ("a.flac", "a.aiff", "a.ogg", "a.mp3", "a.w64"):
        sf.write(folder / name, SPEECH, 16_000)
    for name in ("a.raw", "b.pcm", "c.PCM"):
        (folder / name).write_bytes((SPEECH * 32767).astype("<i2").tobytes())
    for name, codec, rate in (
        ("a.m4a", "aac", 44_100), ("a.mp4", "aac", 48_000), ("a.webm", "libopus", 48_000),
        ("a.mka", "libopus", 48_000), ("a.mov", "aac", 44_100),
    ):  # fmt: skip
        encoded(folder / name, codec, rate)
    return folder


NAMES = "a.wav a.flac a.aiff a.ogg a.mp3 a.w64 a.raw b.pcm c.PCM a.m4a a.mp4 a.webm a.mka a.mov"


@pytest.mark.parametrize("name", NAMES.split())
@pytest.mark.parametrize(("start", "seconds"), [(0.0, None), (1.25, 1.5), (2.0, None), (0.0, 1.0)])
def test_stretch_has_the_samples_of_the_recording(recordings, name, start, seconds):
    """In evaluation and in training."""
    path = recordings / name
    first = round(start * 16_000)
    expected = SPEECH[first : None if seconds is None else first + round(seconds * 16_000)]
    entry = f'{{"audio_filepath": "{name}", "text": "x", "lang": "en", "offset": {start}'
    length = "null" if seconds is None else seconds
    manifest = recordings / f"{name}-{start}-{seconds}.jsonl"
    manifest.write_text(entry + f', "duration": {length}}}')
    (clip,) = read_corpus(manifest).clips
    (utterance,) = read_manifest(manifest)
    assert clip.audio == path
    for samples in (clip.read(), utterance.read()):
        assert samples.dtype == np.float32
        assert abs(len(samples) - len(expected)) <= (2 if seconds else 0.07 * 16_000)
        size = min(len(samples), len(expected))
        # Codecs without a note of what they put before may be late by a packet.
        late = int(np.correlate(np.pad(samples[:size], 1200), expected[:size], "valid").argmax())
        assert abs(late - 1200) <= (2 if name[2:] in "wav flac aiff w64 raw pcm PCM" else 1200)
        near = np.roll(samples[:size], 1200 - late)[1200:-1200]
        assert np.corrcoef(near, expected[1200 : size - 1200])[0, 1] > 0.98


@pytest.mark.parametrize("name", NAMES.split())
def test_stretch_after_the_end_is_an_error(recordings, name):
    path = recordings / name
    assert stored_seconds(path) == pytest.approx(SECONDS, abs=0.08)
    with pytest.raises(
        AudioError, match=r"has no audio at 500 s: it ends at \d+\.\d\d s"
    ) as caught:
        Clip("x", path, "en-US", "a", 500.0, 1.0).read()
    assert len(str(caught.value).splitlines()) == 1
    assert len(Clip("x", path, "en-US", "a", SECONDS - 0.5, 9.0).read()) < 0.6 * 16_000


def test_stretch_after_a_too_small_length_in_the_header_is_read(tmp_path):
    out = io.BytesIO()
    sf.write(out, SPEECH, 16_000, format="WAV")
    data = bytearray(out.getvalue())
    at = data.index(b"data") + 4
    data[at : at + 4] = (32_000).to_bytes(4, "little")
    (tmp_path / "a.wav").write_bytes(data)
    path = tmp_path / "a.wav"
    with pytest.warns(AudioTruncatedWarning, match="by it the sound ends at 1.0 s"):
        assert len(read_stretch(path, 0, None)) == len(SPEECH)
    for start in (12_000, 48_000):  # the header ends within the one, and before the other
        stretch = read_stretch(path, start, 8_000)
        np.testing.assert_allclose(stretch, SPEECH[start : start + 8_000], atol=1e-4)


def test_files_without_audio_are_errors(tmp_path):
    (tmp_path / "a.pcm").write_bytes(b"")
    (tmp_path / "text.m4a").write_text("no audio")
    for name in ("a.pcm", "text.m4a", "none.webm"):
        with pytest.raises(AudioError):
            read_stretch(tmp_path / name, 16_000, 16_000)


def test_speech_span_is_between_loud_samples():
    quiet, tone = np.zeros(8_000, np.float32), np.sin(np.arange(16_000) / 10)
    assert speech_span(np.concatenate([quiet, tone, quiet])) == pytest.approx((0.5, 1.5), abs=0.01)
    assert speech_span(quiet) == (0, 0.5)
    assert speech_span(quiet[:0]) == (0, 0)
