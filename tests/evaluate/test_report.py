"""Tables of the report, and the report as Markdown."""

from __future__ import annotations

from wheatear.evaluate.report import Section, Table, markdown, sections, side_by_side


def test_streaming_loss_is_relative_to_whole_files(summary):
    loss = {(r[0], r[1]): r[5] for r in side_by_side(summary, brief=True).rows if r[3] == "bob"}
    assert loss["good int8", "stream"] == "+0.00"
    assert loss["good int8", "whole"] == "-"


def test_markdown_has_all_sections_and_rows(summary, results):
    parts = sections(summary, results.scored)
    text = markdown("Title", parts)
    assert [line[3:] for line in text.splitlines() if line.startswith("## ")] == [
        part.title.replace("|", "\\|") for part in parts
    ]
    for part in parts:
        for row in part.table.rows if part.table else ():
            assert len(row) == len(part.table.heads)
    assert "bad \\| one fp32" in text
    assert "shh \\<b\\>" in text
    titles = [part.title for part in parts]
    assert titles[:2] == ["Systems", "Side by side"]
    assert {"Differences", "Left out", "Failed", "Most errors"} <= set(titles)


def test_cells_of_markdown_are_escaped():
    table = Table(("a|b",), (("x | y\n`z`",),))
    lines = markdown("t", [Section("s", "", table)]).splitlines()
    assert lines[-1] == "| x \\| y \\`z\\` |"
