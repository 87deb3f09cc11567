"""Packages that others export, run as they are: their tokens are those of our own graphs on the
same grid, whoever they come from.

Zeros before the signal pass through the convolutions of a package where NeMo pads their outputs
(`wheatear/foreign/encoder.py`); `same_start` makes our own graphs do the same, so that all tokens
can be compared.
"""

import json
import shutil
import threading
from functools import cache

import numpy as np
import onnx
import pytest
from checkpoints import answers, language_of, speech
from external_packages import write_genai, write_parakeet, write_sherpa, write_soniqo
from hypothesis import given, settings
from hypothesis import strategies as st
from source_weights import read_source

import wheatear
from wheatear.audio.mel import MelSpectrogram
from wheatear.cli import main
from wheatear.decoder.beam import BeamRules
from wheatear.decoder.greedy import GreedySearch
from wheatear.encoder import native_backend, onnx_backend
from wheatear.encoder.silence import SilenceSkipper
from wheatear.encoder.state import subsampled_length
from wheatear.errors import BundleError, LanguageError, LatencyError
from wheatear.evaluate.engines.wheatear import Wheatear as Evaluated
from wheatear.model.latency import LatencyMode
from wheatear.recognizer.external.files import find_files, is_package, read_vocabulary, write_record
from wheatear.recognizer.loading import open_model
from wheatear.recognizer.options import StreamOptions
from wheatear.server.scheduler.admission import LoadBudget
from wheatear.server.scheduler.events import StreamEnded, StreamFailed
from wheatear.server.scheduler.scheduler import Scheduler
from wheatear.transcript.results import Final

# Dialect, checkpoint and frames of a chunk; the published chunks among them.
EXACT = {
    "sherpa-80": (write_sherpa, "tiny-multi", 1, {}),
    "sherpa-160": (write_sherpa, "tiny-en", 2, {}),
    "sherpa-320": (write_sherpa, "tiny-multi", 4, {}),
    "sherpa-1120": (write_sherpa, "tiny-en", 14, {}),
    "sherpa-prompt16": (write_sherpa, "prompt16", 4, {}),
    "sherpa-bytes": (write_sherpa, "bytes", 7, {}),
    "sherpa-bias": (write_sherpa, "bias", 2, {}),
    "parakeet-mel80": (write_parakeet, "mel80", 7, {}),
    "genai-mel80": (write_genai, "mel80", 2, {"precision": "fp32"}),
    "genai-bias": (write_genai, "bias", 7, {"precision": "fp32"}),
    "soniqo-batchnorm": (write_soniqo, "batchnorm", 7, {"precision": "fp32"}),
    "parakeet-560": (write_parakeet, "tiny-multi", 7, {}),
    "parakeet-en": (write_parakeet, "tiny-en", 7, {"told": False}),
    "parakeet-320": (write_parakeet, "bytes", 4, {}),
    "genai-560": (write_genai, "tiny-multi", 7, {"precision": "fp32"}),
    "genai-en": (write_genai, "tiny-en", 14, {"precision": "fp32"}),
    "soniqo-320": (write_soniqo, "tiny-multi", 4, {"precision": "fp32"}),
    "soniqo-1120": (write_soniqo, "bytes", 14, {"precision": "fp32"}),
}
QUANTISED = {
    "sherpa-int8": (write_sherpa, "tiny-multi", 4, {"precision": "int8"}),
    "genai-int4": (write_genai, "tiny-multi", 7, {"precision": "int4"}),
    "soniqo-int8": (write_soniqo, "tiny-multi", 4, {"precision": "int8"}),
    "genai-fp16": (write_genai, "tiny-multi", 7, {"precision": "fp16"}),
    "soniqo-fp16": (write_soniqo, "tiny-multi", 4, {"precision": "fp16"}),
}
KINDS = EXACT | QUANTISED
ONE_EACH = ["sherpa-320", "parakeet-560", "genai-560", "soniqo-320", *QUANTISED]


@pytest.fixture(scope="session")
def package_of(tmp_path_factory):
    """Writes a package, once."""
    folder = tmp_path_factory.mktemp("packages")

    @cache
    def make(kind):
        write, model, chunk, options = KINDS[kind]
        return write(folder / kind, read_source(model), chunk, **options)

    return make


@pytest.fixture(scope="session")
def foreign(package_of):
    """Loads a package, once."""

    @cache
    def load(kind):
        return wheatear.load(package_of(kind), threads=1)

    return load


@pytest.fixture
def same_start(monkeypatch):
    """Has our own encoder take what is before the signal for rows of it."""

    def valid_rows(state, frames, convolutions):
        per_frame = 8 >> convolutions
        first = per_frame * (state.frames - 1) + 2 - per_frame
        position = np.arange(first, first + per_frame * (frames + 1) - 1)
        end = (
            np.inf if state.mel_total is None else subsampled_length(state.mel_total, convolutions)
        )
        return (position < end).astype(np.float32)

    for backend in (onnx_backend, native_backend):
        monkeypatch.setattr(backend, "valid_rows", valid_rows)


def ids(transcript):
    return [token.id for token in transcript.tokens]


def model_of(kind):
    return KINDS[kind][1]


def encoded(recognizer, samples, prompt):
    """The encoder's frames."""
    spectrogram = MelSpectrogram(recognizer.model.manifest.features)
    encoder = recognizer.model.encoder
    mel = spectrogram.start()
    state = encoder.start(recognizer.model.manifest.default_mode)
    encoder.feed(state, spectrogram.push(mel, samples))
    encoder.feed(state, spectrogram.finish(mel))
    encoder.end(state)
    state.language = encoder.language_prompt(prompt)
    outputs = []
    while count := encoder.ready(state, 5):
        outputs += encoder.step([state], count)
    return np.concatenate([output.encoder_out for output in outputs])


# -- the same tokens -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", EXACT)
def test_tokens_are_those_of_our_own_graphs(foreign, recognizer_of, same_start, kind):
    theirs, model = foreign(kind), model_of(kind)
    ours, samples = recognizer_of(model), speech(model)
    (latency,) = theirs.latencies_ms
    language = language_of(ours, int(answers(model)["prompt_index"]))
    languages = {"auto", language, "en-US"} & {"auto", *ours.languages, *theirs.languages}
    for asked in sorted(languages if ours.languages else {"auto"}):
        expected = ours.transcribe(samples, language=asked, latency_ms=latency)
        found = theirs.transcribe(samples, language=asked)
        assert ids(found) == ids(expected)
        assert found.text == expected.text
        assert [t.start for t in found.tokens] == [t.start for t in expected.tokens]
        np.testing.assert_allclose(
            [t.confidence for t in found.tokens],
            [t.confidence for t in expected.tokens],
            atol=1e-4,
        )


@pytest.mark.parametrize("kind", EXACT)
@pytest.mark.parametrize("samples", [0, 1, 159, 160, 199, 1279, 1440, 1480, 2880, 8960, 17_921])
def test_short_signals_and_short_last_chunks(foreign, recognizer_of, same_start, kind, samples):
    theirs, model = foreign(kind), model_of(kind)
    clip = speech(model)[20_000 : 20_000 + samples]
    (latency,) = theirs.latencies_ms
    expected = recognizer_of(model).transcribe(clip, latency_ms=latency)
    assert ids(theirs.transcribe(clip)) == ids(expected)


@pytest.mark.parametrize("kind", [kind for kind in EXACT if "tiny" in model_of(kind)])
def test_frames_are_nemos_once_the_start_is_out_of_sight(foreign, kind):
    """The start differs by the padding of its first two frames alone: whatever does not look back
    at them, layer by layer, is what NeMo computes offline."""
    recognizer, model = foreign(kind), model_of(kind)
    expected, manifest = answers(model), recognizer.model.manifest
    prompt = max(0, int(expected["prompt_index"])) if manifest.prompts else None
    found = encoded(recognizer, speech(model), prompt)
    mode = manifest.default_mode
    theirs = expected.get(f"encp_R{mode.lookahead}", expected.get(f"enc_R{mode.lookahead}")).T
    assert found.shape == theirs.shape
    # A chunk of frames sees the chunks of `left` frames before it; convolutions are shorter.
    sight = manifest.encoder.layers * (mode.left + mode.chunk) + 2
    if sight < len(found):
        assert np.abs(found[sight:] - theirs[sight:]).max() < 1e-4
    assert np.abs(found - theirs).max() > 1e-3  # and it does differ


@pytest.mark.parametrize(
    ("half", "full"), [("genai-fp16", "genai-560"), ("soniqo-fp16", "soniqo-320")]
)
def test_graphs_in_half_precision(foreign, half, full):
    samples = speech("tiny-multi")
    found, expected = (encoded(foreign(kind), samples, 0) for kind in (half, full))
    assert foreign(half).model.encoder.start(LatencyMode(56, 3)).conv.dtype == np.float16
    assert foreign(half).model.manifest.precision == "fp16"
    assert 0 < np.abs(found - expected).max() < 0.02
    assert len(ids(foreign(half).transcribe(samples))) > 20


def test_our_own_graphs_alone_know_how_nemo_starts(foreign, recognizer_of):
    """What `same_start` is for."""
    speech_of, ours = speech("tiny-multi"), recognizer_of("tiny-multi")
    expected = answers("tiny-multi")["tokens_R3"].tolist()
    assert ids(ours.transcribe(speech_of, latency_ms=320)) == expected
    assert ids(foreign("sherpa-320").transcribe(speech_of)) != expected


# -- exact streaming -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ONE_EACH)
@settings(max_examples=10, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 9000), min_size=1, max_size=5).filter(any),
    length=st.integers(0, 40_000),
)
def test_any_cut_gives_the_tokens_of_the_file(foreign, kind, sizes, length):
    recognizer, samples = foreign(kind), speech("tiny-multi")[:length]
    stream, start = recognizer.stream(), 0
    while start < length:
        for size in sizes:
            stream.push(samples[start : start + size])
            start += size
    assert stream.finish() == recognizer.transcribe(samples)


@pytest.mark.parametrize("kind", ONE_EACH)
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_streams_together_get_what_each_gets_alone(foreign, kind, data):
    recognizer = foreign(kind)
    plans = data.draw(
        st.lists(
            st.tuples(
                st.sampled_from(["auto", "en-US", "ja-JP"]),
                st.integers(0, 150_000),
                st.integers(0, 30_000),
                st.integers(500, 9000),
            ),
            min_size=2,
            max_size=5,
        )
    )
    clips = [speech("tiny-multi")[start : start + length] for _, start, length, _ in plans]
    streams = [recognizer.stream(language=language) for language, *_ in plans]
    offsets = [0] * len(plans)
    while any(at < len(clip) for at, clip in zip(offsets, clips, strict=True)):
        pairs = []
        for n, (stream, clip, (*_, size)) in enumerate(zip(streams, clips, plans, strict=True)):
            pairs.append((stream, clip[offsets[n] : offsets[n] + size]))
            offsets[n] += size
        recognizer.push_many(pairs)
    for stream, clip, (language, *_) in zip(streams, clips, plans, strict=True):
        alone = recognizer.stream(language=language)
        alone.push(clip)
        assert ids(stream.finish()) == ids(alone.finish())


def test_batches_are_used_where_they_change_nothing(foreign):
    assert foreign("sherpa-320").model.encoder.batched
    assert not foreign("sherpa-int8").model.encoder.batched  # scales over the whole batch
    assert not foreign("genai-560").model.encoder.batched  # takes one
    assert foreign("genai-560").model.networks._joint.batched
    assert not foreign("soniqo-320").model.networks._joint.batched


@pytest.mark.parametrize("kind", ["sherpa-320", "sherpa-int8", "genai-560"])
def test_silence_is_skipped_without_a_difference(foreign, monkeypatch, kind):
    recognizer = foreign(kind)
    samples = np.concatenate(
        [speech("tiny-multi")[:20_000], np.zeros(60 * 16_000, np.float32), speech("tiny-multi")]
    )
    skipped = recognizer.transcribe(samples)
    monkeypatch.setattr(SilenceSkipper, "skip", lambda *_arguments: False)
    assert ids(recognizer.transcribe(samples)) == ids(skipped)


@pytest.mark.parametrize("kind", ["sherpa-320", "parakeet-560", "soniqo-320"])
def test_a_beam_and_phrases_work_as_with_our_own(foreign, recognizer_of, same_start, kind):
    theirs, ours = foreign(kind), recognizer_of("tiny-multi")
    samples = speech("tiny-multi")[:60_000]
    (latency,) = theirs.latencies_ms
    for options in ({"beam": BeamRules(width=3)}, {"phrases": ["oz", "re"]}):
        expected = ours.transcribe(samples, latency_ms=latency, **options)
        assert ids(theirs.transcribe(samples, **options)) == ids(expected)


@pytest.mark.parametrize("kind", ["sherpa-320", "parakeet-560", "genai-560", "soniqo-320"])
def test_the_language_may_change_at_any_chunk(foreign, recognizer_of, same_start, kind):
    def transcribed(recognizer, latency):
        stream = recognizer.stream(language="en-US", latency_ms=latency)
        stream.push(speech("tiny-multi")[:50_000])
        stream.switch(language="ja-JP")
        stream.push(speech("tiny-multi")[50_000:90_000])
        return ids(stream.finish())

    (latency,) = foreign(kind).latencies_ms
    theirs = transcribed(foreign(kind), latency)
    assert theirs == transcribed(recognizer_of("tiny-multi"), latency)


# -- what a package says of itself, and what it cannot do ----------------------------------------


def test_what_is_read_off_a_package(foreign):
    manifest = foreign("sherpa-320").model.manifest
    assert manifest.modes == (LatencyMode(56, 3),)
    assert (manifest.encoder.layers, manifest.encoder.width, manifest.encoder.kernel) == (2, 64, 9)
    assert (manifest.decoder.layers, manifest.decoder.hidden, manifest.decoder.blank) == (2, 32, 96)
    assert manifest.prompts == answers_prompts()
    assert "en-US" in manifest.tags.values()
    assert foreign("sherpa-int8").model.manifest.precision == "int8"
    assert foreign("genai-int4").model.manifest.precision == "int4"
    assert foreign("parakeet-en").model.manifest.prompts == {}


def answers_prompts():
    return read_source("tiny-multi").config["model_defaults"]["prompt_dictionary"]


def test_the_published_dictionary_where_a_package_has_none(foreign):
    prompts = foreign("genai-560").model.manifest.prompts
    assert len(prompts) == 121
    assert (prompts["auto"], prompts["en-US"], prompts["ja-JP"], prompts["nn"]) == (101, 0, 10, 104)


@pytest.mark.parametrize("kind", ONE_EACH)
def test_another_latency_is_refused(foreign, kind):
    recognizer = foreign(kind)
    (own,) = recognizer.latencies_ms
    for other in {80, 320, 560, 1120} - {own}:
        with pytest.raises(LatencyError, match=f"no {other} ms mode: it runs at {own} ms alone"):
            recognizer.stream(latency_ms=other)
    assert recognizer.stream(latency_ms=own).latency_ms == own


def test_another_language_is_refused(foreign):
    with pytest.raises(LanguageError, match="does not know the language 'tlh'"):
        foreign("sherpa-320").stream(language="tlh")
    with pytest.raises(LanguageError, match="takes no language prompt"):
        foreign("parakeet-en").stream(language="de-DE")


class Heard(list):
    """What a feed of a scheduler was told."""

    def __init__(self):
        super().__init__()
        self.over = threading.Event()

    def __call__(self, told):
        self += told
        if any(isinstance(item, StreamEnded | StreamFailed) for item in told):
            self.over.set()


@pytest.mark.parametrize("kind", ["sherpa-320", "genai-560"])
def test_a_package_is_scheduled(foreign, kind):
    """Live streams and a file at once, with and without batches in the graph."""
    recognizer, samples = foreign(kind), speech("tiny-multi")[:60_000]
    scheduler = Scheduler(recognizer, LoadBudget(1000))
    told = [Heard() for _ in range(3)]
    feeds = [scheduler.open(heard, StreamOptions(), live=n > 0) for n, heard in enumerate(told)]
    for n, feed in enumerate(feeds):
        feed.push(samples[n * 700 :])
        feed.finish()
    for n, heard in enumerate(told):
        assert heard.over.wait(60)
        found = [token for item in heard if isinstance(item, Final) for token in item.tokens]
        assert found == list(recognizer.transcribe(samples[n * 700 :]).tokens)
    scheduler.close()


def test_a_package_is_evaluated(package_of, tmp_path):
    folder = shutil.copytree(package_of("parakeet-en"), tmp_path / "package")
    before = Evaluated(wheatear.load(folder), 560).info
    assert (before.precision, before.latency_ms) == ("as published", 560)
    assert before.parameters is None
    graph = onnx.load(folder / "encoder.onnx")
    graph.doc_string = "another one"
    onnx.save(graph, folder / "encoder.onnx")
    assert Evaluated(wheatear.load(folder), 560).info != before


def test_info_locales_and_transcribe_on_the_command_line(package_of, capsys):
    for command in ("info", "locales", "transcribe"):
        arguments = [str(package_of("genai-int4"))]
        if command != "info":
            arguments.insert(0, "--model")
        if command == "transcribe":
            arguments += ["src/wheatear/data/samples/en-US.flac", "--language", "en-US"]
        with pytest.raises(SystemExit) as end:
            main([command, *arguments])
        assert end.value.code == 0
    out = capsys.readouterr().out
    assert "int4" in out
    assert "560 (default) ms" in out
    assert "not told" in out


# -- damage --------------------------------------------------------------------------------------


@pytest.fixture
def copy_of(package_of, tmp_path):
    return lambda kind: shutil.copytree(package_of(kind), tmp_path / kind)


NEEDLESS = {"tokenizer.json", "tokenizer_config.json", "config.json", "genai_config.json"}


@pytest.mark.parametrize("kind", ["sherpa-320", "parakeet-560", "genai-560", "soniqo-320"])
def test_every_file_that_is_missing(package_of, tmp_path, kind):
    for path in package_of(kind).iterdir():
        if path.name in NEEDLESS:
            continue
        folder = shutil.copytree(package_of(kind), tmp_path / path.name)
        (folder / path.name).unlink()
        try:
            wheatear.load(folder, threads=1)
        except BundleError:
            continue
        # tokenizer.json has the pieces too, and NVIDIA's dictionary is known.
        assert path.name in ("vocab.txt", "languages.json")


def test_a_package_that_was_pulled_is_held_against_its_record(copy_of):
    folder = copy_of("sherpa-320")
    write_record(folder, "me/mine@main", "mine")
    manifest = open_model(folder, 1).manifest
    assert (manifest.source, manifest.license) == ("me/mine@main", "mine")
    tokens = folder / "tokens.txt"
    tokens.write_text(tokens.read_text().replace("oz", "zo", 1))
    with pytest.raises(BundleError, match=r"tokens\.txt has been altered; pull it again"):
        open_model(folder, 1)
    tokens.unlink()
    with pytest.raises(BundleError, match=r"tokens\.txt is missing; pull it again"):
        open_model(folder, 1)


def with_metadata(folder, changes):
    path = folder / "encoder.onnx"
    model = onnx.load(path, load_external_data=False)
    kept = {p.key: p.value for p in model.metadata_props} | changes
    del model.metadata_props[:]
    for key, value in kept.items():
        if value is not None:
            model.metadata_props.add(key=key, value=value)
    onnx.save(model, path)
    return folder


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"normalize_type": "per_feature"}, "cannot be streamed"),
        ({"subsampling_factor": "4"}, "subsampling_factor is 4"),
        ({"chunk_shift": None}, "does not tell clearly"),
        ({"chunk_shift": "33"}, "does not tell clearly"),
        ({"chunk_shift": "0"}, "does not tell clearly"),
        ({"chunk_shift": "99999999"}, "does not tell clearly"),
        ({"chunk_size_output_frames": "7"}, r"does not tell clearly .*: 7.*: 4"),
        ({"cache_last_channel_dim2": None}, "does not say how large cache_last_channel is"),
        ({"cache_last_channel_dim2": "-3"}, "does not say how large"),
        ({"cache_last_channel_dim2": "999999999999"}, "does not say how large"),
        ({"cache_last_channel_dim2": "40"}, "does not run|caches of other shapes"),
        ({"cache_last_time_dim3": "7"}, "does not run|caches of other shapes"),
        ({"prompt_dictionary": "{"}, "prompt dictionary cannot be read"),
        ({"prompt_dictionary": "[]"}, "prompt dictionary is damaged"),
        ({"prompt_dictionary": '{"en": "x"}'}, "prompt dictionary is damaged"),
        ({"prompt_dictionary": '{"en": -1}'}, "prompt dictionary is damaged"),
    ],
)
def test_metadata_that_is_wrong(copy_of, changes, message):
    folder = with_metadata(copy_of("sherpa-320"), changes)
    with pytest.raises(BundleError, match=message):
        wheatear.load(folder, threads=1)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tokens.txt", "", "ids are not 0, 1, 2"),
        ("tokens.txt", "a 0\nb 5\n", "ids are not 0, 1, 2"),
        ("tokens.txt", "a x\n", "damaged"),
        ("tokens.txt", "a 0\n<blk> 1\n", "has 2 pieces, but the graphs have 96"),
        ("encoder.onnx", "nonsense", "cannot load"),
        ("decoder.onnx", "nonsense", "cannot load"),
        ("config.json", "[", "damaged"),
        ("config.json", '{"hop_length": 80}', "hop_length is 80"),
        ("config.json", '{"preemph": "x"}', "preemph"),
        ("config.json", '{"win_length": 4000}', "does not fit"),
        ("config.json", '{"log_eps": 1e-10}', "log_eps is 1e-10"),
        ("languages.json", "5", "no JSON object"),
    ],
)
def test_files_that_are_wrong(copy_of, name, content, message):
    folder = copy_of("sherpa-320")
    (folder / name).write_text(content)
    with pytest.raises(BundleError, match=message):
        wheatear.load(folder, threads=1)


def test_graphs_in_each_others_place(copy_of):
    folder = copy_of("sherpa-320")
    (folder / "joiner.onnx").rename(folder / "x")
    (folder / "decoder.onnx").rename(folder / "joiner.onnx")
    (folder / "x").rename(folder / "decoder.onnx")
    with pytest.raises(BundleError, match="is no predictor that is known here"):
        wheatear.load(folder, threads=1)
    folder = copy_of("parakeet-560")
    shutil.copy(folder / "decoder_joint.onnx", folder / "encoder.onnx")
    with pytest.raises(BundleError, match="no streaming encoder that is known here"):
        wheatear.load(folder, threads=1)


def test_a_vocabulary_of_another_model(copy_of, package_of):
    folder = copy_of("parakeet-560")
    shutil.copy(package_of("parakeet-en") / "tokenizer.model", folder / "tokenizer.model")
    with pytest.raises(BundleError, match="has 48 pieces, but the graphs have 96"):
        wheatear.load(folder, threads=1)


def test_what_is_a_package(package_of, tmp_path, bundle_of):
    for kind in ONE_EACH:
        assert is_package(package_of(kind))
    assert not is_package(tmp_path)
    assert not is_package(tmp_path / "none")
    assert not is_package(bundle_of("tiny-multi"))
    with pytest.raises(BundleError, match=r"no manifest\.json; nor is it a package"):
        wheatear.load(tmp_path)


def test_int8_graphs_beside_float_ones(package_of, tmp_path):
    """Full precision is taken where there is a choice."""
    folder = shutil.copytree(package_of("sherpa-320"), tmp_path / "both")
    for path in package_of("sherpa-int8").glob("*.onnx"):
        shutil.copy(path, folder / path.name)
    files = find_files(folder)
    assert files.encoder.name == "encoder.onnx"
    assert [path.name for path in files.networks] == ["decoder.onnx", "joiner.onnx"]
    (folder / "encoder.onnx").unlink()
    files = find_files(folder)
    assert files.encoder.name == "encoder.int8.onnx"
    assert [path.name for path in files.networks] == ["decoder.int8.onnx", "joiner.int8.onnx"]


def test_models_by_name(package_of, monkeypatch):
    monkeypatch.setenv("WHEATEAR_MODELS", str(package_of("sherpa-320").parent))
    assert wheatear.load("sherpa-320", threads=1).latencies_ms == (320,)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tokens.txt", "<unk> 0\n\u2581a 1\n\u2028 2\n  3\n<blk> 4\n"),
        ("tokens.txt", "<unk> 0\r\n\u2581a 1\r\n\u2028 2\r\n  3\r\n<blk> 4\r\n"),
        ("vocab.txt", "<unk>\n\u2581a\n\u2028\n \n<blank>\n"),
        ("vocab.txt", "<unk>\n\u2581a\n\u2028\n \n<blank>"),
        ("vocab.json", json.dumps({"0": "<unk>", "1": "\u2581a", "2": "\u2028", "3": " "})),
        ("vocab.json", json.dumps(["<unk>", "\u2581a", "\u2028", " "])),
        ("tokenizer.json", json.dumps({"model": {"vocab": [[p, 0] for p in "abcd"]}})),
        (
            "tokenizer.json",
            json.dumps({"model": {"vocab": dict(zip("abcd", range(4), strict=True))}}),
        ),
    ],
)
def test_vocabularies_of_every_form(tmp_path, name, content):
    (tmp_path / name).write_text(content, encoding="utf-8", newline="")
    pieces = read_vocabulary(tmp_path, 4).pieces
    expected = list("abcd") if "tokenizer" in name else ["<unk>", "\u2581a", "\u2028", " "]
    assert pieces == expected
    with pytest.raises(BundleError, match="pieces, but the graphs have 9"):
        read_vocabulary(tmp_path, 9)


# -- their own runtimes --------------------------------------------------------------------------
# They start elsewhere and have mel of their own, so that what they say is compared with what we
# make of the same windows.


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
def test_sherpa_onnx_says_what_we_say_of_its_windows(package_of, foreign, kind):
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
    unsaid = {*tags, *unknown}  # it leaves these out
    text = [pieces[i].replace("\u2581", " ") for i in ours if i not in unsaid]
    said = theirs.tokens(stream)
    assert len(said) >= 20
    assert text[: len(said)] == said  # it may leave the last window unread


@pytest.mark.parametrize("kind", ["genai-560", "genai-int4", "genai-en"])
def test_onnxruntime_genai_says_what_we_say_of_its_windows(package_of, foreign, kind):
    genai = pytest.importorskip("onnxruntime_genai")
    recognizer, samples = foreign(kind), speech(model_of(kind))
    model = genai.Model(str(package_of(kind)))
    processor = genai.StreamingProcessor(model)
    generator = genai.Generator(model, genai.GeneratorParams(model))
    if recognizer.languages:
        generator.set_runtime_option("lang_id", "101")
    chunk = recognizer.model.manifest.default_mode.chunk
    said = []
    blocks = [samples[i : i + 1280 * chunk] for i in range(0, len(samples), 1280 * chunk)]
    for inputs in (*(processor.process(block) for block in blocks), processor.flush()):
        if inputs is not None:
            generator.set_inputs(inputs)
            while not generator.is_done():
                generator.generate_next_token()
                said += [int(token) for token in generator.get_next_tokens()]
    mel = genai_mel(recognizer, samples, 1280 * chunk)
    assert driven(recognizer, mel, 101, 9 + 8 * chunk) == said
    assert len(said) > 20


def genai_mel(recognizer, samples, chunk):
    """Its mel: nine zeros, then frames of which the last of each chunk has not seen what follows
    the chunk."""
    total = -(-len(samples) // chunk) * chunk
    padded = np.pad(samples, (0, total - len(samples)))
    spectrogram = MelSpectrogram(recognizer.model.manifest.features)
    emphasised = padded - np.float32(0.97) * np.pad(padded[:-1], (1, 0))
    frames = []
    for end in range(chunk, total + 1, chunk):
        seen = np.zeros(total + 400)
        seen[200 : 200 + end] = emphasised[:end]
        for start in range(end - chunk, end, 160):
            spectrum = np.fft.rfft(seen[start : start + 400] * spectrogram._window, 512)
            frames.append(np.log(np.abs(spectrum) ** 2 @ spectrogram._bank + 2.0**-24))
    return np.concatenate([np.zeros((9, 128)), frames])
