"""Code and documents use the words of the field: the countable part of it."""

import pytest
from plain_words import ROOT, finds

PLACES = [
    *sorted(p.relative_to(ROOT).as_posix() for p in (ROOT / "src" / "wheatear").iterdir()),
    *("tests", "recipes", "benchmarks", "docs", "native", "deploy", "examples"),
    *("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "pyproject.toml"),
]


@pytest.mark.parametrize("place", PLACES)
def test_no_private_language(place):
    assert finds(ROOT / place) == []
