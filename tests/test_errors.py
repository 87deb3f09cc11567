"""Errors: one tree, each with the built-in class that callers may already catch."""

import pytest

import wheatear
from wheatear import errors

CLASSES = [value for value in vars(errors).values() if isinstance(value, type)]


@pytest.mark.parametrize("error", CLASSES)
def test_every_error_is_documented_in_the_tree(error):
    assert error.__name__ in errors.__doc__


@pytest.mark.parametrize("error", [c for c in CLASSES if issubclass(c, Exception)])
def test_every_error_is_a_wheatear_error(error):
    if not issubclass(error, Warning):
        assert issubclass(error, errors.WheatearError)
        assert str(error("one line")) == "one line"


def test_model_errors_have_one_base():
    kinds = {errors.ModelNotFoundError, errors.BundleError, errors.CheckpointError}
    assert {*kinds, errors.DownloadError} == set(errors.ModelError.__subclasses__())


def test_errors_that_calls_raise_are_public():
    for name in ("AudioError", "LanguageError", "LatencyError", "OptionError", "ModelError"):
        assert getattr(wheatear, name) is getattr(errors, name)
