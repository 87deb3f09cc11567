"""A process that decodes can open no file, no socket and no program; the sound is the same."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from wheatear.audio import ffmpeg as media
from wheatear.audio import file_type
from wheatear.audio import sandbox as confine

PROGRAM = Path(confine.__file__)
PRELUDE = f"""
import os, socket, subprocess, sys, threading, runpy, ctypes, signal, resource, io
confine = runpy.run_path({str(PROGRAM)!r})["confine"]
granted = confine(1 << 30, 60)
"""
on_linux = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"),
    reason="other systems only have limits",
)


def run(program, **options):
    return subprocess.run(
        [sys.executable, "-c", PRELUDE + program],
        capture_output=True, text=True, check=False, timeout=120, **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def granted():
    """Measures that this machine grants."""
    done = run(
        "status = os.open('/dev/null', os.O_RDONLY) if not granted['seccomp'] else None\n"
        "print(__import__('json').dumps(granted))"
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_kernel_shows_the_restrictions():
    """Linux shows the state of a process to others."""
    if not Path("/proc/self/status").exists():
        pytest.skip("needs /proc")
    program = "print(granted, flush=True)\nsys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", PRELUDE + program],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        granted_text = process.stdout.readline()
        status = Path(f"/proc/{process.pid}/status").read_text()
        process.stdin.close()
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert fields["NoNewPrivs"] == "1"
    if "'seccomp': True" in granted_text:
        assert fields["Seccomp"] == "2"
    if "'capabilities': True" in granted_text:
        assert int(fields["CapEff"], 16) == int(fields["CapPrm"], 16) == 0


ATTEMPTS = {
    "open a file": "open('/etc/hostname')",
    "read a folder": "os.listdir('/')",
    "write a file": "open('/tmp/wheatear-confined', 'w')",
    "make a folder": "os.mkdir('/tmp/wheatear-confined')",
    "remove a file": "os.unlink('/tmp/wheatear-confined')",
    "open its own memory": "open('/proc/self/mem', 'rb')",
    "make a socket": "socket.socket()",
    "make a local socket": "socket.socketpair()",
    "run a program": "subprocess.run(['/bin/true'])",
    "replace itself": "os.execv('/bin/true', ['true'])",
    "fork": "os.fork()",
    "signal its parent": "os.kill(os.getppid(), 0)",
    "make a pipe": "os.pipe()",
    "limit its parent": "resource.prlimit(os.getppid(), resource.RLIMIT_CPU, (1, 1))",
    "lift a limit": "resource.setrlimit(resource.RLIMIT_AS, (1 << 40, 1 << 40))",
}


@on_linux
@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_confined_process_cannot(attempt, granted):
    if not granted["seccomp"]:
        pytest.skip("this machine refuses filters of system calls")
    done = run(f"{ATTEMPTS[attempt]}\nprint('done')")
    assert "done" not in done.stdout
    assert done.returncode == 1, done.stderr
    assert "Error" in done.stderr


@on_linux
@pytest.mark.parametrize("number", ["ptrace", "io_uring_setup", "memfd_create", "bpf", "mount"])
def test_other_system_calls_are_rejected(number, granted):
    if not granted["seccomp"] or platform.machine() != "x86_64":
        pytest.skip("this machine refuses filters of system calls, or has other numbers")
    calls = {
        "ptrace": 101, "io_uring_setup": 425, "memfd_create": 319, "bpf": 321, "mount": 165,
    }  # fmt: skip
    done = run(
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        f"print(libc.syscall({calls[number]}, 0, 0, 0, 0, 0), ctypes.get_errno())"
    )
    assert done.stdout == "-1 1\n", done.stderr


@on_linux
def test_landlock_closes_files_by_itself(granted):
    """Files stay closed if only one of the two is granted."""
    if not granted["landlock"]:
        pytest.skip("this kernel has no Landlock")
    program = f"""
import os, runpy, ctypes
parts = runpy.run_path({str(PROGRAM)!r})
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
parts["_prctl"](libc, 38, 1)
assert parts["_close_files"](libc)
for attempt in (lambda: open("/etc/hostname"), lambda: os.execv("/bin/true", ["true"])):
    try:
        attempt()
    except PermissionError:
        print("refused")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.stdout == "refused\nrefused\n", done.stderr


@on_linux
def test_confined_process_can_use_threads_memory_and_open_files():
    done = run(
        "results = []\n"
        "threads = [threading.Thread(target=lambda: results.append(1)) for _ in range(4)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]\n"
        "data = bytearray(1 << 28)\n"
        "limit = resource.getrlimit(resource.RLIMIT_CPU)[1]\n"
        "resource.setrlimit(resource.RLIMIT_CPU, (30, limit))\n"
        "print(len(results), os.read(0, 5))",
        input="sound",
    )
    assert done.stdout == "4 b'sound'\n", done.stderr


def test_memory_bound_is_permanent():
    if sys.platform == "win32":
        pytest.skip("needs limits")
    done = run("bytearray(1 << 31)")
    assert "MemoryError" in done.stderr


@on_linux
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root")
def test_other_user_is_confined(granted):
    program = f"""
import os, runpy, sys, threading, subprocess, ctypes
parts = runpy.run_path({str(PROGRAM)!r})
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
print(parts["confine"](1 << 30, 60) == {granted!r})
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.stdout == "True\n", done.stderr


def test_decoder_gets_no_secrets_of_the_environment(monkeypatch):
    seen = {}

    def start(_command, **options):
        seen.update(options)
        raise OSError("enough seen")

    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setenv("WHEATEAR_SERVE_KEY", "secret")
    monkeypatch.setattr(file_type, "has_ffmpeg", lambda: True)
    monkeypatch.setattr(subprocess, "Popen", start)
    with pytest.raises(media.AudioError, match="no decoder starts"):
        media.FfmpegReader(sys.stdin, file_type.MATROSKA, "x.webm", (0, 1))
    assert "secret" not in seen["env"].values()
    assert not {name for name in seen["env"] if "TOKEN" in name or "KEY" in name}
