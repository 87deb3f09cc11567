"""Packages of ONNX graphs that are run as they are: from what was fetched to a model folder.

Beside the files of the package lies `wheatear.json`: where they came from, under what license, and
the hash of each, which `wheatear.recognizer.external.package` holds them against.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path

from wheatear.errors import DownloadError
from wheatear.model.bundle import FILE_NAME
from wheatear.model.hub.sources import PACKAGE_FILES, Source
from wheatear.model.manifest import LICENSE_FILE
from wheatear.model.onnx_session import default_threads
from wheatear.model.size_limits import MAX_MODEL_BYTES
from wheatear.model.tar_archive import ArchiveError, decompressed, list_members, member_window
from wheatear.recognizer.external.package import is_package, open_model, write_record


def assemble(
    source: Source, paths: Mapping[str, Path], texts: Mapping[str, str], folder: Path
) -> Path:
    """Fills `folder` with a package's files, its license texts and its record, and opens it.

    Raises DownloadError if it is no package, BundleError if it is none that runs here.
    """
    folder.mkdir()
    if source.kind == "archive":
        _unpack(paths[source.main], folder)
    else:
        for name, path in paths.items():
            shutil.copyfile(path, folder / name)  # stays there until all is well
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    if not is_package(folder):
        raise DownloadError(
            f"{source.origin.label} is no package that is known: it has "
            f"{', '.join(sorted(p.name for p in folder.iterdir())) or 'nothing'}"
        )
    write_record(folder, str(source.origin), source.origin.terms)
    open_model(folder, default_threads())
    return folder


def _unpack(archive: Path, folder: Path) -> None:
    """The files of a package from a tar, none of them into folders: only those lie beside the
    encoder that belong to it."""
    try:
        with archive.open("rb") as packed, decompressed(packed) as tar:
            members = list_members(tar)
            graphs = [m for m in members if m.name.endswith(".onnx")]
            beside = {m.path.parent for m in graphs if m.name.startswith("encoder")}
            if len(beside) != 1:
                raise DownloadError(
                    f"{archive.name} has encoders in {len(beside)} folders; a package has one"
                )
            wanted = [m for m in members if m.path.parent in beside and _belongs(m.name)]
            free = shutil.disk_usage(folder).free
            if sum(m.size for m in wanted) > min(MAX_MODEL_BYTES, free):
                raise DownloadError(f"{archive.name} unpacks to more than there is room for")
            for member in wanted:
                with (folder / member.name).open("wb") as out:
                    shutil.copyfileobj(member_window(tar, member), out, 1 << 20)
    except ArchiveError as error:
        raise DownloadError(f"{archive.name} is no readable archive: {error}") from error


def _belongs(name: str) -> bool:
    """True for a plain name of a file that packages have."""
    return FILE_NAME.fullmatch(name) is not None and (
        name.endswith(PACKAGE_FILES) or LICENSE_FILE.fullmatch(name) is not None
    )
