"""Files of external packages: what is missing, damaged or of several forms."""

import json
import shutil

import pytest
from package_kinds import ONE_EACH

import wheatear
from wheatear.errors import BundleError
from wheatear.recognizer.external.files import find_files, is_package, read_vocabulary, write_record
from wheatear.recognizer.loading import open_model

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


def test_pulled_package_is_verified_against_its_record(copy_of):
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


def test_a_vocabulary_of_another_model(copy_of, package_of):
    folder = copy_of("parakeet-560")
    shutil.copy(package_of("parakeet-en") / "tokenizer.model", folder / "tokenizer.model")
    with pytest.raises(BundleError, match="has 48 pieces, but the graphs have 96"):
        wheatear.load(folder, threads=1)


def test_folders_that_are_packages(package_of, tmp_path, bundle_of):
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
