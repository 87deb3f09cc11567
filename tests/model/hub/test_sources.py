"""Names, hub ids and URLs lead to the right files, or to an error that helps."""

import hashlib

import pytest
from hub_models import FILE, NEMO, NVIDIA
from hub_server import COMMIT, Answer, Repository
from huggingface_hub import constants

from wheatear.errors import DownloadError
from wheatear.model.hub.sources import find_source
from wheatear.model.published import PUBLISHED, PublishedModel


def names(source):
    return sorted(file.name for file in source.files)


def test_published_name_leads_to_its_pinned_revision(hub):
    source = find_source("nemotron-3.5")
    assert (source.name, source.kind, source.main) == ("nemotron-3.5", "checkpoint", FILE)
    assert str(source.origin) == f"{NVIDIA}@{COMMIT}"
    assert source.origin.terms.startswith("OpenMDW-1.1 (https://")
    (file,) = source.files
    assert (file.size, file.sha256) == (len(NEMO), hashlib.sha256(NEMO).hexdigest())
    revision = PUBLISHED["nemotron-3.5"].revision
    assert hub.requests_for(f"/api/models/{NVIDIA}/revision/{revision}")


def test_pinned_hash_goes_before_the_hash_of_the_hub(hub, monkeypatch):
    hub.repositories[NVIDIA].files["small.gguf"] = NEMO
    known = PUBLISHED["nemotron-3.5"]
    pinned = PublishedModel(**{**known.__dict__, "sha256": {"small.gguf": "0" * 64}})
    monkeypatch.setitem(PUBLISHED, "nemotron-3.5", pinned)
    (file,) = find_source("nemotron-3.5", file="small.gguf").files
    assert file.sha256 == "0" * 64


def test_revision_can_be_chosen(hub):
    with pytest.raises(DownloadError, match="no revision 'nowhere'"):
        find_source("nemotron-3.5", revision="nowhere")
    find_source("nemotron-3.5", revision="main")
    assert hub.requests_for(f"/api/models/{NVIDIA}/revision/main")


def test_listing_without_sizes_and_hashes_is_completed(hub):
    hub.repositories[NVIDIA].listed = False
    (file,) = find_source("nemotron-3.5").files
    assert (file.size, file.sha256) == (len(NEMO), hashlib.sha256(NEMO).hexdigest())


@pytest.mark.parametrize(
    "rest", ["", "/resolve/main/x/tiny.nemo", "/blob/main/x/tiny.nemo", "/tree/main/x"]
)
def test_address_on_the_hub_is_a_hub_id(hub, rest):
    hub.repositories["me/mine"] = Repository({"x/tiny.nemo": NEMO, "y.nemo": NEMO})
    source = find_source(f"{hub.url}/me/mine{rest}")
    assert source.origin.page == f"{hub.url}/me/mine"
    assert names(source) == ["tiny.nemo" if rest else "y.nemo"]


def test_folder_of_transformers_is_fetched_without_other_files(hub):
    model = ["config.json", "tokenizer.json", "model-00001-of-00001.safetensors", "LICENSE"]
    others = ["pytorch_model.bin", "README.md", "runs/config.json"]
    hub.repositories["me/tuned"] = Repository(dict.fromkeys(model + others, b"x"))
    source = find_source("me/tuned")
    assert (source.name, source.kind, source.main) == ("tuned", "transformers", "config.json")
    assert names(source) == sorted(model)


@pytest.mark.parametrize("folder", ["", "fp32/"])
def test_graphs_are_a_package(hub, folder):
    files = {f"{folder}encoder.onnx": b"1", f"{folder}tokens.txt": b"2", "README.md": b"3"}
    hub.repositories["they/theirs"] = Repository(files | {"test_wavs/0.wav": b"RIFF"})
    source = find_source("they/theirs", file=folder or None)
    assert (source.kind, names(source)) == ("package", ["encoder.onnx", "tokens.txt"])


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
def test_repository_without_a_clear_choice_is_refused(hub, files, file, message):
    hub.repositories["me/mine"] = Repository(dict.fromkeys(files, b"x"))
    with pytest.raises(DownloadError, match=message):
        find_source("me/mine", file=file)


@pytest.mark.parametrize(
    ("card", "terms"),
    [
        ({}, "no license stated"),
        ({"license": "other", "license_name": "mine", "license_link": "x"}, "mine (x)"),
        ({"license": "mit", "base_model": NVIDIA}, "mit; OpenMDW-1.1"),
    ],
)
def test_license_is_read_from_the_card_and_its_base_models(hub, card, terms):
    hub.repositories["me/mine"] = Repository({"x.nemo": NEMO}, card)
    assert find_source("me/mine").origin.terms.startswith(terms)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b"null", b'{"id": 5}'])
def test_server_that_is_no_hub_is_refused(hub, body):
    hub.fail("/api/models/", Answer(change=lambda _data: body))
    with pytest.raises(DownloadError):
        find_source("nemotron-3.5")


@pytest.mark.parametrize(
    ("answer", "count", "message"),
    [
        (Answer(status=503), 5, r"has a fault \(HTTP 503\)"),
        (Answer(status=429, headers={"Retry-After": "3600"}), 1, "requests a wait of 3600 s"),
        (Answer(status=403, headers={"X-Error-Code": "GatedRepo"}), 1, "accept its terms at"),
    ],
)
def test_final_error_of_the_hub_is_explained(hub, answer, count, message):
    hub.fail("/api/models/", *[answer] * 20)
    with pytest.raises(DownloadError, match=message):
        find_source("nemotron-3.5")
    assert len(hub.requests_for("/api/models/")) == count


def test_busy_hub_is_requested_again(hub):
    hub.fail("/api/models/", Answer(status=429), Answer(status=502, headers={"Retry-After": "3"}))
    find_source("nemotron-3.5")
    assert len(hub.requests_for("/api/models/")) == 3


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("no/where", "there is no model no/where .* or it is private"),
        ("nonsense", "no model 'nonsense' is known; give one of nemotron-3.5, nemotron-en"),
        ("a/b/c", "no model 'a/b/c'"),
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
def test_unknown_models_are_refused(hub, what, message):
    with pytest.raises(DownloadError, match=message):
        find_source(what.format(hub=hub.url))


@pytest.mark.parametrize(("name", "kind"), [("t.nemo", "checkpoint"), ("t.tar.bz2", "archive")])
def test_url_has_size_and_version_of_its_server(hub, name, kind):
    hub.plain[f"some/{name}"] = NEMO
    source = find_source(f"{hub.url}/plain/some/{name}", sha256="A" * 64)
    (file,) = source.files
    assert (source.name, source.kind, file.size, file.sha256) == ("t", kind, len(NEMO), "A" * 64)
    assert file.version
    with pytest.raises(DownloadError, match="64 hexadecimal digits"):
        find_source(f"{hub.url}/plain/some/{name}", sha256="1")


def test_checkpoint_in_the_cache_of_the_hub_is_used(hub, monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))

    def cached(revision):
        folder = tmp_path / f"models--{NVIDIA.replace('/', '--')}" / "snapshots" / revision
        folder.mkdir(parents=True)
        (folder / FILE).write_bytes(NEMO)
        return folder / FILE

    file = cached(COMMIT)
    assert find_source("nemotron-3.5").files[0].cached == file
    file = cached(PUBLISHED["nemotron-3.5"].revision)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    hub.requests.clear()
    for what in ("nemotron-3.5", NVIDIA):
        assert find_source(what).files[0].cached == file
    with pytest.raises(DownloadError, match="HF_HUB_OFFLINE is set"):
        find_source("nemotron-en")
    assert not hub.requests
