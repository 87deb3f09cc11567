"""Programs run where nothing outside can be reached, with each try and each new file recorded.

The kernel's view, by strace, since threads of C++ are seen by nothing in Python. A network
namespace of the calling thread has loopback and nothing else, so that every way out is refused.
"""

import ctypes
import fcntl
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_NEW_NETWORK = 0x40000000  # CLONE_NEWNET
_GET_FLAGS, _SET_FLAGS, _UP = 0x8913, 0x8914, 1  # of an interface, see netdevice(7)
_CALLS = "connect,sendto,sendmsg,sendmmsg,open,openat,creat,mkdir,mkdirat,mknod,mknodat"
_CALLS += ",rename,renameat,renameat2,link,linkat,symlink,symlinkat,chdir,fchdir"
_KEPT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONPATH")
_ADDRESS = re.compile(
    r'sin6?_port=htons\((?P<port>\d+)\).*?(?:inet_addr\(|inet_pton\(AF_INET6, )"(?P<host>[^"]*)"'
)
_LOCAL = re.compile(r"127\.|::1$|::ffff:127\.|0\.0\.0\.0$|::$")
_PATH = re.compile(r'"((?:[^"\\]|\\.)*)"')
_DNS = 53


def missing() -> str | None:
    """Why nothing can be traced here; None if it can."""
    if not shutil.which("strace"):
        return "strace is not installed"
    with ThreadPoolExecutor(1) as pool:  # a thread of its own, which is left in its namespace
        try:
            pool.submit(_leave_network).result()
        except OSError as error:
            return f"no network namespace can be made: {error.strerror} (root can)"
    run = subprocess.run(["strace", "-f", "true"], capture_output=True, text=True, check=False)
    return None if run.returncode == 0 else f"strace cannot trace: {run.stderr.strip()}"


def _leave_network() -> None:
    """Moves the calling thread into a network of its own that has only loopback."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_NEW_NETWORK):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as some:
        request = bytearray(struct.pack("16sH14x", b"lo", 0))
        fcntl.ioctl(some, _GET_FLAGS, request)
        (flags,) = struct.unpack_from("H", request, 16)
        struct.pack_into("H", request, 16, flags | _UP)
        fcntl.ioctl(some, _SET_FLAGS, request)


def isolated() -> ThreadPoolExecutor:
    """A pool of one thread that has only loopback, like the processes it starts."""
    return ThreadPoolExecutor(1, initializer=_leave_network)


@dataclass
class Traced:
    """A traced program, its folders and what it did."""

    name: str
    process: subprocess.Popen[str]
    folder: Path
    """Folder of the run: home, tmp, work."""

    def terminate(self) -> None:
        """Sends the program, which is strace's child, what systemd sends."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        os.kill(int(children.read_text().split()[0]), signal.SIGTERM)

    def close(self) -> None:
        """Ends whatever of it runs yet."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()
        self.process.wait()

    def outgoing(self) -> list[str]:
        """Tries to reach anything beyond this machine, look-ups of names among them."""
        found = []
        for line in self._lines():
            address = _ADDRESS.search(line)
            if address and (
                int(address["port"]) == _DNS or not _LOCAL.match(address["host"])
            ):  # resolvers on loopback forward requests to the outside
                found.append(line)
        return found

    def created(self) -> set[Path]:
        """Files and folders that it created and that are there yet, work/ aside."""
        named = {path for line in self._lines() if (path := self._created(line)) is not None}
        inside = {path for part in ("home", "tmp") for path in (self.folder / part).rglob("*")}
        work = self.folder / "work"
        return {
            path
            for path in named | inside
            if os.path.lexists(path)
            and not path.is_relative_to(work)
            and not path.is_relative_to("/dev")
            and not path.is_relative_to("/proc")
            and path not in (self.folder / "home", self.folder / "tmp")
        }

    def _lines(self) -> list[str]:
        texts = [path.read_text() for path in self.folder.glob("trace*")]
        return [line for text in texts for line in text.splitlines()]

    def _created(self, line: str) -> Path | None:
        """The path that a system call created. Of relative ones those below work/ are known."""
        call = line.split("(", 1)[0].rpartition(" ")[2]
        if call.startswith(("connect", "send", "chdir", "fchdir")) or ") = -1 " in line:
            return None
        if call in ("open", "openat") and "O_CREAT" not in line:
            return None
        paths = _PATH.findall(line)
        if not paths or not paths[-1].startswith("/"):
            return None
        return Path(paths[-1])


def start(name: str, folder: Path, arguments: list[str], extra: Mapping[str, str]) -> Traced:
    """Starts `python ARGUMENTS` as a user who has never run it, on a machine without switches."""
    for part in ("home", "tmp", "work"):
        (folder / part).mkdir(parents=True)
    kept = {n: v for n, v in os.environ.items() if n in _KEPT or n.startswith("OPENBLAS_")}
    environment = kept | {
        "HOME": str(folder / "home"),
        "TMPDIR": str(folder / "tmp"),
        "PYTHONDONTWRITEBYTECODE": "1",  # the interpreter's cache, beside the code that it runs
        **extra,
    }
    command = ["strace", "-f", "-qq", "--seccomp-bpf", "-e", f"trace={_CALLS}", "-e", "signal=none"]
    command += ["-o", str(folder / "trace"), sys.executable, *arguments]
    process = subprocess.Popen(
        command, cwd=folder / "work", env=environment, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    return Traced(name, process, folder)
