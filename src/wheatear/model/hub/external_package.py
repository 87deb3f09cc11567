"""Unpacks a fetched package of ONNX graphs into a model folder."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from wheatear.errors import DownloadError
from wheatear.model.bundle import FILE_NAME
from wheatear.model.hub.sources import PACKAGE_FILES, Source
from wheatear.model.manifest import LICENSE_FILE
from wheatear.model.size_limits import MAX_MODEL_BYTES
from wheatear.model.tar_archive import ArchiveError, decompressed, list_members, member_window


def unpack_package(source: Source, paths: Mapping[str, Path], folder: Path) -> None:
    """Creates `folder` with the files of a package, from a tar or from files of a repository.

    Raises:
        DownloadError: The archive is damaged, too large, or has no single package.
    """
    folder.mkdir()
    if source.kind == "archive":
        _unpack(paths[source.main], folder)
        return
    for name, path in paths.items():
        shutil.copyfile(path, folder / name)  # the download stays until the model is complete


def _unpack(archive: Path, folder: Path) -> None:
    """Extracts the files in the folder of the archive's encoder, without folders."""
    try:
        with archive.open("rb") as packed, decompressed(packed) as tar:
            members = list_members(tar)
            folders = {
                member.path.parent
                for member in members
                if member.name.startswith("encoder") and member.name.endswith(".onnx")
            }
            if len(folders) != 1:
                raise DownloadError(
                    f"{archive.name} has encoders in {len(folders)} folders; a package has one"
                )
            chosen = [m for m in members if m.path.parent in folders and _is_package_file(m.name)]
            free = shutil.disk_usage(folder).free
            if sum(member.size for member in chosen) > min(MAX_MODEL_BYTES, free):
                raise DownloadError(f"{archive.name} unpacks to more than there is room for")
            for member in chosen:
                with (folder / member.name).open("wb") as out:
                    shutil.copyfileobj(member_window(tar, member), out, 1 << 20)
    except ArchiveError as error:
        raise DownloadError(f"{archive.name} is no readable archive: {error}") from error


def _is_package_file(name: str) -> bool:
    return FILE_NAME.fullmatch(name) is not None and (
        name.endswith(PACKAGE_FILES) or LICENSE_FILE.fullmatch(name) is not None
    )
