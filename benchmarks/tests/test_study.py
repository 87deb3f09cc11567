"""The study's command on a tiny checkpoint: recipes, tables, resumed studies."""

import json
import re

import pytest
from checkpoints import ORACLE

from benchmarks.quantization.study import Study, main
from wheatear.audio.reader import sample_speech
from wheatear.convert import convert
from wheatear.convert.checkpoints.open import open_checkpoint
from wheatear.errors import CheckpointError
from wheatear.evaluate.corpora import read_corpus
from wheatear.evaluate.records import Scoring

CHECKPOINT = ORACLE / "tiny-multi.nemo"


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """Two parts of the sample recording."""
    folder = tmp_path_factory.mktemp("clips")
    (sample_speech() * 32767).astype("<i2").tofile(folder / "a.pcm")
    lines = [
        {"audio_filepath": "a.pcm", "text": text, "lang": "en-US", "offset": at, "duration": 1.5}
        for at, text in ((0.2, "I'm sorry"), (1.9, "unable to locate"))
    ]
    path = folder / "clips.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture(scope="module")
def study(manifest):
    with open_checkpoint(CHECKPOINT) as source:
        study = Study(source, read_corpus(manifest).clips, Scoring())
    study.calibrate(read_corpus(manifest).clips)
    return study


@pytest.fixture
def rows_of(capsys):
    """Runs the command and returns the rows of its table by recipe."""

    def run(*arguments):
        main([str(argument) for argument in arguments])
        lines = capsys.readouterr().out.splitlines()
        cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
        assert all(re.fullmatch(r"\d+\.\d\d%", row[2]) for row in cells)
        return {row[0]: row[1:] for row in cells}

    return run


def test_fewer_bits_have_more_error(study):
    exact, eight, four = (
        study.float32(), study.recipe("search-8-32"), study.recipe("search-4-32"),
    )  # fmt: skip
    assert exact.encoder == exact.tokens == 0
    assert exact.of_tokens > 0
    assert exact.of_words == 6  # "I am sorry", as English is compared
    assert 0 < eight.encoder < 0.02 < four.encoder < 0.5
    assert (exact.size, eight.size, four.size) == (4, 1.125, 0.625)
    assert study.recipe("nearest-4-32").encoder > four.encoder
    assert study.recipe("gptq-4-32+search-8-32").encoder < four.encoder


def test_recipe_rounds_the_parts_that_it_names(study):
    layers = study.recipe("search-4-32+search-8-32")
    assert 0.625 < layers.size < study.recipe("search-4-32+search-8-32+linear2=search-8-32").size
    # The parts add up to the whole, and ends are no part of the layers.
    one, two = (study.recipe(f"{layer}=search-4-32") for layer in ("layers.0.", "last"))
    assert 0.625 < one.size == two.size < 4
    ends = study.recipe("pre_encode.out=search-4-32+joint=search-4-32")
    assert one.size + two.size + ends.size == pytest.approx(2 * 4 + 0.625)
    # The joint follows the encoder. Positions, which stay in float32, are part of it.
    assert study.recipe("joint.joint_net=search-4-32").encoder == 0
    positions = study.recipe("linear_pos=nearest-4-32")
    assert positions.size == 4
    assert positions.encoder > 0


def test_bundle_has_the_error_of_its_recipe(study, tmp_path):
    """The bundle also has activations in 8 bits."""
    convert(CHECKPOINT, tmp_path / "int4", "int4")
    bundle = study.bundle(tmp_path / "int4", "int4")
    weights = study.recipe("search-4-32+search-8-32+last=search-8-32")
    assert weights.encoder == pytest.approx(bundle.encoder, rel=0.15)
    assert bundle.size is None


def test_study_is_resumed(rows_of, manifest, tmp_path):
    common = (CHECKPOINT, manifest, "--output", tmp_path / "out")
    first = rows_of(*common, "--recipe", "nearest-8-32")
    assert list(first) == ["float32", "nearest-8-32"]
    assert first["float32"][:2] == ["4.000", "0.00%"]
    results = tmp_path / "out" / "study.jsonl"
    kept = results.read_text()
    rows = rows_of(*common, "--recipe", "nearest-8-32", "search-4-32")
    assert results.read_text().startswith(kept)
    assert len(results.read_text().splitlines()) == 4
    assert rows["nearest-8-32"] == first["nearest-8-32"]
    with pytest.raises(
        CheckpointError, match=r"study\.jsonl is of .*clips.*2.*, not of .*clips.*1"
    ):
        main([*map(str, common), "--clips", "1"])


def test_bundles_and_sensitivities_are_in_one_table(rows_of, manifest):
    """Bundles in both engines, and weights of one kind or one layer at a time."""
    rows = rows_of(CHECKPOINT, manifest, "--bundles", "--sensitivity", "nearest-4-32")
    kinds = [name.removesuffix("=nearest-4-32") for name in rows if "=" in name]
    assert {"feed_forward1.linear1", "self_attn.linear_pos", "joint.enc"} <= set(kinds)
    assert kinds[-2:] == ["layers.0.", "layers.1."]
    bundles = {name: float(row[1][:-1]) for name, row in rows.items() if name.startswith("bundle")}
    assert bundles["bundle fp32, onnxruntime"] == 0
    assert bundles["bundle int8, onnxruntime"] < bundles["bundle int4, onnxruntime"]
    assert not any(row[0] for name, row in rows.items() if name.startswith("bundle"))


def test_invalid_recipe_is_rejected(study, manifest, rows_of):
    for recipe, reason in (
        ("int4", "METHOD-BITS-BLOCK"),
        ("search-4-32+search-8-32+search-8-32", "more parts than layers and ends"),
        ("linear9=search-4-32", "no weight of the checkpoint has 'linear9'"),
        ("linear1=4", "METHOD-BITS-BLOCK"),
    ):
        with pytest.raises(CheckpointError, match=reason):
            study.recipe(recipe)
    with pytest.raises(CheckpointError, match="gptq-4-32 is for layers, with recordings"):
        rows_of(CHECKPOINT, manifest, "--recipe", "gptq-4-32")
