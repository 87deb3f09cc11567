"""Published models are found by name and hub id, and are pinned."""

import re

import pytest

from wheatear.model.published import PUBLISHED, find_published, find_repository


@pytest.mark.parametrize("name", PUBLISHED)
def test_model_is_found_by_name_and_hub_id(name):
    model = PUBLISHED[name]
    assert find_published(name) is find_published(model.repo.upper()) is model
    assert find_repository(model.repo) is model
    assert find_repository(name) is None


@pytest.mark.parametrize("model", PUBLISHED.values(), ids=list(PUBLISHED))
def test_revision_and_hashes_are_pinned(model):
    assert re.fullmatch(r"[0-9a-f]{40}", model.revision)
    assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in model.sha256.values())
    assert model.license.text
