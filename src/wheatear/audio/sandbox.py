"""Permanently removes all privileges from a process that decoding a file does not need.

    confine(memory, seconds)    for the calling process, once its libraries are loaded
    python sandbox.py           prints as JSON what this system grants

On Linux the process can then no longer open files, read folders, make sockets or run programs. It
cannot start, trace or signal other processes, or gain privileges. It keeps threads, memory within
its bound, and the files and pipes that are open. Measures that a kernel or a container refuses are
left out: limits hold on every Unix, Landlock since Linux 5.13, the filter of system calls on x86-64
and 64-bit ARM. This file imports only the standard library, because nothing else is there when it
runs.

Sources: landlock(7), seccomp(2), capabilities(7), and the kernel's tables of system calls.
"""

import ctypes
import json
import os
import platform
import struct
import sys

try:
    import resource
except ImportError:  # on Windows
    resource = None  # type: ignore[assignment]

# read write close fstat newfstatat lseek mmap mprotect munmap brk rt_sigaction rt_sigprocmask
# rt_sigreturn pread64 writev sched_yield mremap madvise dup nanosleep getpid exit uname fcntl
# getrlimit getrusage sysinfo getuid getgid geteuid getegid sigaltstack prctl setrlimit gettid
# futex sched_getaffinity restart_syscall clock_gettime clock_getres clock_nanosleep exit_group
# ppoll set_robust_list getrandom membarrier rseq; on x86-64 also poll arch_prctl time
# gettimeofday
_ALLOWED = {
    "x86_64": (
        *(0, 1, 3, 5, 262, 8, 9, 10, 11, 12, 13, 14, 15, 17, 20, 24, 25, 28, 32, 35, 39, 60, 63),
        *(72, 97, 98, 99, 102, 104, 107, 108, 131, 157, 160, 186, 202, 204, 219, 228, 229, 230),
        *(231, 271, 273, 318, 324, 334, 7, 158, 201, 96),
    ),
    "aarch64": (
        *(63, 64, 57, 80, 79, 62, 222, 226, 215, 214, 134, 135, 139, 67, 66, 124, 216, 233, 23),
        *(101, 172, 93, 160, 25, 163, 165, 179, 174, 176, 175, 177, 132, 167, 164, 178, 98, 123),
        *(128, 113, 114, 115, 94, 73, 99, 278, 283, 293, 169),
    ),
}
# AUDIT_ARCH, and the numbers of clone, clone3, tgkill, prlimit64, ioctl, capset
_MACHINE = {
    "x86_64": (0xC000003E, 56, 435, 234, 302, 16, 126),
    "aarch64": (0xC00000B7, 220, 435, 131, 261, 29, 91),
}
_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06  # operations of BPF
_NUMBER, _ARCH, _FIRST_ARGUMENT = 0, 4, 16  # places in struct seccomp_data, little-endian
_KILL, _REFUSE, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_EPERM, _ENOTTY, _ENOSYS = 1, 25, 38
_CLONE_THREAD = 0x10000
_CREATE_RULESET, _RESTRICT_SELF = 444, 446  # the same on all machines
# Rights over files by Landlock's version: 13 at first, then linking, truncating, ioctl.
_RIGHTS = {1: 0x1FFF, 2: 0x3FFF, 3: 0x7FFF, 4: 0x7FFF, 5: 0xFFFF}
_PR_SET_SECCOMP, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 22, 4, 38


def confine(memory: int, seconds: int) -> dict[str, bool]:
    """Confines the calling process and its later threads; returns what the system granted.

    memory: bytes of address space. seconds: hard limit on processor time.
    """
    granted = {}
    if sys.platform == "linux":
        machine = platform.machine()
        libc = ctypes.CDLL(None, use_errno=True)
        libc.syscall.restype = ctypes.c_long
        granted["no_new_privileges"] = _prctl(libc, _PR_SET_NO_NEW_PRIVS, 1) == 0
        _prctl(libc, _PR_SET_DUMPABLE, 0)
        granted["capabilities"] = _drop_capabilities(libc, machine)
        granted["landlock"] = _close_files(libc)
        granted["seccomp"] = _filter(libc, machine)
    wanted = {"CORE": 0, "FSIZE": 0, "NOFILE": 3, "MEMLOCK": 0, "AS": memory, "CPU": seconds}
    limited = [set_limit(name, most, most) for name, most in wanted.items()]
    granted["limits"] = all(limited)
    return granted


def set_limit(name: str, soft: int, hard: int | None = None) -> bool:
    """Sets limits on a resource, at most its present hard limit; True if the system did.

    hard: None keeps the present one.
    """
    if resource is None:
        return False
    try:
        kind = getattr(resource, f"RLIMIT_{name}")
        present = resource.getrlimit(kind)[1]
        most = sys.maxsize if present == resource.RLIM_INFINITY else present
        limits = min(soft, most), present if hard is None else min(hard, most)
        resource.setrlimit(kind, limits)
    except (AttributeError, ValueError, OSError):
        return False
    return True


def _prctl(libc: ctypes.CDLL, option: int, *values: int) -> int:
    arguments = [*values, 0, 0, 0, 0][:4]
    return libc.prctl(option, *map(ctypes.c_ulong, arguments))


def _drop_capabilities(libc: ctypes.CDLL, machine: str) -> bool:
    """Drops the capabilities of a process of root."""
    if machine not in _MACHINE:
        return False
    header = struct.pack("<Ii", 0x20080522, 0)  # the third version
    return libc.syscall(_MACHINE[machine][6], header, bytes(24)) == 0


def _close_files(libc: ctypes.CDLL) -> bool:
    """Restricts by Landlock without a rule: no file system, no connection, no signal."""
    zero = ctypes.c_size_t(0)
    version = libc.syscall(_CREATE_RULESET, None, zero, ctypes.c_uint32(1))
    if version < 1:
        return False
    network, scope = (3 if version >= 4 else 0), (3 if version >= 6 else 0)
    rules = struct.pack("<QQQ", _RIGHTS[min(version, 5)], network, scope)
    size = ctypes.c_size_t(24 if version >= 6 else 16 if version >= 4 else 8)
    ruleset = libc.syscall(_CREATE_RULESET, rules, size, ctypes.c_uint32(0))
    if ruleset < 0:
        return False
    try:
        return libc.syscall(_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0)) == 0
    finally:
        os.close(ruleset)


def _filter(libc: ctypes.CDLL, machine: str) -> bool:
    """Installs a filter that rejects the system calls that decoding does not need."""
    if machine not in _ALLOWED or sys.byteorder != "little" or struct.calcsize("P") != 8:
        return False
    program = _program(machine, os.getpid())
    code = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *line) for line in program))
    given = struct.pack("@HP", len(program), ctypes.addressof(code))
    pointer = ctypes.c_char_p(given)
    address = ctypes.cast(pointer, ctypes.c_void_p).value or 0
    return _prctl(libc, _PR_SET_SECCOMP, 2, address) == 0


def _program(machine: str, process: int) -> list[tuple[int, int, int, int]]:
    """Returns the filter in BPF: operation, lines to skip if true, if false, and a number."""
    arch, clone, clone3, tgkill, prlimit, ioctl, _capset = _MACHINE[machine]
    refuse = (_RETURN, 0, 0, _REFUSE | _EPERM)
    allow = (_RETURN, 0, 0, _ALLOW)
    first = (_LOAD, 0, 0, _FIRST_ARGUMENT)
    program = [
        *((_LOAD, 0, 0, _ARCH), (_EQUAL, 1, 0, arch), (_RETURN, 0, 0, _KILL)),
        (_LOAD, 0, 0, _NUMBER),
        # Reported as missing, so that the C library takes clone, whose flags are visible.
        *((_EQUAL, 0, 1, clone3), (_RETURN, 0, 0, _REFUSE | _ENOSYS)),
        *((_EQUAL, 0, 1, ioctl), (_RETURN, 0, 0, _REFUSE | _ENOTTY)),
        *((_EQUAL, 0, 4, clone), first, (_ANY_BIT, 0, 1, _CLONE_THREAD), allow, refuse),
    ]
    for number, value in ((tgkill, process), (prlimit, 0)):  # only of this process
        program += [(_EQUAL, 0, 4, number), first, (_EQUAL, 0, 1, value), allow, refuse]
    for number in _ALLOWED[machine]:
        program += [(_EQUAL, 0, 1, number), allow]
    return [*program, refuse]


if __name__ == "__main__":
    print(json.dumps(confine(1 << 30, 60)))
