"""Atomic renames of finished files and folders, which survive a power cut.

Otherwise a file system may write the name before the bytes and leave an empty file.
"""

import errno
import os
from pathlib import Path

# Answers of pipes and of some network file systems to fsync.
_NOT_SUPPORTED = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF})


def replace(finished: Path, target: Path) -> None:
    """Renames a finished file to `target`, which may exist, after writing it to the disk."""
    _sync(finished)
    os.replace(finished, target)
    sync_folder(target.parent)


def rename_folder(finished: Path, target: Path) -> None:
    """Renames a finished folder to `target`, after writing its files to the disk."""
    for path in finished.rglob("*"):
        if path.is_file() and not path.is_symlink():
            _sync(path)
    sync_folder(finished)
    finished.rename(target)
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Writes the names in a folder to the disk, on systems that can."""
    if os.name != "nt":
        _sync(folder)


def _sync(path: Path) -> None:
    flags = os.O_RDWR if os.name == "nt" else os.O_RDONLY
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NOT_SUPPORTED:
            raise
    finally:
        os.close(descriptor)
