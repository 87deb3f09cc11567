"""Files and folders get their final names after their bytes are on the disk."""

import os

import pytest

from wheatear.common import atomic_files as durable


@pytest.fixture
def calls(monkeypatch):
    """Records the order in which files are synced and renamed."""
    order: list[tuple[str, str]] = []
    sync, replace, rename = os.fsync, os.replace, os.rename

    def seen_sync(descriptor):
        order.append(("sync", os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}"))))
        sync(descriptor)

    def seen(function):
        def move(source, target, **more):
            order.append(("rename", os.path.basename(target)))
            function(source, target, **more)

        return move

    monkeypatch.setattr(os, "fsync", seen_sync)
    monkeypatch.setattr(os, "replace", seen(replace))
    monkeypatch.setattr(os, "rename", seen(rename))
    return order


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="looks at /proc")
def test_file_is_synced_before_its_name_and_its_folder_after(tmp_path, calls):
    (tmp_path / "a.part").write_bytes(b"new")
    (tmp_path / "a").write_bytes(b"old")
    durable.replace(tmp_path / "a.part", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"new"
    assert calls == [("sync", "a.part"), ("rename", "a"), ("sync", tmp_path.name)]


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="looks at /proc")
def test_folder_is_renamed_after_all_its_files_are_synced(tmp_path, calls):
    made = tmp_path / ".made"
    made.mkdir()
    for name in ("a", "b"):
        (made / name).write_text(name)
    durable.rename_folder(made, tmp_path / "made")
    assert sorted(p.name for p in (tmp_path / "made").iterdir()) == ["a", "b"]
    assert set(calls[:2]) == {("sync", "a"), ("sync", "b")}
    assert calls[2:] == [("sync", ".made"), ("rename", "made"), ("sync", tmp_path.name)]


def test_missing_fsync_is_no_error(tmp_path, monkeypatch):
    def refuse(_descriptor):
        raise OSError(22, "Invalid argument")

    (tmp_path / "a.part").write_bytes(b"new")
    monkeypatch.setattr(os, "fsync", refuse)
    durable.replace(tmp_path / "a.part", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"new"


def test_failing_disk_is_an_error(tmp_path, monkeypatch):
    def fail(_descriptor):
        raise OSError(5, "Input/output error")

    (tmp_path / "a.part").write_bytes(b"new")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output"):
        durable.replace(tmp_path / "a.part", tmp_path / "a")
    assert not (tmp_path / "a").exists()
