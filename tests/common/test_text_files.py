"""Text files as editors of all systems save them, and the commands that read them."""

import codecs
import os
from types import SimpleNamespace

import pytest

from wheatear.cli.options import TranscriptionOptions, read_entries
from wheatear.common.text_files import read_text
from wheatear.decoder.language_model import read_arpa
from wheatear.errors import BundleError, PlanError, SettingsError, WheatearError
from wheatear.server.access.keys import make_key, read_keys
from wheatear.server.settings import read_settings
from wheatear.train.run.config import TrainConfig

BOM = codecs.BOM_UTF8


@pytest.fixture
def file(tmp_path):
    def make(data, name="file.txt"):
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return make


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", ""),
        (BOM, ""),
        (BOM + "é\n".encode(), "é\n"),
        (b"a\r\nb\rc\n", "a\nb\nc\n"),
        ("\ufeff\ufeffa".encode(), "\ufeffa"),
    ],
)
def test_mark_and_line_ends_are_removed(file, data, text):
    assert read_text(file(data)) == text


@pytest.mark.parametrize(
    "encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]
)
def test_wide_encoding_is_rejected_by_name(file, encoding):
    with pytest.raises(ValueError, match="UTF-16"):
        read_text(file("port = 1\n".encode(encoding)))


def test_other_encoding_is_rejected_with_its_line(file):
    with pytest.raises(ValueError, match="line 2 is not UTF-8"):
        read_text(file(b"a\ncaf\xe9\n"))


def test_settings_and_keys_with_a_mark_are_read(file, tmp_path):
    assert read_settings(file(BOM + b"port = 8123\r\n"), {}, {}).port == 8123
    keys = tmp_path / "keys.toml"
    key = make_key(keys, "desk")
    keys.write_bytes(BOM + keys.read_bytes().replace(b"\n", b"\r\n"))
    other = make_key(keys, "door")
    ring = read_keys(keys)
    assert [ring.client(k).name for k in (key, other)] == ["desk", "door"]


def test_phrases_with_a_mark_and_odd_lines_are_read(file):
    phrases = file(BOM + b"Nguyen \r\n\r\n \t\r\n  # a remark\r\n#another\r\nBay Area\t\r\n")
    assert read_entries(phrases) == ["Nguyen", "Bay Area"]
    assert TranscriptionOptions(phrases=phrases).stream_options(None).phrases[0].text == "Nguyen"


def test_plan_and_language_model_with_a_mark_are_read(file):
    with pytest.raises(PlanError, match="missing 1 required"):  # past the mark
        TrainConfig.read(file(BOM + b'name = "mine"\n', "plan.toml"))
    arpa = BOM + "\\data\\\n\n\\1-grams:\n-0.5\t▁a\n\n\\end\\\n".encode()
    assert read_arpa(file(arpa), SimpleNamespace(pieces=("▁a",)))


@pytest.mark.parametrize(
    ("error", "read"),
    [
        (SettingsError, lambda path: read_settings(path, {}, {})),
        (SettingsError, read_keys),
        (WheatearError, read_entries),
        (PlanError, TrainConfig.read),
        (BundleError, lambda path: read_arpa(path, SimpleNamespace(pieces=()))),
    ],
)
def test_wide_text_gives_one_line_that_names_the_file(file, error, read):
    path = file("name\n".encode("utf-16"))
    os.chmod(path, 0o600)
    with pytest.raises(error, match=r"file\.txt.*save it as UTF-8") as raised:
        read(path)
    assert "\n" not in str(raised.value)
