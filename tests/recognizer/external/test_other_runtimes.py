"""External packages in their own runtimes, on the same windows.

These start elsewhere and compute mel of their own, so their tokens are compared with ours of the
same windows.
"""

import numpy as np
import pytest
from checkpoints import speech
from package_kinds import model_of

from wheatear.audio.mel import slaney_bank
from wheatear.decoder.greedy import GreedySearch
from wheatear.recognizer.external.files import read_vocabulary


def driven(recognizer, mel, prompt, window):
    """The tokens of mel frames in windows of that many, as they come."""
    encoder = recognizer.model.encoder
    search = GreedySearch(recognizer.model.networks, "probability")
    state, search_state = encoder.start(encoder.mode), search.start()
    state.language = encoder.language_prompt(prompt)
    state.mel = mel.astype(np.float32)
    tokens = []
    while len(state.mel) >= window:
        (output,) = encoder.step([state], encoder.mode.chunk)
        (found,) = search.step([search_state], [output.joint_input])
        tokens += [token for token, _frame, _confidence in found]
    return tokens


@pytest.mark.parametrize("kind", ["sherpa-320", "sherpa-160", "sherpa-1120", "sherpa-int8"])
def test_sherpa_onnx_emits_the_same_tokens_for_its_windows(package_of, foreign, kind):
    sherpa = pytest.importorskip("sherpa_onnx")
    fbank = pytest.importorskip("kaldi_native_fbank")
    folder, samples = package_of(kind), speech(model_of(kind))
    ending = ".int8.onnx" if kind.endswith("int8") else ".onnx"
    theirs = sherpa.OnlineRecognizer.from_transducer(
        tokens=str(folder / "tokens.txt"),
        encoder=str(folder / f"encoder{ending}"),
        decoder=str(folder / f"decoder{ending}"),
        joiner=str(folder / f"joiner{ending}"),
        num_threads=1, feature_dim=128, model_type="nemo_transducer",
    )  # fmt: skip
    stream = theirs.create_stream()
    silence = np.zeros(16_000, np.float32)
    recognizer = foreign(kind)
    if recognizer.languages:
        stream.set_option("language", "en-US")
    options = fbank.FbankOptions()
    options.frame_opts.dither = 0
    options.frame_opts.snip_edges = False
    options.frame_opts.window_type = "hann"
    options.frame_opts.remove_dc_offset = False
    options.mel_opts.num_bins = 128
    options.mel_opts.low_freq, options.mel_opts.high_freq = 0, 8000
    options.mel_opts.is_librosa = True
    features = fbank.OnlineFbank(options)
    for block in (samples, silence):
        stream.accept_waveform(16_000, block)
        features.accept_waveform(16_000, block.tolist())
    stream.input_finished()
    features.input_finished()
    while theirs.is_ready(stream):
        theirs.decode_stream(stream)
    mel = np.array([features.get_frame(i) for i in range(features.num_frames_ready)])
    window = 9 + 8 * recognizer.model.manifest.default_mode.chunk
    ours = driven(recognizer, mel, 0, window)
    pieces, tags = recognizer.model.vocabulary.pieces, recognizer.model.vocabulary.tags
    unknown = read_vocabulary(folder, len(pieces)).unknown
    left_out = {*tags, *unknown}  # it leaves these out
    text = [pieces[i].replace("\u2581", " ") for i in ours if i not in left_out]
    emitted = theirs.tokens(stream)
    assert len(emitted) >= 20
    assert text[: len(emitted)] == emitted  # it may leave the last window unread


@pytest.mark.parametrize("kind", ["genai-560", "genai-int4", "genai-en"])
def test_onnxruntime_genai_emits_the_same_tokens_for_its_windows(package_of, foreign, kind):
    genai = pytest.importorskip("onnxruntime_genai")
    recognizer, samples = foreign(kind), speech(model_of(kind))
    model = genai.Model(str(package_of(kind)))
    processor = genai.StreamingProcessor(model)
    generator = genai.Generator(model, genai.GeneratorParams(model))
    if recognizer.languages:
        generator.set_runtime_option("lang_id", "101")
    chunk = recognizer.model.manifest.default_mode.chunk
    emitted = []
    blocks = [samples[i : i + 1280 * chunk] for i in range(0, len(samples), 1280 * chunk)]
    for inputs in (*(processor.process(block) for block in blocks), processor.flush()):
        if inputs is not None:
            generator.set_inputs(inputs)
            while not generator.is_done():
                generator.generate_next_token()
                emitted += [int(token) for token in generator.get_next_tokens()]
    mel = genai_mel(recognizer, samples, 1280 * chunk)
    assert driven(recognizer, mel, 101, 9 + 8 * chunk) == emitted
    assert len(emitted) > 20


def genai_mel(recognizer, samples, chunk):
    """Its mel: nine zeros, then frames of which the last of each chunk has not seen what follows
    the chunk."""
    total = -(-len(samples) // chunk) * chunk
    padded = np.pad(samples, (0, total - len(samples)))
    window, bank = np.hanning(400), slaney_bank(recognizer.model.manifest.features)
    emphasised = padded - np.float32(0.97) * np.pad(padded[:-1], (1, 0))
    frames = []
    for end in range(chunk, total + 1, chunk):
        seen = np.zeros(total + 400)
        seen[200 : 200 + end] = emphasised[:end]
        for start in range(end - chunk, end, 160):
            spectrum = np.fft.rfft(seen[start : start + 400] * window, 512)
            frames.append(np.log(np.abs(spectrum) ** 2 @ bank + 2.0**-24))
    return np.concatenate([np.zeros((9, 128)), frames])
