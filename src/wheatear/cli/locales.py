"""`wheatear locales`: locales of a model and their properties."""

import json
from typing import Annotated, Any

from cyclopts import Parameter
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from wheatear.model.languages import AUTO
from wheatear.model.locales import LOCALES, error_unit, has_spaces
from wheatear.model.manifest import BundleManifest
from wheatear.model.store import find_bundle
from wheatear.recognizer.loading import describe_model


def locales(
    *,
    model: str | None = None,
    all_: Annotated[bool, Parameter(name="--all", negative="")] = False,
    as_json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Show the locales of a model.

    Tiers are NVIDIA's: transcription-ready locales are reliable, broad-coverage locales have more
    errors, adaptation-ready locales need fine-tuning. A locale without a tier is not among NVIDIA's
    forty, though the model has a prompt for it.

    Parameters
    ----------
    model
        Model folder or name; by default the shipped model.
    all_
        Show all forty locales of Nemotron 3.5, including those that this model lacks.
    as_json
        Print JSON instead of a table.
    """
    manifest = describe_model(find_bundle(model)).manifest
    rows = locale_rows(manifest)
    if not all_:
        rows = [row for row in rows if row["id"] is not None]
    if as_json:
        print(json.dumps(rows, ensure_ascii=False, indent=1))
    elif not rows:
        print(f"{manifest.name} has one language and takes no language prompt")
    else:
        Console().print(_table(rows, manifest.name))


def locale_rows(manifest: BundleManifest) -> list[dict[str, Any]]:
    """Returns rows of the forty locales, then of other locales in the model's dictionary.

    `id` is None if the model lacks the locale, `keys` are its names in the dictionary, `detected`
    is True if the model can detect it.
    """
    keys: dict[int, list[str]] = {}
    for key, prompt in manifest.prompts.items():
        if key != AUTO:
            keys.setdefault(prompt, []).append(key)
    tags, rows = set(manifest.tags.values()), []
    for locale in LOCALES:
        prompt = manifest.prompts.get(locale.id)
        rows.append(
            {
                "locale": locale.id, "id": prompt,
                "keys": [] if prompt is None else keys[prompt],
                "tier": locale.tier, "english": locale.english, "own": locale.own,
                "aliases": list(locale.aliases), "scripts": list(locale.scripts),
                "unit": locale.unit, "spaces": locale.spaces, "detected": locale.id in tags,
            }
        )  # fmt: skip
    known = {row["id"] for row in rows}
    for prompt, names in sorted(keys.items()):
        if prompt in known:
            continue
        main = next((name for name in names if "-" in name), names[0])
        rows.append(
            {
                "locale": main, "id": prompt, "keys": names, "tier": None, "english": None,
                "own": None, "aliases": [], "scripts": [], "unit": error_unit(main),
                "spaces": has_spaces(main), "detected": main in tags,
            }
        )  # fmt: skip
    return rows


def _table(rows: list[dict[str, Any]], name: str) -> Table:
    title = f"Locales of {escape(name)}"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for head in ("locale", "id", "also", "tier", "name", "own name", "errors in", "detected"):
        whole = head not in ("name", "own name")
        table.add_column(
            head, justify="right" if head == "id" else "left", no_wrap=whole, overflow="fold"
        )
    for row in rows:
        also = " ".join(key for key in row["keys"] if key != row["locale"])
        own = "" if row["own"] == row["english"] else row["own"]
        cells = (
            row["locale"], "-" if row["id"] is None else str(row["id"]), also,
            (row["tier"] or "-").partition("-")[0], row["english"] or "", own,
            f"{row['unit']}s", "yes" if row["detected"] else "no",
        )  # fmt: skip
        table.add_row(*map(escape, cells))
    return table
