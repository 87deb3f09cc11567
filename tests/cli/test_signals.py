"""Signals while a command works: none is lost, none loses anything, the second one ends it."""

import os
import signal
import subprocess
import sys
import threading

import pytest

import wheatear.cli.info  # noqa: F401  (to be replaced in)
from wheatear.cli import main
from wheatear.cli.evaluate import progress
from wheatear.cli.signals import Interrupts, interrupts


def strike(number=signal.SIGINT):
    os.kill(os.getpid(), number)


def test_a_signal_raises_where_nothing_is_held():
    own = Interrupts()
    with pytest.raises(KeyboardInterrupt), own.caught():
        strike()
    assert (own.number, own.code) == (signal.SIGINT, 130)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_held_signal_is_found_where_it_is_looked_for(number):
    own = Interrupts()
    with own.caught(), own.held():
        own.check()
        strike(number)
        with pytest.raises(KeyboardInterrupt):
            own.check()
    assert own.code == 128 + number


def test_waiting_ends_at_once_whenever_the_signal_comes():
    own = Interrupts()
    with own.caught(), own.held():
        with pytest.raises(KeyboardInterrupt), own.waiting():
            strike()
        with pytest.raises(KeyboardInterrupt), own.waiting():
            pytest.fail("it came before")


def test_handlers_are_put_back():
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    own = Interrupts()
    with own.caught(), own.held():
        assert signal.getsignal(signal.SIGTERM) not in before
    assert [signal.getsignal(number) for number in numbers] == before


def test_ignored_signals_stay_ignored(monkeypatch):
    """As nohup wants it, and a shell of programs in the background."""
    before = {n: signal.signal(n, signal.SIG_IGN) for n in (signal.SIGINT, signal.SIGHUP)}
    try:
        own = Interrupts()
        with own.caught(), own.held():
            strike(signal.SIGINT)
            strike(signal.SIGHUP)
            own.check()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_other_threads_run_commands_without_handlers():
    done = []

    def work():
        with Interrupts().caught(), Interrupts().held():
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done


def test_the_second_signal_ends_the_process():
    program = (
        "import os, signal\n"
        "from wheatear.cli.signals import interrupts\n"
        "with interrupts.caught(), interrupts.held():\n"
        "    for word in ('one', 'two', 'three'):\n"
        "        print(word, flush=True)\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.stdout.split() == [b"one", b"two"]
    assert done.returncode == -signal.SIGINT
    assert done.stderr == b""


def test_an_evaluation_ends_between_two_recordings():
    """One that a signal cuts short would be scored as if that were all of it."""
    with interrupts.caught(), progress() as tell:
        tell("a condition", 0, 2)
        strike()
        with pytest.raises(KeyboardInterrupt):
            tell("a condition", 1, 2)
    assert interrupts.code == 130


def test_a_signal_inside_an_import_ends_the_process(tmp_path):
    """Nothing has been done yet, and modules in C abort when it is raised in them."""
    module = "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nprint('imported')\n"
    (tmp_path / "slow_module.py").write_text(module)
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from wheatear.cli.signals import interrupts\n"
        "with interrupts.caught():\n"
        "    try:\n"
        "        import slow_module\n"
        "    except KeyboardInterrupt:\n"
        "        print('raised')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


def test_what_c_code_makes_of_a_signal_is_still_one(monkeypatch, capsys):
    """Modules in C turn a KeyboardInterrupt while they are imported into an ImportError."""

    def strike_in_import(*_arguments):
        try:
            strike()
        except KeyboardInterrupt as error:
            raise ImportError("numpy failed to import") from error

    monkeypatch.setattr("wheatear.cli.info.find_bundle", strike_in_import)
    with pytest.raises(SystemExit) as ended:
        main(["info"])
    assert ended.value.code == 130
    assert capsys.readouterr() == ("", "")


def test_ctrl_c_ends_a_command_before_it_has_begun():
    """However long its imports take: without a traceback."""
    program = (
        "import os, signal, sys\n"
        "class Slow:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'wheatear.cli':\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Slow())\n"
        "from wheatear.__main__ import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", program, "info"], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")
