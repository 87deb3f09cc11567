"""Fetching models: from a hub that does what it should, and from one that does not."""

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from types import SimpleNamespace

import pytest
from checkpoints import ORACLE, answers, speech
from external_packages import write_sherpa
from hub_server import COMMIT, Answer, Repository, serving
from huggingface_hub import constants
from source_weights import read_source, write_gguf, write_transformers

import wheatear
from wheatear.cli import main
from wheatear.errors import BundleError, CheckpointError, DownloadError, ModelNotFoundError
from wheatear.model import published as catalogue
from wheatear.model.hub import download as transfer
from wheatear.model.hub.pull import Observer, pull
from wheatear.model.store import MODELS_VARIABLE, models_folder

NEMO = (ORACLE / "tiny-multi.nemo").read_bytes()
NVIDIA = "nvidia/nemotron-3.5-asr-streaming-0.6b"
FILE = "nemotron-3.5-asr-streaming-0.6b.nemo"


@pytest.fixture(scope="module")
def server():
    with serving() as hub:
        yield hub


@pytest.fixture
def hub(server, tmp_path, monkeypatch):
    server.repositories = {NVIDIA: Repository({FILE: NEMO, "README.md": b"hello"})}
    server.plain, server.faults = {}, {}
    server.requests.clear()
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv(MODELS_VARIABLE, str(tmp_path / "models"))
    monkeypatch.setattr(transfer, "_sleep", lambda seconds: None)
    return server


def left_behind():
    """Files of pulls that did not come to their end."""
    folder = models_folder() / ".downloads"
    return sorted(p.name for p in folder.rglob("*") if p.is_file() and p.suffix != ".lock")


def here():
    folder = models_folder()
    return sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []


def tokens(model, language="auto"):
    recognizer = wheatear.load(model, threads=1)
    asked = {"language": language, "latency_ms": recognizer.stream().latency_ms}
    transcript = recognizer.transcribe(speech("tiny-multi"), **asked)
    return [token.id for token in transcript.tokens]


# -- what goes well ------------------------------------------------------------------------------


def test_a_name_becomes_a_model(hub):
    folder = pull("nemotron-3.5", precision="fp32")
    assert folder == models_folder() / "nemotron-3.5"
    assert here() == [".downloads", "nemotron-3.5"]
    assert not left_behind()
    assert tokens("nemotron-3.5") == answers("tiny-multi")["tokens_R3"].tolist()
    revision = catalogue.PUBLISHED["nemotron-3.5"].revision
    assert hub.asked(f"/api/models/{NVIDIA}/revision/{revision}")


def test_license_and_origin_are_written_down(hub):
    bundle = wheatear.load(pull("nemotron-3.5"), threads=1).bundle
    notices = bundle.notices()
    assert notices["LICENSE"].startswith("OpenMDW License Agreement, version 1.1")
    assert "retain in your\ndistribution (1) a copy of this agreement" in notices["LICENSE"]
    digest = hashlib.sha256(NEMO).hexdigest()
    for part in (NVIDIA, COMMIT, FILE, digest, "int4", "OpenMDW-1.1", "Wheatear"):
        assert part in notices["NOTICE"]
    assert bundle.manifest.source == f"{NVIDIA}@{COMMIT}"
    assert bundle.manifest.license.startswith("OpenMDW License Agreement")
    assert bundle.manifest.precision == "int4"
    assert bundle.manifest.name == "nemotron-3.5"


def test_the_english_models_attribution(hub):
    published = catalogue.PUBLISHED["nemotron-en"]
    hub.repositories[published.repo] = Repository(
        {published.file: (ORACLE / "tiny-en.nemo").read_bytes()}
    )
    notices = wheatear.load(pull("nemotron-en"), threads=1).bundle.notices()
    assert "Licensed by NVIDIA Corporation under the NVIDIA Open Model License" in notices["NOTICE"]
    assert notices["LICENSE"].startswith("NVIDIA Open Model License Agreement")
    assert "3. Redistribution." in notices["LICENSE"]


def test_texts_that_come_along_stay_as_they_are(hub):
    files = {"x.nemo": NEMO, "LICENSE.txt": b"Mine.\n", "NOTICE": b"By me."}
    hub.repositories["me/mine"] = Repository(files, {"license": "other", "license_name": "mine"})
    bundle = wheatear.load(pull("me/mine"), threads=1).bundle
    notices = bundle.notices()
    assert notices["LICENSE.txt"] == "Mine.\n"
    assert notices["NOTICE"].endswith("By me.")
    assert "License: mine" in notices["NOTICE"]
    assert "me/mine" in notices["NOTICE"]
    assert bundle.manifest.license == "Mine."
    assert bundle.path.name == "mine"


def test_the_terms_of_what_a_model_was_made_from(hub):
    card = {"license": "mit", "base_model": NVIDIA}
    hub.repositories["me/tuned"] = Repository({"x.nemo": NEMO}, card)
    notices = wheatear.load(pull("me/tuned"), threads=1).bundle.notices()
    assert "mit; OpenMDW-1.1" in notices["NOTICE"]
    assert notices["LICENSE"].startswith("OpenMDW")


def test_no_license_stated(hub):
    hub.repositories["me/mine"] = Repository({"x.nemo": NEMO})
    notices = wheatear.load(pull("me/mine"), threads=1).bundle.notices()
    assert "no license stated" in notices["NOTICE"]
    assert list(notices) == ["NOTICE"]


def test_a_gguf_file_of_a_repository(hub, tmp_path, monkeypatch):
    source = read_source("tiny-multi")
    data = write_gguf(tmp_path / "x.gguf", source).read_bytes()
    hub.repositories[NVIDIA].files["small.gguf"] = data
    folder = pull("nemotron-3.5", file="small.gguf", name="small", precision="fp32")
    assert folder.name == "small"
    assert wheatear.load("small", threads=1).bundle.manifest.name == "small"
    # And with the hash of the table here, whatever the hub says.
    known = catalogue.PUBLISHED["nemotron-3.5"]
    other = catalogue.Published(**{**known.__dict__, "sha256": {"small.gguf": "0" * 64}})
    monkeypatch.setitem(catalogue.PUBLISHED, "nemotron-3.5", other)
    with pytest.raises(DownloadError, match=r"SHA-256 is .* instead of 0000"):
        pull("nemotron-3.5", file="small.gguf", name="other")


@pytest.mark.parametrize("shards", [1, 2])
def test_a_transformers_repository(hub, tmp_path, shards):
    folder = write_transformers(tmp_path / "hf-files", read_source("tiny-multi"), shards=shards)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    hub.repositories["me/tuned"] = Repository(files | {"pytorch_model.bin": b"no"})
    pull("me/tuned", precision="fp32")
    assert tokens("tuned") == answers("tiny-multi")["tokens_R3"].tolist()
    assert not hub.asked("pytorch_model.bin")


def test_a_listing_without_sizes_and_hashes(hub):
    hub.repositories[NVIDIA].listed = False
    hub.fail(f"/cdn/{NVIDIA}", Answer(change=lambda data: data[:-1] + b"!"))
    with pytest.raises(DownloadError, match="SHA-256"):
        pull("nemotron-3.5")
    pull("nemotron-3.5")
    assert "nemotron-3.5" in here()


def test_a_url(hub):
    hub.plain["some/tiny.nemo"] = NEMO
    url = f"{hub.url}/plain/some/tiny.nemo"
    bundle = wheatear.load(pull(url), threads=1).bundle
    assert bundle.path.name == "tiny"
    assert url in bundle.notices()["NOTICE"]
    assert bundle.manifest.source == url
    pull(url, name="again", sha256=hashlib.sha256(NEMO).hexdigest().upper())
    with pytest.raises(DownloadError, match="SHA-256 is"):
        pull(url, name="third", sha256="1" * 64)


@pytest.mark.parametrize(
    "rest", ["", "/resolve/main/x/tiny.nemo", "/blob/main/x/tiny.nemo", "/tree/main/x"]
)
def test_addresses_on_the_hub_are_hub_ids(hub, rest):
    hub.repositories["me/mine"] = Repository({"x/tiny.nemo": NEMO, "y.nemo": NEMO})
    folder = pull(f"{hub.url}/me/mine{rest}", name="m")
    notice = wheatear.load(folder, threads=1).bundle.notices()["NOTICE"]
    assert f"{hub.url}/me/mine\n" in notice
    assert ("tiny.nemo" in notice) == bool(rest)


def test_the_observer_is_told(hub):
    seen = []

    class Recorder(Observer):
        def found(self, source, missing):
            seen.append(("found", source.origin.terms, missing))

        def fetching(self, name, done, size):
            seen.append((name, done, size))

        def converting(self, share):
            seen.append(("share", share))

    pull("nemotron-3.5", observer=Recorder())
    kind, terms, missing = seen[0]
    assert (kind, missing) == ("found", len(NEMO))
    assert terms.startswith("OpenMDW-1.1 (https://")
    assert (FILE, len(NEMO), len(NEMO)) in seen
    assert seen[-1] == ("share", 1.0)


def test_what_is_in_the_hubs_own_cache_is_not_fetched_again(hub, monkeypatch, tmp_path):
    cache = tmp_path / "cache"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))

    def cached(revision, data):
        file = cache / f"models--{NVIDIA.replace('/', '--')}" / "snapshots" / revision / FILE
        file.parent.mkdir(parents=True)
        file.write_bytes(data)
        return file

    file = cached(COMMIT, NEMO)
    pull("nemotron-3.5")
    assert not hub.asked("/resolve/")
    assert file.read_bytes() == NEMO
    file.write_bytes(NEMO[:-1] + b"!")  # not what the hub promises
    pull("nemotron-3.5", name="again")
    assert len(hub.asked("/cdn/")) == 1
    # Without a network, by the revision that is pinned here.
    cached(catalogue.PUBLISHED["nemotron-3.5"].revision, NEMO)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    hub.requests.clear()
    for what in ("nemotron-3.5", NVIDIA):
        folder = pull(what, name=f"offline-{len(what)}")
        assert wheatear.load(folder, threads=1).bundle.manifest.license.startswith("OpenMDW")
    assert not hub.requests


# -- what goes wrong -----------------------------------------------------------------------------


def test_an_interrupted_pull_goes_on(hub):
    class Impatient(Observer):
        def fetching(self, name, done, size):
            raise KeyboardInterrupt

    hub.fail("/cdn/", Answer(cut=700_000))
    with pytest.raises(KeyboardInterrupt):
        pull("nemotron-3.5", observer=Impatient())
    assert here() == [".downloads"]
    (part,) = left_behind()
    (path,) = models_folder().rglob(part)
    have = path.stat().st_size
    assert 0 < have < len(NEMO)
    hub.requests.clear()
    pull("nemotron-3.5")
    assert [h.get("Range") for h in hub.asked("/cdn/")] == [f"bytes={have}-"]
    assert not left_behind()


def test_a_line_that_breaks_again_and_again(hub):
    hub.fail("/cdn/", *[Answer(cut=200_000) for _ in range(5)])
    pull("nemotron-3.5", precision="fp32")
    starts = [h.get("Range") for h in hub.asked("/cdn/")]
    assert starts == [None, *(f"bytes={n * 200_000}-" for n in range(1, 6))]
    assert tokens("nemotron-3.5") == answers("tiny-multi")["tokens_R3"].tolist()


def test_a_line_that_brings_nothing_is_given_up(hub):
    hub.fail("/cdn/", Answer(cut=100_000), *[Answer(cut=0) for _ in range(9)])
    with pytest.raises(DownloadError, match="100,000 bytes are kept: run the same command again"):
        pull("nemotron-3.5")
    assert len(hub.asked("/cdn/")) == 5
    hub.faults.clear()
    pull("nemotron-3.5")
    assert hub.asked("/cdn/")[-1]["Range"] == "bytes=100000-"


def test_a_server_that_knows_no_ranges(hub):
    hub.fail("/cdn/", Answer(cut=100_000), Answer(whole=True))
    pull("nemotron-3.5", precision="fp32")
    assert tokens("nemotron-3.5") == answers("tiny-multi")["tokens_R3"].tolist()


def test_a_server_that_sends_another_range(hub):
    hub.fail("/cdn/", Answer(cut=100_000), Answer(shift=-7))
    pull("nemotron-3.5", precision="fp32")
    assert tokens("nemotron-3.5") == answers("tiny-multi")["tokens_R3"].tolist()


@pytest.mark.parametrize(
    "change",
    [
        lambda data: bytes([data[0] ^ 1]) + data[1:],
        lambda data: data[:-1] + bytes([data[-1] ^ 128]),
        lambda data: data + b"more",
        lambda data: b"<html>Sign in to the wireless network</html>",
    ],
)
def test_wrong_bytes_are_thrown_away(hub, change):
    hub.fail("/cdn/", *[Answer(change=change) for _ in range(5)])
    with pytest.raises(DownloadError, match=r"damaged|offers"):
        pull("nemotron-3.5")
    assert here() == [".downloads"]
    hub.faults.clear()
    pull("nemotron-3.5", precision="fp32")
    assert tokens("nemotron-3.5") == answers("tiny-multi")["tokens_R3"].tolist()


def test_a_partial_file_that_was_altered(hub):
    hub.fail("/cdn/", Answer(cut=700_000), *[Answer(cut=0)] * 5)
    with pytest.raises(DownloadError, match="are kept"):
        pull("nemotron-3.5")
    (part,) = left_behind()
    (path,) = models_folder().rglob(part)
    path.write_bytes(bytes(len(path.read_bytes())))
    hub.faults.clear()
    with pytest.raises(DownloadError, match="thrown away, run the same command again"):
        pull("nemotron-3.5")
    assert not left_behind()
    pull("nemotron-3.5")


def test_a_file_that_changes_between_two_pulls(hub):
    hub.plain["tiny.nemo"] = NEMO
    hub.fail("/plain/", Answer(cut=200_000), *[Answer(cut=0)] * 5)
    with pytest.raises(DownloadError, match="are kept"):
        pull(f"{hub.url}/plain/tiny.nemo")
    hub.faults.clear()
    hub.plain["tiny.nemo"] = (ORACLE / "bytes.nemo").read_bytes()
    pull(f"{hub.url}/plain/tiny.nemo")
    assert "Range" not in hub.asked("/plain/")[-1]
    assert wheatear.load("tiny", threads=1).bundle.manifest.decoder.blank == 300


def test_a_server_without_versions_is_started_anew(hub):
    hub.plain["tiny.nemo"] = NEMO
    hub.fail("/plain/", Answer(cut=200_000), *[Answer(cut=0)] * 5)
    file = transfer.RemoteFile("tiny.nemo", f"{hub.url}/plain/tiny.nemo", size=len(NEMO))
    models_folder().mkdir()
    with pytest.raises(DownloadError):
        transfer.download(file, models_folder())
    hub.faults.clear()
    assert transfer.download(file, models_folder()).read_bytes() == NEMO
    assert "Range" not in hub.asked("/plain/")[-1]


@pytest.mark.parametrize("part", ["/api/models/", "/cdn/"])
@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_busy_servers_are_asked_again(hub, part, status):
    hub.fail(part, Answer(status=status), Answer(status=status, headers={"Retry-After": "3"}))
    pull("nemotron-3.5")
    assert len(hub.asked(part)) == 3


def test_waits_are_those_that_were_asked_for(hub, monkeypatch):
    waits = []
    monkeypatch.setattr(transfer, "_sleep", waits.append)
    hub.fail("/cdn/", Answer(status=429, headers={"Retry-After": "7"}), Answer(status=503))
    pull("nemotron-3.5")
    assert waits == [7.0, 2.0]


@pytest.mark.parametrize("part", ["/api/models/", "/cdn/"])
def test_long_waits_are_left_to_the_user(hub, part):
    hub.fail(part, Answer(status=429, headers={"Retry-After": "3600"}))
    with pytest.raises(DownloadError, match="asked too often and asks to wait 3600 s"):
        pull("nemotron-3.5")
    assert len(hub.asked(part)) == 1
    pull("nemotron-3.5")


@pytest.mark.parametrize("part", ["/api/models/", "/cdn/"])
def test_a_server_that_stays_busy(hub, part):
    hub.fail(part, *[Answer(status=503)] * 20)
    with pytest.raises(DownloadError, match=r"has a fault \(HTTP 503\)"):
        pull("nemotron-3.5")
    assert len(hub.asked(part)) == 5


def test_gated(hub):
    hub.repositories[NVIDIA].gated = True
    with pytest.raises(DownloadError, match=r"access denied .*accept its terms.*HF_TOKEN"):
        pull("nemotron-3.5")
    error = {"X-Error-Code": "GatedRepo", "X-Error-Message": "gated"}
    hub.fail("/api/models/", Answer(status=403, headers=error))
    with pytest.raises(DownloadError, match=r"gated: accept its terms at .*HF_TOKEN|access denied"):
        pull("nemotron-3.5")
    assert left_behind() == []


def test_a_token_is_used_and_not_carried_elsewhere(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.repositories[NVIDIA].gated = True
    pull("nemotron-3.5")
    assert hub.asked("/api/models/")[0]["authorization"] == "Bearer hf_secret"
    hub.plain["tiny.nemo"] = NEMO
    pull(f"{hub.url}/plain/tiny.nemo")
    assert not any("secret" in str(headers) for headers in hub.asked("/plain/"))


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("no/where", "there is no model no/where .* or it is private"),
        ("nonsense", "nothing is known of 'nonsense'; give one of nemotron-3.5, nemotron-en"),
        ("a/b/c", "nothing is known"),
        ("-/-", "no hub id|no model"),
        ("file:///etc/passwd.nemo", "over https or http"),
        ("ftp://x/y.nemo", "over https or http"),
        ("https:///", "neither a checkpoint"),
        ("{hub}/plain/some/x.txt", "neither a checkpoint .* nor an archive"),
        ("{hub}/plain/none.nemo", r"no such file \(HTTP 404\)"),
        ("http://127.0.0.1:9/x.nemo", "127.0.0.1:9"),
        ("http://example.com/x.nemo", "over http anyone .* --sha256"),
        ("http://localhost.example.com/x.nemo", "over http anyone .* --sha256"),
        ("http://127.0.0.1@example.com/x.nemo", "over http anyone .* --sha256"),
    ],
)
def test_what_is_not_to_be_had(hub, what, message):
    with pytest.raises(DownloadError, match=message):
        pull(what.format(hub=hub.url))
    assert here() in ([], [".downloads"])


def answered(*urls):
    """An answer that came by way of these addresses."""
    *history, last = (SimpleNamespace(url=url) for url in urls)
    last.history = history
    return last


@pytest.mark.parametrize(
    "urls",
    [
        ("https://a/x.nemo", "http://a/x.nemo"),
        ("https://a/x.nemo", "http://b/x", "https://b/x.nemo"),
        ("http://localhost/x.nemo", "http://a/x.nemo"),
    ],
)
def test_a_redirect_to_where_others_can_alter_it(urls):
    with pytest.raises(DownloadError, match=r"not https.*--sha256"):
        transfer.check_way(answered(*urls), urls[0], pinned=False)
    transfer.check_way(answered(*urls), urls[0], pinned=True)
    transfer.check_way(answered("https://a/x", "https://b/x"), "https://a/x", pinned=False)


def test_an_answer_without_end(hub, monkeypatch):
    monkeypatch.setattr("wheatear.model.hub.download.LARGEST_MODEL", 100_000)
    hub.plain["tiny.nemo"] = NEMO
    models_folder().mkdir()
    file = transfer.RemoteFile("tiny.nemo", f"{hub.url}/plain/tiny.nemo")
    with pytest.raises(DownloadError, match="sends more than 100,000 bytes"):
        transfer.download(file, models_folder())
    assert all(path.stat().st_size <= 100_000 for path in models_folder().iterdir())


def test_what_is_pulled_is_on_the_disk_before_it_has_its_name(hub, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda number: synced.append(os.fstat(number).st_ino))
    folder = pull("nemotron-3.5")
    assert {path.stat().st_ino for path in folder.iterdir()} <= set(synced)


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
    for command in (["models"], ["info", "mine"]):
        with pytest.raises(SystemExit):
            main(command)
        shown = capsys.readouterr()
        assert "mine" in shown.out
        assert "\x1b" not in shown.out + shown.err


def test_revisions(hub):
    with pytest.raises(DownloadError, match="no revision 'nowhere'"):
        pull("nemotron-3.5", revision="nowhere")
    pull("nemotron-3.5", revision="main")
    assert "/revision/main" in hub.requests[-3][1]


@pytest.mark.parametrize(
    ("files", "file", "message"),
    [
        (["a.nemo", "b.nemo"], None, "several checkpoints; choose one with --file: a.nemo, b.nemo"),
        (["a.gguf", "b.gguf"], None, "several checkpoints"),
        (["README.md"], None, "neither a checkpoint nor ONNX"),
        (["x/a.nemo", "y/encoder.onnx"], None, "several models; choose one with --file: x, y"),
        (["a.nemo"], "b.nemo", "no file or folder 'b.nemo'"),
        (["a.nemo", "a.bin"], "a.bin", "a.bin is no checkpoint"),
        (["model-00001-of-00002.safetensors"], "model-00001-of-00002.safetensors", "no checkpoint"),
    ],
)
def test_repositories_without_a_clear_choice(hub, files, file, message):
    hub.repositories["me/mine"] = Repository(dict.fromkeys(files, b"x"))
    with pytest.raises(DownloadError, match=message):
        pull("me/mine", file=file)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b"null", b'{"id": 5}'])
def test_a_hub_that_is_none(hub, body):
    hub.fail("/api/models/", Answer(change=lambda _data: body))
    with pytest.raises(DownloadError):
        pull("nemotron-3.5")


def test_a_checkpoint_that_cannot_be_converted(hub):
    hub.repositories["me/mine"] = Repository({"x.nemo": b"x" * 2000})
    with pytest.raises(CheckpointError, match=r"not a readable \.nemo"):
        pull("me/mine")
    assert here() == [".downloads"]


def test_no_room(hub, monkeypatch):
    def usage(_path):
        return SimpleNamespace(total=10**9, used=0, free=len(NEMO) + 1000)

    monkeypatch.setattr("shutil.disk_usage", usage)
    with pytest.raises(DownloadError, match=r"needs 2 MB .* 2 MB are free: make room, or set"):
        pull("nemotron-3.5")
    assert not hub.asked("/resolve/")
    monkeypatch.undo()


@pytest.mark.parametrize("stage", ["download", "convert"])
def test_a_disk_that_is_full_on_the_way(hub, monkeypatch, stage):
    def full(*_arguments, **_options):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        target = (
            (transfer, "_write")
            if stage == "download"
            else (None, "wheatear.convert.pipeline.convert")
        )
        patch.setattr(*target, full) if target[0] else patch.setattr(target[1], full)
        with pytest.raises(DownloadError, match="full; what has been fetched is kept: make room"):
            pull("nemotron-3.5")
    assert here() == [".downloads"]
    hub.requests.clear()
    pull("nemotron-3.5")
    assert bool(hub.asked("/cdn/")) == (stage == "download")


def test_a_small_disk(hub, tmp_path, monkeypatch):
    """A real one, where this machine lets us have it."""
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
        file = transfer.RemoteFile("x.nemo", f"{hub.url}/{NVIDIA}/resolve/main/{FILE}", None, None)
        with pytest.raises(DownloadError, match="full; what has been fetched is kept"):
            transfer.download(file, mount)
    finally:
        subprocess.run(["umount", str(mount)], check=True)


def test_a_name_that_is_taken(hub):
    pull("nemotron-3.5")
    hub.requests.clear()
    with pytest.raises(DownloadError, match=r"is there already; remove it, or give .* --name"):
        pull("nemotron-3.5")
    assert not hub.asked("/resolve/")
    pull("nemotron-3.5", name="other", precision="int8")
    assert wheatear.load("other", threads=1).bundle.manifest.precision == "int8"


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "..", "a\\b", "a\nb"])
def test_names_that_cannot_be(hub, name):
    with pytest.raises(DownloadError, match="cannot be the name"):
        pull("nemotron-3.5", name=name)
    assert not hub.requests


def test_two_pulls_at_once(hub):
    from filelock import FileLock

    folder = models_folder() / ".downloads"
    folder.mkdir(parents=True)
    with (
        FileLock(folder / "nemotron-3.5.lock"),
        pytest.raises(DownloadError, match="pulled already"),
    ):
        pull("nemotron-3.5")


def test_an_unknown_precision(hub):
    with pytest.raises(DownloadError, match="fp32, int8, int4"):
        pull("nemotron-3.5", precision="int3")


# -- packages of graphs --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    return write_sherpa(tmp_path_factory.mktemp("package") / "p", read_source("tiny-multi"), 4)


def files_of(folder, prefix=""):
    return {f"{prefix}{path.name}": path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("inside", ["", "fp32/"])
def test_a_package_is_taken_as_it_is(hub, package, inside):
    files = files_of(package, inside) | {"test_wavs/0.wav": b"RIFF", "README.md": b"# Read"}
    files |= files_of(package, "int8/") if inside else {}
    card = {"base_model": NVIDIA, "license": "other", "license_name": "nvidia-open-model-license"}
    hub.repositories["they/theirs"] = Repository(files, card)
    if inside:
        with pytest.raises(DownloadError, match="choose one with --file: fp32, int8"):
            pull("they/theirs")
    folder = pull("they/theirs", file="fp32" if inside else None)
    recognizer = wheatear.load("theirs", threads=1)
    bundle = recognizer.bundle
    assert bundle.path == folder
    assert recognizer.latencies_ms == (320,)
    assert bundle.manifest.source == f"they/theirs@{COMMIT}"
    assert "OpenMDW-1.1" in bundle.manifest.license
    assert bundle.notices()["LICENSE"].startswith("OpenMDW")
    assert "Taken as they were" in bundle.notices()["NOTICE"]
    assert tokens("theirs") == tokens(package)
    assert not hub.asked("test_wavs")
    assert not left_behind()
    with pytest.raises(SystemExit):
        main(["models"])


def tar_of(files, folder="some-package-2026/"):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:bz2") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(f"{folder}{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def test_an_archive_of_graphs(hub, package):
    files = files_of(package) | {"test_wavs/0.wav": b"RIFF", "README.md": b"# Read"}
    hub.plain["a/some-package.tar.bz2"] = tar_of(files)
    folder = pull(f"{hub.url}/plain/a/some-package.tar.bz2")
    assert folder.name == "some-package"
    assert tokens(folder) == tokens(package)
    assert not (folder / "README.md").exists()
    assert sorted(path.name for path in folder.iterdir() if path.suffix == ".wav") == []


def link(name, target):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, target
    return info


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no archive", "no readable archive"),
        (b"BZh9" + bytes(100), "no readable archive"),
        (tar_of({"x.onnx": b"1"}), "encoders in 0 folders"),
        (tar_of({"a/encoder.onnx": b"1", "b/encoder.onnx": b"1"}), "encoders in 2 folders"),
        (tar_of({"encoder.onnx": b"1"}), "no package that is known: it has NOTICE, encoder.onnx"),
        (tar_of({"encoder.onnx": b"1"}, "../../"), "no package that is known"),
        (tar_of({"encoder.onnx": b"1" * 100_000})[:-200], "no readable archive"),
    ],
)
def test_archives_that_are_none(hub, tmp_path, content, message):
    hub.plain["p.tar.bz2"] = content
    before = sorted(tmp_path.iterdir())
    with pytest.raises(DownloadError, match=message):
        pull(f"{hub.url}/plain/p.tar.bz2")
    assert set(tmp_path.iterdir()) - set(before) <= {models_folder()}
    assert here() == [".downloads"]


def test_links_in_an_archive_lead_nowhere(hub, package, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        tar.addfile(link("p/tokens.txt", str(secret)))
        for name, data in files_of(package).items():
            if name != "tokens.txt":
                info = tarfile.TarInfo(f"p/{name}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    hub.plain["p.tar"] = out.getvalue()
    with pytest.raises(BundleError, match="has no vocabulary"):
        pull(f"{hub.url}/plain/p.tar")


def test_an_archive_that_unpacks_to_too_much(hub, monkeypatch):
    monkeypatch.setattr("wheatear.model.hub.external_package.LARGEST_MODEL", 1000)
    hub.plain["p.tar.bz2"] = tar_of({"encoder.onnx": bytes(2000)})
    with pytest.raises(DownloadError, match="unpacks to more than"):
        pull(f"{hub.url}/plain/p.tar.bz2")


def test_a_package_that_does_not_run_is_not_taken(hub, package):
    files = files_of(package) | {"decoder.onnx": b"nonsense"}
    hub.repositories["they/theirs"] = Repository(files)
    with pytest.raises(BundleError, match=r"cannot load .*decoder\.onnx"):
        pull("they/theirs")
    assert here() == [".downloads"]


# -- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["nemotron-3.5", "nemotron-en", NVIDIA])
def test_a_model_that_is_not_here_says_what_to_run(hub, name):
    with pytest.raises(ModelNotFoundError, match=rf"run: wheatear pull {name} .*2\.5 GB"):
        wheatear.load(name)


def test_what_is_half_made_is_no_model(hub):
    hub.fail("/cdn/", *[Answer(cut=0)] * 9)
    with pytest.raises(DownloadError):
        pull("nemotron-3.5")
    for name in ("nemotron-3.5", ".downloads", ".downloads/nemotron-3.5"):
        with pytest.raises(ModelNotFoundError):
            wheatear.load(name)


# -- the command line ----------------------------------------------------------------------------


def wheatear_command(*arguments, env=None):
    return subprocess.run(
        [sys.executable, "-m", "wheatear", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **(env or {})},
    )


def test_the_command_line(hub):
    done = wheatear_command("pull", "nemotron-3.5", "--precision", "int8")
    assert done.returncode == 0, done.stderr
    assert "license: OpenMDW-1.1 (https://" in done.stdout
    assert "use it as --model nemotron-3.5" in done.stdout
    listed = wheatear_command("models").stdout
    assert "wheatear-small" in listed
    assert "wheatear pull nemotron-en" in listed
    line = next(line for line in listed.split("\n") if line.startswith("  nemotron-3.5"))
    assert "int8" in line
    assert "OpenMDW" in line
    info = wheatear_command("info", "nemotron-3.5").stdout
    assert f"{NVIDIA}@{COMMIT}" in info
    again = wheatear_command("pull", "nemotron-3.5")
    assert again.returncode == 2
    assert again.stderr.startswith("wheatear: ")
    assert len(again.stderr.strip().split("\n")) == 1


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline(hub, variable):
    for what in ("nemotron-3.5", f"{hub.url}/plain/tiny.nemo"):
        done = wheatear_command("pull", what, env={variable: "1"})
        assert done.returncode == 2
        assert "HF_HUB_OFFLINE is set" in done.stderr
    assert not hub.requests


def test_models_lists_what_is_damaged(hub, capsys):
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


def test_pull_without_the_extra(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(SystemExit) as end:
        main(["pull", "nemotron-3.5"])
    assert end.value.code == 2
    assert "pip install 'wheatear[hub]'" in capsys.readouterr().err


def test_fetching_is_light_until_it_is_done():
    """The room that pulls imports the hub's client when it is used."""
    program = "import sys, wheatear.model.hub.pull; print(*sys.modules)"
    out = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "huggingface_hub" not in out.stdout.split()
    assert "onnx" not in out.stdout.split()
