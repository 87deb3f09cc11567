"""A pull ends with a model under its name, or with none and what was fetched kept."""

import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
from filelock import FileLock
from hub_models import FILE, NEMO, NVIDIA, copy_files, models_here, pull, unfinished_files
from hub_server import COMMIT, Answer, Repository

import wheatear
from wheatear.errors import CheckpointError, DownloadError, ModelNotFoundError
from wheatear.model.hub.pull import Observer
from wheatear.model.store import MODELS_VARIABLE, models_folder


def test_fetched_model_has_its_name_and_leaves_nothing_else(hub):
    folder = pull("nemotron-3.5")
    assert folder == models_folder() / "nemotron-3.5"
    assert (folder / FILE).read_bytes() == NEMO
    assert models_here() == [".downloads", "nemotron-3.5"]
    assert not unfinished_files()


def test_builder_gets_files_name_and_texts(hub):
    files = {"x.nemo": NEMO, "LICENSE.txt": b"Mine.\n"}
    hub.repositories["me/mine"] = Repository(files, {"license_name": "mine"})
    seen = []

    def build(fetched, out):
        seen.append((fetched.name, fetched.checkpoint.name, fetched.license_files("Changed")))
        copy_files(fetched, out)

    pull("me/mine", name="ours", build=build)
    ((name, checkpoint, texts),) = seen
    assert (name, checkpoint) == ("ours", "x.nemo")
    assert texts["LICENSE.txt"] == "Mine.\n"
    assert "Changed by Wheatear" in texts["NOTICE"]
    assert f"revision {COMMIT}" in texts["NOTICE"]


def test_observer_receives_the_source_and_the_bytes(hub):
    seen = []

    class Recorder(Observer):
        def found(self, source, missing):
            seen.append((source.name, missing))

        def fetching(self, name, done, size):
            seen.append((name, done, size))

    pull("nemotron-3.5", observer=Recorder())
    assert seen[0] == ("nemotron-3.5", len(NEMO))
    assert seen[-1] == (FILE, len(NEMO), len(NEMO))


def test_interrupted_pull_resumes(hub):
    class Interrupting(Observer):
        def fetching(self, name, done, size):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pull("nemotron-3.5", observer=Interrupting())
    assert models_here() == [".downloads"]
    (partial,) = unfinished_files()
    have = partial.stat().st_size
    assert 0 < have < len(NEMO)
    hub.requests.clear()
    pull("nemotron-3.5")
    assert [h.get("Range") for h in hub.requests_for("/cdn/")] == [f"bytes={have}-"]
    assert not unfinished_files()


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (OSError(28, "No space left on device"), "full; what has been fetched is kept: make room"),
        (CheckpointError("it is damaged"), "it is damaged"),
    ],
)
def test_failed_build_leaves_no_model_and_keeps_the_files(hub, fault, expected):
    def build(_fetched, out):
        out.mkdir()
        raise fault

    with pytest.raises((DownloadError, CheckpointError), match=expected):
        pull("nemotron-3.5", build=build)
    assert models_here() == [".downloads"]
    hub.requests.clear()
    pull("nemotron-3.5")
    assert not hub.requests_for("/cdn/")


def test_token_is_sent_to_the_hub_only(hub, monkeypatch):
    hub.repositories[NVIDIA].gated = True
    with pytest.raises(DownloadError, match=r"access denied .*accept its terms.*HF_TOKEN"):
        pull("nemotron-3.5")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.requests.clear()
    pull("nemotron-3.5")
    assert hub.requests_for("/api/models/")[0]["authorization"] == "Bearer hf_secret"
    hub.plain["tiny.nemo"] = NEMO
    pull(f"{hub.url}/plain/tiny.nemo")
    assert not any("secret" in str(headers) for headers in hub.requests_for("/plain/"))


def test_model_is_on_the_disk_before_it_has_its_name(hub, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda number: synced.append(os.fstat(number).st_ino))
    folder = pull("nemotron-3.5")
    assert {path.stat().st_ino for path in folder.iterdir()} <= set(synced)


def test_missing_room_is_found_before_anything_is_fetched(hub, monkeypatch):
    free = SimpleNamespace(total=10**9, used=0, free=len(NEMO) + 1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: free)
    with pytest.raises(DownloadError, match=r"needs 2 MB .* 2 MB are free: make room, or set"):
        pull("nemotron-3.5", model_bytes=lambda source: 1001)
    assert not hub.requests_for("/resolve/")


def test_small_disk_is_explained(hub, tmp_path, monkeypatch):
    """Mounts a real one, where this machine permits it."""
    mount = tmp_path / "small"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(mount)]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("no mount here")
    if done.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        monkeypatch.setenv(MODELS_VARIABLE, str(mount))
        with pytest.raises(DownloadError, match="are free"):
            pull("nemotron-3.5")
    finally:
        subprocess.run(["umount", str(mount)], check=True)


def test_name_that_is_taken_is_refused(hub):
    pull("nemotron-3.5")
    hub.requests.clear()
    with pytest.raises(DownloadError, match=r"is there already; remove it, or give .* --name"):
        pull("nemotron-3.5")
    assert not hub.requests_for("/resolve/")
    assert pull("nemotron-3.5", name="other").name == "other"


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "..", "a\\b", "a\nb"])
def test_invalid_names_are_refused(hub, name):
    with pytest.raises(DownloadError, match="cannot be the name"):
        pull("nemotron-3.5", name=name)
    assert not hub.requests


def test_second_pull_of_a_name_is_refused(hub):
    folder = models_folder() / ".downloads"
    folder.mkdir(parents=True)
    lock = FileLock(folder / "nemotron-3.5.lock")
    with lock, pytest.raises(DownloadError, match="pulled already"):
        pull("nemotron-3.5")


def test_unfinished_model_is_not_found(hub):
    hub.fail("/cdn/", *[Answer(cut=0)] * 9)
    with pytest.raises(DownloadError):
        pull("nemotron-3.5")
    for name in ("nemotron-3.5", ".downloads", ".downloads/nemotron-3.5"):
        with pytest.raises(ModelNotFoundError):
            wheatear.load(name)


def test_import_is_light():
    program = "import sys, wheatear.model.hub.pull; print(*sys.modules)"
    out = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert not {"huggingface_hub", "onnx"} & set(out.stdout.split())
