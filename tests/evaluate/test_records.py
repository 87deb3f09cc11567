"""Lines of utterances.jsonl."""

import json

from wheatear.evaluate.records import (
    UTTERANCES,
    Condition,
    Record,
    Scoring,
    from_line,
    read_records,
    score,
    to_line,
    write_records,
)


def record_of(hypothesis="hello world", prompt="auto", language="english"):
    condition = Condition("a system", "int8", "stream", 80, prompt)
    return Record(condition, "a.wav", "en-US", "", None, 1.0, "Hello, word.", hypothesis, language)


def test_line_has_errors_and_gives_the_record_back():
    record = record_of()
    line = json.loads(to_line(record, score(record, Scoring())))
    assert (line["errors"], line["length"], line["unit"]) == (1, 2, "word")
    assert line["written"] == {"marks": 2, "wrong_marks": 2, "cased": 1, "miscased": 1}
    assert from_line(line) == record


def test_detected_language_is_right_in_any_notation():
    assert score(record_of(language="english"), Scoring()).language_right is not None
    assert score(record_of(language="en-GB"), Scoring()).language_right is True
    assert score(record_of(language="de"), Scoring()).language_right is False
    assert score(record_of(language=None), Scoring()).language_right is None
    assert score(record_of(prompt="given"), Scoring()).language_right is None


def test_incomplete_lines_are_left_out(tmp_path):
    record = record_of()
    scored = record, score(record, Scoring())
    write_records(tmp_path / UTTERANCES, [scored])
    with (tmp_path / UTTERANCES).open("a") as file:
        file.write(to_line(*scored)[:40])
    assert read_records(tmp_path) == {record.key: record}


def test_no_records_leave_no_file(tmp_path):
    (tmp_path / UTTERANCES).write_text("old")
    write_records(tmp_path / UTTERANCES, [])
    assert list(tmp_path.iterdir()) == []
    assert read_records(tmp_path) == {}
