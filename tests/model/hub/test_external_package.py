"""Archives of graphs are unpacked without trust in their names and sizes."""

import io
import tarfile

import pytest

from wheatear.errors import DownloadError
from wheatear.model.hub import external_package
from wheatear.model.hub.download import RemoteFile
from wheatear.model.hub.external_package import unpack_package
from wheatear.model.hub.licenses import UNSTATED, Origin
from wheatear.model.hub.sources import Source


def archive_of(files, links=(), folder="some-package/"):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:bz2") as tar:
        for name in links:
            info = tarfile.TarInfo(f"{folder}{name}")
            info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(info)
        for name, data in files.items():
            info = tarfile.TarInfo(f"{folder}{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def unpack(folder, data):
    """Returns the names of the unpacked files."""
    archive = folder / "p.tar.bz2"
    archive.write_bytes(data)
    origin = Origin("u", None, "u", (UNSTATED,))
    source = Source("p", origin, "archive", archive.name, (RemoteFile(archive.name, "u"),))
    unpack_package(source, {archive.name: archive}, folder / "out")
    return sorted(path.name for path in (folder / "out").iterdir())


def test_files_beside_the_encoder_are_unpacked(tmp_path):
    files = {
        "encoder.int8.onnx": b"1", "tokens.txt": b"2", "LICENSE": b"3", "README.md": b"4",
        "test_wavs/0.wav": b"5", "other/tokens.txt": b"6",
    }  # fmt: skip
    assert unpack(tmp_path, archive_of(files)) == ["LICENSE", "encoder.int8.onnx", "tokens.txt"]
    assert (tmp_path / "out" / "tokens.txt").read_bytes() == b"2"


def test_links_and_parent_folders_lead_nowhere(tmp_path):
    data = archive_of({"encoder.onnx": b"1"}, links=["tokens.txt"], folder="../../")
    assert unpack(tmp_path, data) == ["encoder.onnx"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "p.tar.bz2"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"no archive", "no readable archive"),
        (b"BZh9" + bytes(100), "no readable archive"),
        (archive_of({"encoder.onnx": b"1" * 100_000})[:-200], "no readable archive"),
        (archive_of({"x.onnx": b"1"}), "encoders in 0 folders"),
        (archive_of({"a/encoder.onnx": b"1", "b/encoder.onnx": b"1"}), "encoders in 2 folders"),
    ],
)
def test_damaged_archives_and_other_archives_are_refused(tmp_path, data, message):
    with pytest.raises(DownloadError, match=message):
        unpack(tmp_path, data)


def test_archive_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(external_package, "MAX_MODEL_BYTES", 1000)
    with pytest.raises(DownloadError, match="unpacks to more than"):
        unpack(tmp_path, archive_of({"encoder.onnx": bytes(2000)}))
