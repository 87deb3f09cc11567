"""Opening and describing models."""

import shutil

import pytest

from wheatear.encoder.encoder import Encoder
from wheatear.errors import BundleError
from wheatear.recognizer.loading import describe_model, open_model


def test_a_bundle_is_opened_with_its_networks(bundle_of):
    model = open_model(bundle_of("tiny-en"), threads=1)
    assert isinstance(model.encoder, Encoder)
    assert model.networks.shape == model.manifest.decoder
    assert len(model.vocabulary.pieces) == model.manifest.decoder.blank


def test_a_description_has_manifest_and_files(bundle_of):
    folder = bundle_of("tiny-en")
    model, described = open_model(folder, threads=1), describe_model(folder)
    assert described.manifest == model.manifest
    assert described.sizes == model.sizes
    assert described.notices() == model.notices()


@pytest.mark.parametrize("read", [describe_model, lambda folder: open_model(folder, 1)])
def test_a_folder_without_a_model_is_rejected(bundle_of, tmp_path, read):
    with pytest.raises(BundleError, match=r"no manifest\.json; nor is it a package"):
        read(tmp_path)
    folder = shutil.copytree(bundle_of("tiny-en"), tmp_path / "damaged")
    (folder / "joint.onnx").write_bytes(b"")
    with pytest.raises(BundleError, match="joint"):
        read(folder)
