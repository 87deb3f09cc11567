"""Folders of named models: the user's models and the shipped model."""

import difflib
import os
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from wheatear.common.telemetry import cache_folder
from wheatear.errors import ModelNotFoundError
from wheatear.model.manifest import MANIFEST
from wheatear.model.published import PUBLISHED, find_published

SHIPPED = "wheatear-small"
MODELS_VARIABLE = "WHEATEAR_MODELS"


def models_folder() -> Path:
    """Returns the folder of the user's models: $WHEATEAR_MODELS or ~/.cache/wheatear/models."""
    if folder := os.environ.get(MODELS_VARIABLE):
        return Path(folder)
    return cache_folder() / "models"


def _shipped_folder() -> Path:
    return Path(str(files("wheatear") / "data" / "models"))


def local_models() -> list[Path]:
    """Returns the folders of all models that have a name: the user's, then the shipped ones."""
    folders = models_folder(), _shipped_folder()
    return [path for folder in folders for path in sorted(folder.glob("*")) if _is_model(path)]


def find_bundle(model: str | os.PathLike[str] | None) -> Path:
    """Finds the folder of a model.

    Args:
        model: Path or name; None for the shipped model.

    Raises:
        ModelNotFoundError: The model does not exist; the message lists names or a command to run.
    """
    if model is None:
        path = _shipped_folder() / SHIPPED
        if not (path / MANIFEST).is_file():
            raise ModelNotFoundError(
                f"the model that comes with Wheatear is not installed ({path} is missing); "
                f"reinstall Wheatear or name a bundle"
            )
        return path
    path = Path(model)
    if path.is_dir():
        return path
    if path.exists():
        raise ModelNotFoundError(
            f"{path} is a file, not a bundle folder; to make one run: "
            f"wheatear convert {path} {path.with_suffix('')}"
        )
    name = str(model)
    if os.sep not in name and not name.startswith("."):
        for folder in (models_folder(), _shipped_folder()):
            if _is_model(folder / name):
                return folder / name
    raise ModelNotFoundError(_not_found(name))


def _is_model(path: Path) -> bool:
    """True for a bundle or a package of graphs; unfinished folders have hidden names."""
    return (
        not path.name.startswith(".")
        and path.is_dir()
        and ((path / MANIFEST).is_file() or any(path.glob("*.onnx")))
    )


def _not_found(name: str) -> str:
    if published := find_published(name):
        return (
            f"the model {name} is not here; to fetch it run: wheatear pull {name}  "
            f"(about {published.size / 1e9:.1f} GB, {published.license.name}; looked in "
            f"{models_folder()})"
        )
    known = sorted({path.name for path in local_models()})
    return (
        f"no model {name!r}{_suggestion(name, [*known, *PUBLISHED])}: neither a model folder nor "
        f"one of {', '.join(known) or 'none here'} (looked in {models_folder()}); 'wheatear pull' "
        f"fetches models, 'wheatear models' lists them, 'wheatear convert CHECKPOINT OUT' makes one"
    )


def _suggestion(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name.lower(), known, 2)
    return f" (did you mean {' or '.join(close)}?)" if close else ""
