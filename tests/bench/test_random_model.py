"""Random weights in the published shapes."""

import numpy as np
import pytest

from wheatear.bench import random_model
from wheatear.bench.random_model import RANDOM_MODELS, random_bundles, write_checkpoint
from wheatear.model.bundle import open_bundle


@pytest.mark.parametrize(
    ("name", "parameters"), [("nemotron-3.5", 637_997_088), ("nemotron-en", 618_084_865)]
)
def test_random_models_have_the_published_size(name, parameters):
    shapes = RANDOM_MODELS[name].tensors()
    assert sum(int(np.prod(shape)) for _, shape in shapes) == parameters


def test_random_checkpoint_is_reproducible(tmp_path):
    for name in "ab":
        write_checkpoint("tiny", tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_random_bundles_are_kept_until_the_converter_changes(tiny, monkeypatch):
    written = (tiny / "manifest.json").stat().st_mtime_ns
    assert random_bundles("tiny", ["int4"], lambda *_: None) == [tiny]
    assert (tiny / "manifest.json").stat().st_mtime_ns == written
    monkeypatch.setattr(random_model, "maker", lambda: "random weights, made by another")
    random_bundles("tiny", ["int4"], lambda *_: None)
    assert open_bundle(tiny).manifest.source == "random weights, made by another"


def test_english_model_has_its_own_latencies():
    config = RANDOM_MODELS["nemotron-en"].config()
    assert config["encoder"]["att_context_size"] == [[70, 13], [70, 6], [70, 1], [70, 0]]
    assert not config["model_defaults"]
