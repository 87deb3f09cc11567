"""Gives finished files and folders their names such that a power cut leaves the old or the new.

Without it a file system may write the name before the bytes, and what is left is an empty file
under the right name.
"""

import errno
import os
from pathlib import Path

# The answers of pipes and of some network file systems to fsync.
_NOT_SUPPORTED = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF})


def replace(finished: Path, target: Path) -> None:
    """Renames a finished file to `target`, which may exist, once its bytes are on the disk."""
    _sync(finished)
    os.replace(finished, target)
    sync_folder(target.parent)


def rename_folder(finished: Path, target: Path) -> None:
    """Renames a finished folder to `target`, once all files in it are on the disk."""
    for path in finished.rglob("*"):
        if path.is_file() and not path.is_symlink():
            _sync(path)
    sync_folder(finished)
    finished.rename(target)
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Writes the names in a folder to the disk, on systems that can."""
    if os.name == "nt":
        return
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
