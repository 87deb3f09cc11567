"""Options that transcribe and listen share."""

import pytest
from command_line import SAMPLE

from wheatear.cli.options import TranscriptionOptions, parse_phrase


def test_text_formats_phrases_and_beams(run, tmp_path):
    """On the model that comes with Wheatear, in whose language these mean something."""
    plain = run("transcribe", SAMPLE, "--language", "en-US")[1]
    bare = run("transcribe", SAMPLE, "--language", "en-US", "--no-punctuation", "--no-capitals")[1]
    assert bare == plain.lower().translate(str.maketrans("", "", ".,?!"))
    mask, phrases = tmp_path / "mask.txt", tmp_path / "phrases.txt"
    word = max(bare.split(), key=len)
    mask.write_text(f"# not these\n{word}\n")
    assert word not in run("transcribe", SAMPLE, "--language", "en-US", "--mask", mask)[1].lower()
    assert "*" * len(word) in run("transcribe", SAMPLE, "--language", "en-US", "--mask", mask)[1]
    phrases.write_text(f"Nguyen ^0 | {word}\n\n# nothing\ncalling\n")
    named = run("transcribe", SAMPLE, "--language", "en-US", "--phrases", phrases)[1]
    assert "Nguyen" in named
    assert word not in named.lower()
    for options in (
        ("--beam", "4"),
        ("--beam", "4", "--phrase", "calling"),
        ("--numbers", "written"),
    ):
        code, out, err = run("transcribe", SAMPLE, "--language", "en-US", *options)
        assert (code, err) == (0, "")
        assert out.strip()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--phrase", "!!!"], "needs a letter"),
        (["--phrase", "a ^x"], "no number"),
        (["--phrase", "a ^99"], "0 to 10"),
        (["--phrase", "今日"], "cannot write"),
        (["--phrases", "no-such-file"], "cannot read no-such-file"),
        (["--beam", "0"], "beam is 0"),
        (["--language-model", "no-such-file"], "--beam 4"),
        (["--language-model", "no-such-file", "--beam", "4"], "cannot be read as an ARPA"),
        (["--numbers", "written", "--language", "ru-RU"], "cannot be written in digits"),
        (["--turn-end", "3"], "80 to 60000"),
        (["--mask", "src"], "cannot read src"),
    ],
)
def test_invalid_option_is_one_line_of_error(run, options, message):
    code, out, err = run("transcribe", SAMPLE, *options)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_phrase_has_weight_and_aliases():
    phrase = parse_phrase("Nguyen Van ^2 | win van")
    assert (phrase.text, phrase.weight, phrase.aliases) == ("Nguyen Van", 2.0, ("win van",))
    assert parse_phrase("calling").weight == 1.0


def test_short_turn_end_shortens_the_other_turn_rules():
    turns = TranscriptionOptions(turn_end=100).stream_options(None).turns
    assert (turns.end_ms, turns.eager_ms, turns.sentence_end_ms) == (100, 100, 100)
