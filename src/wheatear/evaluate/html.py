"""The report as a single HTML file without external resources."""

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from wheatear.evaluate.plots import draw
from wheatear.evaluate.report import Section, Table

_STYLE = """
:root { color-scheme: light; --line: #d8dde3; --soft: #5b6672; --band: #f4f6f8 }
body { font: 15px/1.5 system-ui, sans-serif; color: #1c232b; margin: 2rem auto; max-width: 72rem;
  padding: 0 1rem }
h1 { font-size: 1.6rem } h2 { font-size: 1.15rem; margin-top: 2.2rem }
p { color: var(--soft); max-width: 60rem }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .88rem }
th, td { padding: .3rem .7rem; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top }
th { position: sticky; top: 0; background: var(--band); white-space: nowrap }
tr:hover td { background: var(--band) }
svg { max-width: 100%; height: auto; margin-top: 1rem }
"""


def page(title: str, parts: Iterable[Section], summary: Mapping[str, Any]) -> str:
    """The report as HTML, with its plots as inline SVG."""
    body = [f"<h1>{escape(title)}</h1>"]
    for part in parts:
        body.append(f"<section><h2>{escape(part.title)}</h2>")
        if part.text:
            body.append(f"<p>{escape(part.text)}</p>")
        if part.table:
            body.append(_table(part.table))
        if part.plot and (svg := draw(summary, part.plot)):
            body.append(f"<figure>{svg}</figure>")
        body.append("</section>")
    head = (
        f'<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style>"
    )
    start = f'<!doctype html>\n<html lang="en"><head>{head}</head><body>'
    return "\n".join([start, *body, "</body></html>\n"])


def _table(table: Table) -> str:
    heads = "".join(f'<th scope="col">{escape(head)}</th>' for head in table.heads)
    rows = "\n".join(
        "<tr>" + "".join(f'<td dir="auto">{escape(cell)}</td>' for cell in row) + "</tr>"
        for row in table.rows
    )
    return (
        f'<div class="wide"><table><thead><tr>{heads}</tr></thead>'
        f"<tbody>\n{rows}\n</tbody></table></div>"
    )
