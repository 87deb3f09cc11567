"""Packages of ONNX graphs that are run as they are: from what was fetched to a model folder.

Beside the files of the package lies `wheatear.json`: where they came from, under what licence, and
the hash of each, which `wheatear.foreign` holds them against.
"""

import lzma
import shutil
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from wheatear.bundle import LICENCE_FILE
from wheatear.errors import DownloadError
from wheatear.foreign import is_package, open_model, write_record
from wheatear.hub.sources import PACKAGE_FILES, Source
from wheatear.sessions import default_threads

_LARGEST = 8 << 30


def assemble(
    source: Source, paths: Mapping[str, Path], texts: Mapping[str, str], folder: Path
) -> Path:
    """Fills `folder` with a package's files, its licence texts and its record, and opens it.

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
        with tarfile.open(archive) as tar:
            members = [member for member in tar if member.isfile()]
            encoders = [m for m in members if _name(m).startswith("encoder") and _is_graph(m)]
            beside = {PurePosixPath(m.name).parent for m in encoders}
            if len(beside) != 1:
                raise DownloadError(
                    f"{archive.name} has encoders in {len(beside)} folders; a package has one"
                )
            wanted = [
                m
                for m in members
                if PurePosixPath(m.name).parent in beside
                and (m.name.endswith(PACKAGE_FILES) or LICENCE_FILE.fullmatch(_name(m)))
            ]
            if sum(m.size for m in wanted) > _LARGEST:
                raise DownloadError(f"{archive.name} unpacks to more than {_LARGEST >> 30} GB")
            for member in wanted:
                content = tar.extractfile(member)
                if content is not None:
                    with content, (folder / _name(member)).open("wb") as out:
                        shutil.copyfileobj(content, out, 1 << 20)
    except (tarfile.TarError, EOFError, ValueError, OSError, zlib.error, lzma.LZMAError) as error:
        if isinstance(error, DownloadError) or getattr(error, "errno", None) is not None:
            raise  # of ours, or of the disk
        raise DownloadError(f"{archive.name} is no readable archive: {error}") from error


def _name(member: tarfile.TarInfo) -> str:
    return PurePosixPath(member.name).name


def _is_graph(member: tarfile.TarInfo) -> bool:
    return member.name.endswith(".onnx")
