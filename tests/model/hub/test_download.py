"""Downloads resume, and end with the promised content or with an error."""

import hashlib
from types import SimpleNamespace

import pytest
from hub_models import NEMO
from hub_server import Answer

from wheatear.errors import DownloadError
from wheatear.model.hub import download as module
from wheatear.model.hub.download import RemoteFile, bytes_present, check_redirects, download

SHA256 = hashlib.sha256(NEMO).hexdigest()


@pytest.fixture
def remote(hub):
    """A file of known size and hash."""
    hub.plain["tiny.nemo"] = NEMO
    return RemoteFile("tiny.nemo", f"{hub.url}/plain/tiny.nemo", len(NEMO), SHA256)


def ranges(hub):
    return [headers.get("Range") for headers in hub.requests_for("/plain/")]


def test_file_is_fetched_once_and_its_progress_reported(hub, remote, tmp_path):
    seen = []
    assert download(remote, tmp_path, seen.append).read_bytes() == NEMO
    assert seen[-1] == bytes_present(remote, tmp_path) == len(NEMO)
    assert download(remote, tmp_path, seen.append).read_bytes() == NEMO
    assert len(hub.requests_for("/plain/")) == 1
    assert [path.name for path in tmp_path.glob("tiny*")] == ["tiny.nemo"]


def test_interrupted_download_resumes_at_the_last_byte(hub, remote, tmp_path):
    def interrupt(_done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(remote, tmp_path, interrupt)
    have = bytes_present(remote, tmp_path)
    assert 0 < have < len(NEMO)
    assert download(remote, tmp_path).read_bytes() == NEMO
    assert ranges(hub) == [None, f"bytes={have}-"]


def test_broken_connections_resume_without_limit_while_bytes_arrive(hub, remote, tmp_path):
    hub.fail("/plain/", *[Answer(cut=200_000) for _ in range(5)])
    assert download(remote, tmp_path).read_bytes() == NEMO
    assert ranges(hub) == [None, *(f"bytes={n * 200_000}-" for n in range(1, 6))]


def test_connection_without_progress_is_given_up_after_five_tries(hub, remote, tmp_path):
    hub.fail("/plain/", Answer(cut=100_000), *[Answer(cut=0) for _ in range(9)])
    with pytest.raises(DownloadError, match="100,000 bytes are kept: run the same command again"):
        download(remote, tmp_path)
    assert len(ranges(hub)) == 5
    hub.faults.clear()
    download(remote, tmp_path)
    assert ranges(hub)[-1] == "bytes=100000-"


@pytest.mark.parametrize("wrong", [Answer(whole=True), Answer(shift=-7)])
def test_answer_with_another_range_is_not_appended(hub, remote, tmp_path, wrong):
    hub.fail("/plain/", Answer(cut=100_000), wrong)
    assert download(remote, tmp_path).read_bytes() == NEMO


@pytest.mark.parametrize(
    "change",
    [
        lambda data: bytes([data[0] ^ 1]) + data[1:],
        lambda data: data[:-1] + bytes([data[-1] ^ 128]),
        lambda data: data + b"more",
        lambda data: b"<html>Sign in to the wireless network</html>",
    ],
)
def test_wrong_bytes_are_thrown_away(hub, remote, tmp_path, change):
    hub.fail("/plain/", *[Answer(change=change) for _ in range(5)])
    with pytest.raises(DownloadError, match=r"damaged|offers"):
        download(remote, tmp_path)
    hub.faults.clear()
    assert download(remote, tmp_path).read_bytes() == NEMO


def test_altered_partial_file_is_thrown_away(hub, remote, tmp_path):
    hub.fail("/plain/", Answer(cut=700_000), *[Answer(cut=0)] * 5)
    with pytest.raises(DownloadError, match="are kept"):
        download(remote, tmp_path)
    (partial,) = tmp_path.glob("*.part")
    partial.write_bytes(bytes(partial.stat().st_size))
    hub.faults.clear()
    with pytest.raises(DownloadError, match="thrown away, run the same command again"):
        download(remote, tmp_path)
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("versions", [("one", "two"), ("", "")])
def test_partial_file_of_another_or_unknown_version_is_not_resumed(hub, tmp_path, versions):
    hub.plain["tiny.nemo"] = NEMO
    url = f"{hub.url}/plain/tiny.nemo"
    files = [RemoteFile("tiny.nemo", url, len(NEMO), version=version) for version in versions]
    hub.fail("/plain/", Answer(cut=200_000), *[Answer(cut=0)] * 5)
    with pytest.raises(DownloadError, match="are kept"):
        download(files[0], tmp_path)
    hub.faults.clear()
    assert download(files[1], tmp_path).read_bytes() == NEMO
    assert ranges(hub)[-1] is None


def test_file_of_a_git_blob_is_verified(hub, tmp_path):
    hub.plain["notes.txt"] = b"hello\n"
    url, git_id = f"{hub.url}/plain/notes.txt", "ce013625030ba8dba906f756967f9e9ca394464a"
    assert download(RemoteFile("a.txt", url, 6, git_id=git_id), tmp_path).read_bytes() == b"hello\n"
    with pytest.raises(DownloadError, match="its git id is ce01"):
        download(RemoteFile("b.txt", url, 6, git_id="0" * 40), tmp_path)


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_busy_server_is_requested_again(hub, remote, tmp_path, status):
    busy = Answer(status=status, headers={"Retry-After": "3"})
    hub.fail("/plain/", Answer(status=status), busy)
    download(remote, tmp_path)
    assert len(ranges(hub)) == 3


def test_waits_are_those_that_the_server_requests(hub, remote, tmp_path, monkeypatch):
    waits = []
    monkeypatch.setattr(module, "sleep", waits.append)
    hub.fail("/plain/", Answer(status=429, headers={"Retry-After": "7"}), Answer(status=503))
    download(remote, tmp_path)
    assert waits == [7.0, 2.0]


@pytest.mark.parametrize(
    ("answer", "count", "message"),
    [
        (Answer(status=429, headers={"Retry-After": "3600"}), 1, "requests a wait of 3600 s"),
        (Answer(status=503), 5, r"has a fault \(HTTP 503\)"),
        (Answer(status=403), 1, r"access denied \(HTTP 403\)"),
        (Answer(status=404), 1, r"no such file \(HTTP 404\)"),
        (Answer(status=418), 1, "HTTP 418"),
    ],
)
def test_final_status_is_explained(hub, remote, tmp_path, answer, count, message):
    hub.fail("/plain/", *[answer] * 20)
    with pytest.raises(DownloadError, match=message):
        download(remote, tmp_path)
    assert len(ranges(hub)) == count


def test_answer_without_end_is_cut_at_the_limit(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_MODEL_BYTES", 100_000)
    hub.plain["tiny.nemo"] = NEMO
    with pytest.raises(DownloadError, match="sends more than 100,000 bytes"):
        download(RemoteFile("tiny.nemo", f"{hub.url}/plain/tiny.nemo"), tmp_path)
    assert all(path.stat().st_size <= 100_000 for path in tmp_path.glob("tiny*"))


def test_copy_in_the_cache_of_the_hub_is_used_if_it_is_right(hub, remote, tmp_path):
    copy = tmp_path / "copy"
    copy.write_bytes(NEMO)
    file = RemoteFile("cached", remote.url, remote.size, remote.sha256, cached=copy)
    assert download(file, tmp_path).read_bytes() == NEMO
    assert not hub.requests
    copy.write_bytes(NEMO[:-1] + b"!")
    assert download(file, tmp_path).read_bytes() == NEMO
    assert len(ranges(hub)) == 1


def test_full_disk_is_explained(remote, tmp_path):
    def fail(_done):
        raise OSError(28, "No space left on device")

    with pytest.raises(DownloadError, match="full; what has been fetched is kept: make room"):
        download(remote, tmp_path, fail)


def response_by_way_of(*urls):
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
def test_insecure_redirect_needs_a_hash(urls):
    with pytest.raises(DownloadError, match=r"not https.*--sha256"):
        check_redirects(response_by_way_of(*urls), urls[0], has_hash=False)
    check_redirects(response_by_way_of(*urls), urls[0], has_hash=True)
    check_redirects(response_by_way_of("https://a/x", "https://b/x"), "https://a/x", has_hash=False)
