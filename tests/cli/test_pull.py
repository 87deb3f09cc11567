"""`wheatear pull` fetches, converts and registers a model that runs."""

import io
import json
import os
import subprocess
import sys
import tarfile

import pytest
from checkpoints import answers, speech
from external_packages import write_sherpa
from hub_models import FILE, NEMO, NVIDIA, hub, models_here, server, unfinished_files
from hub_server import COMMIT, Repository
from source_weights import read_source, write_gguf, write_transformers

import wheatear
from wheatear.cli import main
from wheatear.cli.pull import pull_model
from wheatear.errors import BundleError, CheckpointError, DownloadError
from wheatear.model.store import models_folder

__all__ = ["hub", "server"]


def tokens(model):
    recognizer = wheatear.load(model, threads=1)
    latency_ms = recognizer.stream().latency_ms
    transcript = recognizer.transcribe(speech("tiny-multi"), latency_ms=latency_ms)
    return [token.id for token in transcript.tokens]


def test_checkpoint_is_converted_at_the_chosen_precision(hub):
    assert pull_model("nemotron-3.5", "fp32") == models_folder() / "nemotron-3.5"
    assert tokens("nemotron-3.5") == answers("tiny-multi")["tokens_R3"].tolist()


def test_bundle_has_origin_license_and_the_default_precision(hub):
    shares = []
    bundle = wheatear.load(pull_model("nemotron-3.5", progress=shares.append), threads=1).model
    notices = bundle.notices()
    assert notices["LICENSE"].startswith("OpenMDW License Agreement, version 1.1")
    for part in (NVIDIA, COMMIT, FILE, "Converted to ONNX graphs in int4", "OpenMDW-1.1"):
        assert part in notices["NOTICE"]
    manifest = bundle.manifest
    assert manifest.source == f"{NVIDIA}@{COMMIT}"
    assert manifest.license.startswith("OpenMDW License Agreement")
    assert (manifest.precision, manifest.name) == ("int4", "nemotron-3.5")
    assert shares[-1] == 1.0


@pytest.mark.parametrize("kind", ["gguf", "transformers"])
def test_other_containers_are_converted(hub, tmp_path, kind):
    source = read_source("tiny-multi")
    if kind == "gguf":
        files = {"small.gguf": write_gguf(tmp_path / "x.gguf", source).read_bytes()}
    else:
        folder = write_transformers(tmp_path / "files", source, shards=2)
        files = {path.name: path.read_bytes() for path in folder.iterdir()}
    hub.repositories["me/tuned"] = Repository(files)
    pull_model("me/tuned", "fp32")
    assert wheatear.load("tuned", threads=1).model.manifest.name == "tuned"
    if kind == "transformers":
        assert tokens("tuned") == answers("tiny-multi")["tokens_R3"].tolist()


def test_damaged_checkpoint_leaves_no_model(hub):
    hub.repositories["me/mine"] = Repository({"x.nemo": b"x" * 2000})
    with pytest.raises(CheckpointError, match=r"not a readable \.nemo"):
        pull_model("me/mine")
    assert models_here() == [".downloads"]


def test_unknown_precision_is_refused(hub):
    with pytest.raises(DownloadError, match="fp32, int8, int4"):
        pull_model("nemotron-3.5", "int3")


# -- packages of graphs --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    return write_sherpa(tmp_path_factory.mktemp("package") / "p", read_source("tiny-multi"), 4)


def files_of(folder, prefix=""):
    return {f"{prefix}{path.name}": path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("folder", ["", "fp32/"])
def test_package_of_a_repository_runs_as_it_is(hub, package, folder):
    files = files_of(package, folder) | {"test_wavs/0.wav": b"RIFF", "README.md": b"# Read"}
    card = {"base_model": NVIDIA, "license": "other", "license_name": "nvidia-open-model-license"}
    hub.repositories["they/theirs"] = Repository(files, card)
    path = pull_model("they/theirs", file=folder or None)
    recognizer = wheatear.load("theirs", threads=1)
    bundle = recognizer.model
    assert bundle.path == path
    assert recognizer.latencies_ms == (320,)
    assert bundle.manifest.source == f"they/theirs@{COMMIT}"
    assert "OpenMDW-1.1" in bundle.manifest.license
    assert bundle.notices()["LICENSE"].startswith("OpenMDW")
    assert "Not changed" in bundle.notices()["NOTICE"]
    assert tokens("theirs") == tokens(package)
    assert not unfinished_files()
    with pytest.raises(SystemExit):
        main(["models"])


def test_package_in_an_archive_runs_as_it_is(hub, package):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:bz2") as tar:
        tar.add(package, "some-package-2026")
    hub.plain["a/some-package.tar.bz2"] = out.getvalue()
    folder = pull_model(f"{hub.url}/plain/a/some-package.tar.bz2")
    assert folder.name == "some-package"
    assert tokens(folder) == tokens(package)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"decoder.onnx": b"nonsense"}, BundleError, r"cannot load .*decoder\.onnx"),
        ({"tokens.txt": None}, BundleError, "has no vocabulary"),
        ({"decoder.onnx": None}, DownloadError, "no known package: it has NOTICE, encoder"),
    ],
)
def test_package_that_does_not_run_is_refused(hub, package, change, error, message):
    files = {name: data for name, data in (files_of(package) | change).items() if data is not None}
    hub.repositories["they/theirs"] = Repository(files)
    with pytest.raises(error, match=message):
        pull_model("they/theirs")
    assert models_here() == [".downloads"]


# -- the command ---------------------------------------------------------------------------------


def command(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "wheatear", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


def test_command_shows_the_license_and_registers_the_model(hub):
    done = command("pull", "nemotron-3.5", "--precision", "int8")
    assert done.returncode == 0, done.stderr
    assert "license: OpenMDW-1.1 (https://" in done.stdout
    assert "use it as --model nemotron-3.5" in done.stdout
    listed = command("models").stdout
    assert "wheatear-small" in listed
    assert "wheatear pull nemotron-en" in listed
    line = next(line for line in listed.split("\n") if line.startswith("  nemotron-3.5"))
    assert "int8" in line
    assert "OpenMDW" in line
    assert f"{NVIDIA}@{COMMIT}" in command("info", "nemotron-3.5").stdout
    again = command("pull", "nemotron-3.5")
    assert again.returncode == 2
    assert again.stderr.startswith("wheatear: ")
    assert len(again.stderr.strip().split("\n")) == 1


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline_mode_fetches_nothing(hub, variable):
    for what in ("nemotron-3.5", f"{hub.url}/plain/tiny.nemo"):
        done = command("pull", what, **{variable: "1"})
        assert done.returncode == 2
        assert "HF_HUB_OFFLINE is set" in done.stderr
    assert not hub.requests


def test_names_and_licenses_reach_a_terminal_as_text(hub, capsys):
    card = {"license": "other", "license_name": "\x1b]0;owned\x07"}
    hub.repositories["me/mine"] = Repository({"x.nemo": NEMO}, card)
    with pytest.raises(SystemExit):
        main(["pull", "me/mine", "--name", "mine"])
    shown = capsys.readouterr()
    assert "\x1b" not in shown.out + shown.err
    path = models_folder() / "mine" / "manifest.json"
    manifest = json.loads(path.read_text()) | {"licence": "\x1b[2J", "source": "\x1b]0;owned\x07"}
    path.write_text(json.dumps(manifest))
    for arguments in (["models"], ["info", "mine"]):
        with pytest.raises(SystemExit):
            main(arguments)
        shown = capsys.readouterr()
        assert "mine" in shown.out
        assert "\x1b" not in shown.out + shown.err


def test_damaged_models_are_listed(hub, capsys):
    for name, content in {"broken": "{", "fine": None}.items():
        folder = models_folder() / name
        folder.mkdir(parents=True)
        if content:
            (folder / "manifest.json").write_text(content)
    with pytest.raises(SystemExit) as end:
        main(["models"])
    assert end.value.code == 0
    listed = capsys.readouterr().out
    assert "manifest.json is damaged" in listed
    assert "fine" not in listed


def test_missing_extra_is_named(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(SystemExit) as end:
        main(["pull", "nemotron-3.5"])
    assert end.value.code == 2
    assert "pip install 'wheatear[hub]'" in capsys.readouterr().err
