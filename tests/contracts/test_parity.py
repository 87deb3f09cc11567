"""In fp32 we compute what NeMo computes: mel, encoder and tokens, at every latency."""

import numpy as np
import pytest
from checkpoints import GEOMETRIES, LOOKAHEADS, ORACLE, TINY, answers, language_of, speech

from wheatear.audio.mel import MelSettings, MelSpectrogram
from wheatear.convert import reference
from wheatear.convert.architecture import read_architecture
from wheatear.convert.checkpoints.open import open_checkpoint
from wheatear.encoder.encoder import Encoder
from wheatear.model.bundle import open_bundle
from wheatear.model.latency import LatencyMode

pytestmark = pytest.mark.usefixtures("engine")

MODES = [
    (model, lookahead)
    for model in (*TINY, *GEOMETRIES)
    for lookahead in LOOKAHEADS
    if f"tokens_R{lookahead}" in answers(model)
]


def ids(transcript):
    return [token.id for token in transcript.tokens]


def test_mel_equals_nemos():
    spectrogram = MelSpectrogram(MelSettings())
    state = spectrogram.start()
    mel = np.concatenate([spectrogram.push(state, speech("tiny-en")), spectrogram.finish(state)])
    expected = answers("speech")["mel"]
    assert mel.shape == expected.shape
    difference = np.abs(mel - expected)
    assert np.mean(difference > 1e-4) < 1e-3
    # The rest is the rounding of NeMo's float32 Fourier transform, in bands far below the
    # loudest of their frame: computed in float64, its own mel is as far from it as ours is.
    below = np.exp((expected.max(axis=1, keepdims=True) - expected) / 2)
    assert np.all(difference < 1e-4 + 2e-7 * below)


@pytest.mark.parametrize(("model", "lookahead"), MODES)
def test_file_gives_nemos_tokens(recognizer_of, model, lookahead):
    recognizer, expected = recognizer_of(model), answers(model)
    transcript = recognizer.transcribe(
        speech(model),
        language=language_of(recognizer, int(expected["prompt_index"])),
        latency_ms=80 * (lookahead + 1),
    )
    assert ids(transcript) == expected[f"tokens_R{lookahead}"].tolist()


@pytest.mark.parametrize(("model", "lookahead"), MODES)
def test_stream_gives_nemos_tokens(recognizer_of, model, lookahead):
    recognizer, expected = recognizer_of(model), answers(model)
    stream = recognizer.stream(
        language=language_of(recognizer, int(expected["prompt_index"])),
        latency_ms=80 * (lookahead + 1),
    )
    for block in np.array_split(speech(model), 37):
        stream.push(block)
    assert ids(stream.finish()) == expected[f"tokens_R{lookahead}"].tolist()


@pytest.mark.parametrize(("model", "lookahead"), MODES)
@pytest.mark.parametrize("chunks", [1, 5])
def test_encoder_equals_nemos(recognizer_of, model, lookahead, chunks):
    """Every frame within 1e-4; the caches are checked through it."""
    recognizer, expected = recognizer_of(model), answers(model)
    bundle = open_bundle(recognizer.model.path)
    encoder = Encoder(bundle, threads=1)
    state = encoder.start(LatencyMode(bundle.manifest.encoder.left, lookahead))
    encoder.feed(state, mel_of(recognizer, speech(model)))
    encoder.end(state)
    prompt = int(expected["prompt_index"])
    if prompt >= 0:
        state.language = encoder.language_prompt(prompt)
    outputs = []
    while frames := encoder.ready(state, chunks):
        outputs += encoder.step([state], frames)
    for field, name in (("encoder_out", "encp"), ("before_prompt", "enc")):
        if f"{name}_R{lookahead}" in expected:
            ours = np.concatenate([getattr(output, field) for output in outputs])
            theirs = expected[f"{name}_R{lookahead}"].T
            assert ours.shape == theirs.shape
            assert np.abs(ours - theirs).max() < 1e-4


@pytest.mark.parametrize("samples", [161, 1440, 2880])
@pytest.mark.parametrize("model", GEOMETRIES)
def test_very_short_signals_give_nemos_tokens(recognizer_of, model, samples):
    recognizer, expected = recognizer_of(model), answers(model)
    language = language_of(recognizer, int(expected["prompt_short"]))
    for mode in recognizer.model.manifest.modes:
        tokens = expected[f"tokens{samples}_R{mode.lookahead}"].tolist()
        transcript = recognizer.transcribe(
            expected[f"wav{samples}"], language=language, latency_ms=mode.latency_ms
        )
        assert ids(transcript) == tokens


@pytest.mark.parametrize(("model", "lookahead"), MODES)
def test_numpy_reference_equals_nemos(recognizer_of, model, lookahead):
    """The reference of `convert` is compared with NeMo too."""
    recognizer, expected = recognizer_of(model), answers(model)
    prompt = int(expected["prompt_index"])
    with open_checkpoint(ORACLE / f"{model}.nemo") as checkpoint:
        arch = read_architecture(checkpoint)
        encoded = reference.encode(
            arch,
            checkpoint.weights,
            mel_of(recognizer, speech(model)),
            LatencyMode(arch.left, lookahead),
            prompt if prompt >= 0 else None,
        )
        tokens = reference.search(arch, checkpoint.weights, encoded)
    name = f"encp_R{lookahead}" if f"encp_R{lookahead}" in expected else f"enc_R{lookahead}"
    assert np.abs(encoded - expected[name].T).max() < 1e-4
    assert tokens == expected[f"tokens_R{lookahead}"].tolist()


def mel_of(recognizer, samples):
    spectrogram = MelSpectrogram(recognizer.model.manifest.features)
    state = spectrogram.start()
    return np.concatenate([spectrogram.push(state, samples), spectrogram.finish(state)])
