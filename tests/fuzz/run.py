"""Fuzzes the readers of foreign files for a number of minutes.

    python tests/fuzz/run.py --minutes 10                     all targets in turn
    python tests/fuzz/run.py --minutes 60 --target pickle     one of them
    python tests/fuzz/run.py --target pickle --only 1234      one input again, to see it fail
    python tests/fuzz/run.py --each 10                        ten of each, as the tests do

Each input is made from a number, so a find can be made again. Readers run in a process of their
own, with bounded memory: an error that is not a WheatearError, a signal, and a minute of processor
time without an end are findings. Their inputs are kept (--keep), and the exit code is 1 if there is
any.
"""

import argparse
import faulthandler
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from dataclasses import dataclass, field
from pathlib import Path

_WORK = 60  # seconds of processor time that an input may take
_PATIENCE = 600.0  # seconds that it may take on a busy machine, or wait for ever
_MEMORY = 6 << 30  # bytes of address space, of which onnxruntime and its threads take two
_PART = 20.0  # seconds of a target before the next one has its turn


@dataclass
class Tally:
    """Counts of the results of a target."""

    inputs: int = 0
    rejected: int = 0
    finds: list[str] = field(default_factory=list)


# -- the process that reads ----------------------------------------------------------------------


def one(target: str, number: int, folder: Path) -> bool:
    """Makes an input and reads it; True if it was read, False if it was rejected."""
    from targets import TARGETS

    from wheatear.errors import WheatearError

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rng = random.Random(f"{target} {number}")
    path = TARGETS[target].make(rng, folder)
    try:
        TARGETS[target].read(path, rng)
    except WheatearError as error:
        if "\n" in str(error):
            raise RuntimeError(f"not one line: {error}") from error
        return False
    return True


def work(target: str, first: int, seconds: float, folder: Path) -> None:
    """Reads inputs from the number `first` on, and writes a line about each as it is done."""
    faulthandler.enable()
    warnings.simplefilter("ignore")
    _bound("AS", _MEMORY)
    _bound("CORE", 0)
    end = time.monotonic() + seconds
    number = first
    while time.monotonic() < end:
        _bound("CPU", int(time.process_time()) + _WORK)
        read = one(target, number, folder)
        print(json.dumps([number, read]), flush=True)
        number += 1


def _bound(name: str, most: int) -> None:
    """Sets a soft limit of this process, on systems that have one."""
    try:
        import resource
    except ImportError:
        return
    kind = getattr(resource, f"RLIMIT_{name}")
    resource.setrlimit(kind, (most, resource.getrlimit(kind)[1]))


# -- the process that watches --------------------------------------------------------------------


def fuzz(target: str, first: int, seconds: float, keep: Path, tally: Tally) -> int:
    """Runs a target for `seconds`; returns the number of the next input."""
    with tempfile.TemporaryDirectory(prefix="wheatear-fuzz-") as folder:
        work = Path(folder) / "input"
        command = [sys.executable, __file__, "--work", target, str(first), str(seconds), str(work)]
        errors = Path(folder) / "errors"
        with errors.open("wb") as log:
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, env=os.environ | {"TMPDIR": folder}
            )
        number = _watch(process, first, tally)
        if process.returncode != 0:
            why = "hung" if process.returncode == -9 else f"ended with {process.returncode}"
            kept = keep / f"{target}-{number}"
            shutil.rmtree(kept, ignore_errors=True)
            if work.exists():
                shutil.copytree(work, kept)
            kept.mkdir(parents=True, exist_ok=True)
            text = errors.read_text(errors="replace")
            (kept / "error.txt").write_text(text)
            last = text.strip().rpartition("\n")[2][:200]
            tally.finds.append(f"{target} {number} {why}: {last}")
            tally.inputs += 1
            number += 1
    return number


def _watch(process: subprocess.Popen[bytes], first: int, tally: Tally) -> int:
    """Counts what a process reads; the number after the last one that it was done with."""
    import threading

    number, last_answer = first, time.monotonic()
    stop = threading.Event()

    def guard() -> None:
        while not stop.wait(1.0):
            if time.monotonic() - last_answer > _PATIENCE:
                process.kill()
                return

    threading.Thread(target=guard, daemon=True).start()
    for line in process.stdout or ():
        number, read = json.loads(line)
        number, last_answer = number + 1, time.monotonic()
        tally.inputs += 1
        tally.rejected += not read
    process.wait()
    stop.set()
    return number


def main() -> int:
    if sys.argv[1:2] == ["--work"]:
        target, first, seconds, folder = sys.argv[2:]
        work(target, int(first), float(seconds), Path(folder))
        return 0
    from targets import TARGETS

    options = argparse.ArgumentParser(description=__doc__, add_help=True)
    options.add_argument("--minutes", type=float, default=1.0)
    options.add_argument("--target", choices=sorted(TARGETS), action="append")
    options.add_argument("--first", type=int, default=0, help="number of the first input")
    options.add_argument("--only", type=int, help="read only this input, in this process")
    options.add_argument("--each", type=int, help="read this many of each target and no more")
    options.add_argument("--keep", type=Path, default=Path("fuzz-finds"))
    given = options.parse_args()
    targets = given.target or list(TARGETS)
    if given.each is not None:
        return read_each(targets, range(given.first, given.first + given.each))
    if given.only is not None:
        given.keep.mkdir(parents=True, exist_ok=True)
        try:
            print("read" if one(targets[0], given.only, given.keep / "input") else "rejected")
        except Exception:  # noqa: BLE001  (the find)
            traceback.print_exc()
            return 1
        return 0
    tallies = {target: Tally() for target in targets}
    numbers = dict.fromkeys(targets, given.first)
    begun = time.monotonic()
    while (left := given.minutes * 60 - (time.monotonic() - begun)) > 0:
        for target in targets:
            share = min(_PART, max(1.0, left / len(targets)))
            numbers[target] = fuzz(target, numbers[target], share, given.keep, tallies[target])
    return report(tallies, time.monotonic() - begun)


def read_each(targets: list[str], numbers: range) -> int:
    """Reads the same inputs of each target in this process, which a find ends."""
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory(prefix="wheatear-fuzz-") as folder:
        for target in targets:
            print(f"{target}:", flush=True)
            read = [one(target, number, Path(folder) / "input") for number in numbers]
            print(f"{len(read)} inputs, {sum(read)} read", flush=True)
    return 0


def report(tallies: dict[str, Tally], seconds: float) -> int:
    print(f"{'target':14}{'inputs':>10}{'rejected':>10}{'findings':>10}")
    for target, tally in tallies.items():
        print(f"{target:14}{tally.inputs:10,}{tally.rejected:10,}{len(tally.finds):10}")
    finds = [find for tally in tallies.values() for find in tally.finds]
    print(f"{sum(t.inputs for t in tallies.values()):,} inputs in {seconds / 60:.1f} minutes")
    for find in finds:
        print(find)
    return 1 if finds else 0


if __name__ == "__main__":
    sys.exit(main())
