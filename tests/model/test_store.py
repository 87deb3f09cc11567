"""Models are found by path and by name."""

import pytest

import wheatear
from wheatear.errors import BundleError, ModelNotFoundError
from wheatear.model.store import MODELS_VARIABLE


def test_path_or_name_without_model_is_refused(tmp_path, bundle):
    with pytest.raises(BundleError, match=r"no manifest\.json"):
        wheatear.load(tmp_path)
    with pytest.raises(ModelNotFoundError, match=r"file, not a bundle folder.*wheatear convert"):
        wheatear.load(bundle / "encoder.onnx")
    with pytest.raises(ModelNotFoundError, match="no model 'nemotron'"):
        wheatear.load("nemotron")


def test_models_folder_of_environment_is_searched_by_name(bundle, monkeypatch):
    monkeypatch.setenv(MODELS_VARIABLE, str(bundle.parent))
    assert wheatear.load("bundle").model.path == bundle
    with pytest.raises(ModelNotFoundError, match="one of bundle"):
        wheatear.load("bindle")


@pytest.mark.parametrize(
    "name", ["nemotron-3.5", "nemotron-en", "nvidia/nemotron-3.5-asr-streaming-0.6b"]
)
def test_published_model_that_is_not_here_has_a_command_to_run(name, tmp_path, monkeypatch):
    monkeypatch.setenv(MODELS_VARIABLE, str(tmp_path))
    with pytest.raises(ModelNotFoundError, match=rf"run: wheatear pull {name} .*2\.5 GB"):
        wheatear.load(name)
