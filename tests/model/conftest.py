import shutil

import pytest


@pytest.fixture
def bundle(bundle_of, tmp_path):
    """A copy of a good bundle, to be damaged."""
    return shutil.copytree(bundle_of("tiny-multi", "int8"), tmp_path / "bundle")
