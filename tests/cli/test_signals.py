"""Signals while a command works: deferred, remembered, ignored, repeated."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from wheatear.cli import info, main
from wheatear.cli.evaluate import show_conditions
from wheatear.cli.signals import Interrupts, interrupts


def strike(number=signal.SIGINT):
    os.kill(os.getpid(), number)


def test_signal_raises_unless_deferred():
    own = Interrupts()
    with pytest.raises(KeyboardInterrupt), own.installed():
        strike()
    assert (own.number, own.code) == (signal.SIGINT, 130)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_deferred_signal_is_raised_by_check(number):
    own = Interrupts()
    with own.installed(), own.deferred():
        own.check()
        strike(number)
        with pytest.raises(KeyboardInterrupt):
            own.check()
    assert own.code == 128 + number


def test_interruptible_wait_ends_at_once():
    own = Interrupts()
    with own.installed(), own.deferred():
        with pytest.raises(KeyboardInterrupt), own.interruptible():
            strike()
        with pytest.raises(KeyboardInterrupt), own.interruptible():
            pytest.fail("the signal was before")


def test_handlers_are_restored():
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    own = Interrupts()
    with own.installed(), own.deferred():
        assert signal.getsignal(signal.SIGTERM) not in before
    assert [signal.getsignal(number) for number in numbers] == before


def test_ignored_signals_stay_ignored(monkeypatch):
    """nohup and shells ignore signals of programs in the background."""
    before = {n: signal.signal(n, signal.SIG_IGN) for n in (signal.SIGINT, signal.SIGHUP)}
    try:
        own = Interrupts()
        with own.installed(), own.deferred():
            strike(signal.SIGINT)
            strike(signal.SIGHUP)
            own.check()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_other_threads_run_commands_without_handlers():
    done = []

    def work():
        with Interrupts().installed(), Interrupts().deferred():
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done


def test_second_signal_ends_the_process():
    program = (
        "import os, signal\n"
        "from wheatear.cli.signals import interrupts\n"
        "with interrupts.installed(), interrupts.deferred():\n"
        "    for word in ('one', 'two', 'three'):\n"
        "        print(word, flush=True)\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.stdout.split() == [b"one", b"two"]
    assert done.returncode == -signal.SIGINT
    assert done.stderr == b""


def test_evaluation_ends_between_two_recordings():
    """A recording that is cut short by a signal would be scored as if complete."""
    with interrupts.installed(), show_conditions() as update:
        update("a condition", 0, 2)
        strike()
        with pytest.raises(KeyboardInterrupt):
            update("a condition", 1, 2)
    assert interrupts.code == 130


def test_signal_in_an_import_ends_the_process(tmp_path):
    """C modules abort when a KeyboardInterrupt is raised in them."""
    module = "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nprint('imported')\n"
    (tmp_path / "slow_module.py").write_text(module)
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from wheatear.cli.signals import interrupts\n"
        "with interrupts.installed():\n"
        "    try:\n"
        "        import slow_module\n"
        "    except KeyboardInterrupt:\n"
        "        print('raised')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


def test_error_that_c_code_makes_of_a_signal_is_not_shown(monkeypatch, capsys):
    """C modules turn a KeyboardInterrupt during their import into an ImportError."""

    def strike_in_import(*_arguments):
        try:
            strike()
        except KeyboardInterrupt as error:
            raise ImportError("numpy failed to import") from error

    monkeypatch.setattr(info, "find_bundle", strike_in_import)
    with pytest.raises(SystemExit) as ended:
        main(["info"])
    assert ended.value.code == 130
    assert capsys.readouterr() == ("", "")


def test_ctrl_c_ends_a_command_before_it_starts():
    """Without a traceback, also during slow imports."""
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
