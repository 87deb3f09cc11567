"""Untrusted tar files are read within their bounds, or refused."""

import bz2
import gzip
import io
import lzma
import shutil
import tarfile
from types import SimpleNamespace

import pytest
from tar_files import header

from wheatear.model import tar_archive
from wheatear.model.tar_archive import (
    ArchiveError,
    decompressed,
    list_members,
    member_window,
    read_member,
)

END = bytes(1024)


def tar(*members, form=tarfile.PAX_FORMAT):
    """A tar of (name, content or TarInfo's type) pairs."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, bytes) and len(content) == 1 and content in b"123456":
                info.type, info.linkname = content, "/etc/passwd"
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_are_those_of_tarfile(form):
    long = "/".join(["folder" * 10] * 4) if form != tarfile.USTAR_FORMAT else "some/folder"
    content = {"a": b"", f"./{long}/b": b"x" * 513, "c/Ünicode": b"yz"}
    file = io.BytesIO(tar(*content.items(), form=form))
    members = list_members(file)
    with tarfile.open(fileobj=io.BytesIO(file.getvalue())) as archive:
        expected = [(m.name.removeprefix("./"), m.size, m.offset_data) for m in archive]
    assert [(str(m.path), m.size, m.start) for m in members] == expected
    assert [read_member(file, m, 1000) for m in members] == list(content.values())


def test_links_devices_and_folders_are_skipped():
    file = io.BytesIO(tar(*((name, name.encode()) for name in "123456"), ("kept", b"data")))
    assert [member.name for member in list_members(file)] == ["kept"]


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", "no tar file"),
        (b"\x7fELF" * 500, "no tar file"),
        (END, "no tar file"),
        (header("a", -1024) + END, "member of -1,024 bytes"),
        (tar(("b", b""))[:512] + header("a", -512) + END, "member of -512 bytes"),
        (header("a", -(2**70)) + END, "a member of -"),
        (header("a", 2**80) + END, "cut short"),
        (header("a", 1 << 40) + END, "cut short"),
        (header("model_config.yaml", 0, b"S") + END, "kind b'S'"),
        (header("a", 1 << 30, b"L") + bytes(4096), "cut short"),
        (header("a", 1 << 20, b"L") + bytes(1 << 20) + END, "header of 1,048,576 bytes"),
        (header("a", 8, b"x") + b"99 a=b\n\0".ljust(512, b"\0") + END, "pax"),
        (header("a", 8, b"x") + b"0 a=b\n\0\0".ljust(512, b"\0") + END, "pax"),
        (header("a", 10, b"x") + b"10 size=5\n".ljust(512, b"\0") + END, "size"),
        (header("a", 22, b"x") + b"22 GNU.sparse.major=1\n".ljust(512, b"\0") + END, "sparse"),
        (header("a", 0).replace(b"ustar", b"altar") + END, "no tar file"),
        (header("a", 0) + b"no header".ljust(512, b"\0"), "damaged at byte 512"),
        (header("a", 0) * 10_001 + END, "more than 10,000 members"),
    ],
)
def test_damaged_archives_are_refused(data, fault):
    with pytest.raises(ArchiveError, match=fault):
        list_members(io.BytesIO(data))


def test_member_is_read_like_a_file():
    file = io.BytesIO(tar(("a", b"0123456789"), ("b", b"x")))
    part = member_window(file, list_members(file)[0])
    assert (part.read(3), part.seek(0, io.SEEK_CUR)) == (b"012", 3)
    assert (part.read(), part.read(5)) == (b"3456789", b"")
    assert part.seek(-2, io.SEEK_END) == 8
    assert part.read(100) == b"89"
    assert part.seek(-1) == 0  # never before its beginning


def test_member_beyond_the_limit_is_refused():
    file = io.BytesIO(tar(("a", b"0123456789")))
    with pytest.raises(ArchiveError, match="10 bytes, more than 9"):
        read_member(file, list_members(file)[0], 9)


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_compressed_archives_are_unpacked(pack):
    data = tar(("a", bytes(range(256)) * 100))
    with decompressed(io.BytesIO(pack(data))) as file:
        assert file.read() == data


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_disproportionate_archives_are_refused(pack, monkeypatch):
    monkeypatch.setattr(tar_archive, "SMALL_BYTES", 1 << 20)
    bomb = pack(bytes(1 << 24))
    assert len(bomb) < 1 << 15
    with pytest.raises(ArchiveError, match="50 times its size"), decompressed(io.BytesIO(bomb)):
        pass


def test_archives_without_room_on_the_disk_are_refused(monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: SimpleNamespace(free=0))
    packed = io.BytesIO(gzip.compress(b"data"))
    with pytest.raises(ArchiveError, match="does not fit into"), decompressed(packed):
        pass


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_damaged_compressed_archives_are_refused(pack):
    packed = pack(bytes(range(256)) * 100)
    middle = len(packed) // 2
    flipped = bytes(byte ^ 90 for byte in packed[middle : middle + 8])
    for data in (packed[:middle], packed[:middle] + flipped + packed[middle + 8 :]):
        with pytest.raises(ArchiveError, match="damaged"), decompressed(io.BytesIO(data)):
            pass
