"""Conversion: texts, output folder, progress, disk space."""

import shutil

import pytest
from checkpoints import ORACLE
from torch_files import packed, unpacked

import wheatear
from wheatear.convert import convert
from wheatear.errors import CheckpointError
from wheatear.model.manifest import read_manifest


def test_license_and_notice_are_copied_into_the_bundle(tmp_path):
    members = unpacked() | {"LICENSE.txt": b"Do as you like.\n", "NOTICE": b"By us."}
    convert(packed(tmp_path / "x.nemo", members), tmp_path / "out")
    bundle = wheatear.load(tmp_path / "out").model
    assert bundle.notices() == {"LICENSE.txt": "Do as you like.\n", "NOTICE": "By us."}
    assert bundle.manifest.license == "Do as you like."


def test_output_folder_must_be_free(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="already exists"):
        convert(ORACLE / "tiny-en.nemo", tmp_path / "full")
    with pytest.raises(CheckpointError, match="fp32, int8, int4"):
        convert(ORACLE / "tiny-en.nemo", tmp_path / "new", "int3")
    convert(ORACLE / "tiny-en.nemo", tmp_path / "empty")
    manifest, _files = read_manifest(tmp_path / "empty")
    assert manifest.precision == "int4"


def test_progress_rises_to_one(tmp_path):
    shares = []
    convert(ORACLE / "tiny-en.nemo", tmp_path / "out", progress=shares.append)
    assert shares == sorted(shares)
    assert 0 < shares[0] < 0.5
    assert shares[-1] == 1


def test_full_disk_is_reported_before_writing(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _folder: usage)
    with pytest.raises(CheckpointError, match="make room"):
        convert(ORACLE / "tiny-multi.nemo", tmp_path / "out")
    assert not list(tmp_path.iterdir())
