"""`wheatear models`: models on this machine, and published models."""

from pathlib import Path

from wheatear.common.terminal_text import printable
from wheatear.errors import BundleError
from wheatear.model.manifest import MANIFEST, read_manifest
from wheatear.model.published import PUBLISHED
from wheatear.model.store import local_models, models_folder
from wheatear.recognizer.external.files import is_package, read_record


def models() -> None:
    """List the models on this machine, and the models that can be pulled."""
    print(f"on this machine (shipped with Wheatear, or in {models_folder()})")
    local = local_models()
    for row in map(_description, local):
        print(f"  {row}")
    names = {path.name for path in local}
    print("published")
    for name, published in PUBLISHED.items():
        have = "  (a model of that name is on this machine)" if name in names else ""
        print(f"  {name:24} {published.about}, about {published.size / 1e9:.1f} GB to fetch")
        print(f"  {'':24} {published.license.name}; run: wheatear pull {name}{have}")
    print("  and any hub id or URL: wheatear pull ORGANIZATION/NAME")


def _description(path: Path) -> str:
    name = printable(path.name)
    megabytes = sum(file.stat().st_size for file in path.iterdir() if file.is_file()) / 1e6
    try:
        if (path / MANIFEST).is_file():
            manifest, _files = read_manifest(path)
            kind, license = manifest.precision, manifest.license
        elif is_package(path):
            kind, (_origin, license) = "graphs", read_record(path, verify=False)
        else:
            return f"{name:24} no model: neither a bundle nor a package of graphs"
    except BundleError as error:
        return f"{name:24} {printable(error)}"
    license = printable(license or "license not stated")
    return f"{name:24} {printable(kind):7} {megabytes:8.1f} MB  {license}"
