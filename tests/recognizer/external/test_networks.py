"""Predictor and joint of external packages."""

import shutil

import pytest
from checkpoints import speech
from package_kinds import ids

import wheatear
from wheatear.decoder.beam import BeamRules
from wheatear.errors import BundleError


@pytest.mark.parametrize("kind", ["sherpa-320", "parakeet-560", "soniqo-320"])
def test_a_beam_and_phrases_work_as_with_our_own(foreign, recognizer_of, same_start, kind):
    theirs, ours = foreign(kind), recognizer_of("tiny-multi")
    samples = speech("tiny-multi")[:60_000]
    (latency,) = theirs.latencies_ms
    for options in ({"beam": BeamRules(width=3)}, {"phrases": ["oz", "re"]}):
        expected = ours.transcribe(samples, latency_ms=latency, **options)
        assert ids(theirs.transcribe(samples, **options)) == ids(expected)


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
