"""ServedModels are served by the name that was typed."""

import shutil

import pytest

from wheatear.errors import SettingsError
from wheatear.model.store import find_bundle
from wheatear.server.metrics import Metrics
from wheatear.server.served_models import ServedModels, named_path
from wheatear.server.settings import Settings


@pytest.mark.parametrize(
    ("entry", "name"),
    [
        ("nemotron-3.5", "nemotron-3.5"),
        ("./my-model", "my-model"),
        ("/models/my-model/", "my-model"),
        ("models//my-model/.", "my-model"),
        ("..", "parent"),
        (".", "here"),
        ("./", "here"),
        ("", ""),
    ],
)
def test_last_part_of_the_path_is_the_name(tmp_path, monkeypatch, entry, name):
    (tmp_path / "parent" / "here").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "parent" / "here")
    assert named_path(entry) == (name, entry)


def test_a_name_may_be_given_and_a_path_may_have_an_equals_sign(tmp_path):
    assert named_path("mine=/models/x") == ("mine", "/models/x")
    assert named_path("mine=a=b") == ("mine", "a=b")
    (tmp_path / "lr=1e-4").mkdir()
    assert named_path(f"{tmp_path}/lr=1e-4/") == ("lr=1e-4", f"{tmp_path}/lr=1e-4/")
    for entry in ("=x", "mine="):
        with pytest.raises(SettingsError, match="both of them"):
            named_path(entry)


def test_a_folder_is_served_as_it_is_called(tmp_path):
    """The manifest in it may have another name: that of the checkpoint it was made from."""
    folder = tmp_path / "random-nemotron-3.5-int4"
    shutil.copytree(find_bundle(None), folder)
    models = ServedModels(Settings(models=(f"{folder}/", f"other={folder}", "")), Metrics())
    try:
        assert [m.name for m in models] == [folder.name, "other", "wheatear-small"]
        assert models.named(folder.name) is models.default
    finally:
        models.close()
