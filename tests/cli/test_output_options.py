"""Output file, folder and format."""

import json
from pathlib import Path

import pytest

from wheatear.cli.output_options import partial_path


def test_suffix_of_the_output_chooses_the_format(run, wav, model, lines, expected, tmp_path):
    def made(name, *options):
        code, out, err = run(
            "transcribe", wav, "--model", model, "--output", tmp_path / name, *options
        )
        assert (code, out) == (0, "")
        assert err == f"wheatear: wrote {tmp_path / name}\n"
        return (tmp_path / name).read_text(encoding="utf-8")

    assert made("a.txt") == made("a") == made("a.out") == lines
    assert "-->" in made("a.srt")
    assert made("A.VTT").startswith("WEBVTT")
    assert made("a.tsv").startswith("start\tend")
    assert json.loads(made("a.json"))["text"] == expected.text
    assert all(json.loads(line)["file"] == str(wav) for line in made("a.jsonl").splitlines())
    assert made("b.txt", "--format", "srt") == (tmp_path / "a.srt").read_text()


def test_existing_output_is_replaced_only_with_overwrite(run, wav, model, lines, tmp_path):
    out = tmp_path / "a.txt"
    out.write_text("by hand")
    code, _, err = run("transcribe", wav, "--model", model, "--output", out)
    assert (code, out.read_text()) == (2, "by hand")
    assert "already exists; --overwrite" in err
    assert run("transcribe", wav, "--model", model, "--output", out, "--overwrite")[0] == 0
    assert out.read_text() == lines
    assert run("transcribe", wav, "--model", model, "--output", "/dev/null")[0] == 0
    code, _, err = run("transcribe", wav, "--model", model, "--output", tmp_path / "no" / "x")
    assert code == 2
    assert "cannot write" in err


def test_failed_file_leaves_no_empty_output(run, wav, model, tmp_path):
    wav.write_bytes(b"no audio at all")
    out = tmp_path / "a.srt"
    assert run("transcribe", wav, "--model", model, "--output", out)[0] == 2
    assert not out.exists()


@pytest.mark.parametrize("form", ["srt", "vtt", "tsv", "verbose_json"])
def test_several_files_are_refused_in_formats_for_one(run, wav, model, tmp_path, form):
    """Two subtitle files behind each other are none."""
    for output in ([], ["--output", tmp_path / "both"]):
        code, out, err = run("transcribe", wav, wav, "--model", model, "--format", form, *output)
        assert (code, out) == (2, "")
        assert f"{form} holds the transcript of one file" in err
        assert "--output-dir FOLDER" in err
    assert not (tmp_path / "both").exists()


def test_jsonl_takes_several_files(run, wav, model, tmp_path):
    twin = tmp_path / "twin.wav"
    twin.write_bytes(wav.read_bytes())
    out = tmp_path / "all.jsonl"
    assert run("transcribe", wav, twin, "--model", model, "--output", out)[0] == 0
    files = [json.loads(line)["file"] for line in out.read_text().splitlines()]
    assert sorted(set(files)) == sorted([str(wav), str(twin)])
    code, _, err = run("transcribe", wav, twin, "--model", model, "--output", tmp_path / "a.txt")
    assert code == 2
    assert "--output-dir" in err


def test_folder_gets_a_transcript_for_each_file(run, wav, model, lines, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    twin = other / wav.name
    twin.write_bytes(wav.read_bytes())
    folder = tmp_path / "texts"
    for _ in range(2):  # and a second command finds everything done
        code, out, err = run("transcribe", wav, twin, "--model", model, "--output-dir", folder)
        assert (code, out) == (0, "")
        texts = sorted(folder.iterdir())
        assert [path.read_text() for path in texts] == [lines] * 2
    assert f"wrote 0 of 2 transcripts to {folder}" in err
    code, _, err = run("transcribe", wav, "--output", "a", "--output-dir", "b")
    assert code == 2
    assert "not both" in err


def test_input_as_output_is_refused(run, wav, model):
    before = wav.read_bytes()
    code, _, err = run("transcribe", wav, "--model", model, "--output", wav)
    assert code == 2
    assert "one of the files to transcribe" in err
    assert wav.read_bytes() == before


def test_partial_names_are_distinct():
    names = [partial_path(Path("out", f"{'x' * 200}{n}.txt")).name for n in range(3)]
    assert len(set(names)) == 3
    assert max(map(len, names)) < 60
    assert partial_path(Path("out/talk.txt")) == Path("out/talk.txt.partial")
