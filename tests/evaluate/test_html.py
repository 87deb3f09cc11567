"""The report as a page."""

from __future__ import annotations

from html.parser import HTMLParser

from wheatear.evaluate.html import page
from wheatear.evaluate.report import sections


class _Page(HTMLParser):
    """Checks that tags are nested, and collects references and ids."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.references: list[str] = []
        self.ids: list[str] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        for name, value in attrs:
            if name in ("href", "src", "xlink:href") or (value and "url(" in value):
                self.references.append(value)
            if name == "id":
                self.ids.append(value)
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_page_has_no_external_references(summary, results):
    parts = sections(summary, results.scored)
    text = page("A <title> & more", parts, summary)
    found = _Page()
    found.feed(text)
    assert found.open == []
    assert (
        found.seen.count("svg") == 5
    )  # side by side, rates of two systems, what goes wrong, times
    assert all(reference.lstrip("url(").startswith("#") for reference in found.references)
    assert "A <title> & more" in found.text
    assert "shh <b>" in found.text
    assert "<script" not in text
    targets = {reference.removeprefix("url(").strip("#)") for reference in found.references}
    assert targets <= set(found.ids)
    for target in targets:  # ids are unique
        assert found.ids.count(target) == 1
