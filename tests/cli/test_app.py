"""Command line: help, errors, encodings, closed pipes."""

import os
import re
import subprocess

import pytest
from checkpoints import ORACLE
from command_line import RUN, on_terminal

import wheatear
from wheatear.cli.app import app


def test_help_lists_all_commands(run):
    assert run("--version")[:2] == (0, f"{wheatear.__version__}\n")
    for command in (
        "transcribe",
        "listen",
        "convert",
        "train",
        "finetune",
        "evaluate",
        "reproduce",
        "locales",
        "info",
    ):
        assert command in run("--help")[1]
        assert "Usage" in run(command, "--help")[1]


def commands(inside, before=()):
    """The names of all commands, and of those inside them."""
    yield before
    for name in inside:
        if not name.startswith("-"):
            yield from commands(inside[name], (*before, name))


@pytest.mark.parametrize("command", [*commands(app)], ids=" ".join)
def test_help_shows_defaults_without_code(run, command):
    """Defaults are what a person would type."""
    code, out, err = run(*command, "--help")
    assert (code, err) == (0, "")
    assert f"Usage: {' '.join(['wheatear', *command])}" in out
    text = " ".join(out.replace("\u2502", " ").split())
    for default in re.findall(r"\[default: ?(.*?)\]", text):
        assert default
        assert not re.search(r"[()'\"<>{}]|None|True|False", default)
        assert not default.endswith(",")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["transcribe"], "FILES"),
        (["transcribe", "--frobnicate"], "--frobnicate"),
        (["transcribe", "{wav}", "--model", "nowhere"], "no model 'nowhere'"),
        (["transcribe", "{wav}", "--model", "{model}", "--language", "tlh"], "'tlh'"),
        (["transcribe", "{wav}", "--model", "{model}", "--latency", "100"], "80, 160, 320"),
        (["transcribe", "{wav}", "--model", "{model}", "--latency", "soon"], "soon"),
        (["transcribe", "{wav}", "--model", "{model}", "--format", "doc"], "doc"),
        (["transcribe", "{wav}", "--model", "{model}", "--threads", "0"], "threads"),
        (["transcribe", "{wav}", "--model", "{model}", "--raw", "--rate", "5"], "5 Hz"),
        (["transcribe", "{text}", "--model", "{model}"], "cannot decode"),
        (["convert", "{text}", "{out}"], "neither a .nemo"),
        (["convert", "{nemo}", "{folder}"], "already exists"),
        (["convert", "{nemo}", "{out}", "--precision", "int2"], "int2"),
        (["info", "{folder}"], "no manifest.json"),
        (["dance"], "dance"),
        (["transcrib"], "Did you mean transcribe?"),
        (["--formt", "srt"], "unknown option '--formt'"),
        (["transcribe", "{wav}", "--formt", "srt"], "Did you mean --format?"),
        (["transcribe", "{wav}", "--lattency=80"], "Did you mean --latency?"),
        (["transcribe", "{wav}", "--format", "str"], "Did you mean"),
        (["listen", "--outptu", "a"], "Did you mean --output?"),
        (["serve", "--prot", "1"], "Did you mean --port?"),
        (["bench", "serv"], "Did you mean serve?"),
        (["info", "wheatear-smal"], "did you mean wheatear-small?"),
        (["transcribe", "{wav}", "--model", "Nemotron"], "nemotron-3.5"),
    ],
)
def test_invalid_input_is_one_line_of_error(run, wav, model, tmp_path, arguments, message):
    text = tmp_path / "text.txt"
    text.write_text("This is not audio.\n" * 60)
    places = {
        "wav": wav,
        "model": model,
        "text": text,
        "out": tmp_path / "new",
        "folder": tmp_path,
        "nemo": ORACLE / "tiny-en.nemo",
    }
    code, out, err = run(*(a.format(**places) for a in arguments))
    assert code == 2
    assert out == ""
    assert err.startswith("wheatear: ")
    assert err.count("\n") == 1
    assert message in err.replace('"', "")


@pytest.mark.parametrize("command", ["info", "models", "locales --all", "--help"])
def test_short_output_to_a_closed_pipe_or_a_full_disk(command):
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [*RUN, *command.split()], stdout=write, stderr=subprocess.PIPE, check=False
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*RUN, *command.split()], stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert (done.returncode, done.stderr) == (2, b"wheatear: No space left on device\n")


def test_tables_on_a_terminal_without_unicode():
    for command in (["locales", "--all"], ["info"], ["models"], ["--help"]):
        seen, code = on_terminal([*RUN, *command], PYTHONIOENCODING="cp1252")
        assert code == 0
        assert b"Traceback" not in seen
