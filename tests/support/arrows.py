"""Imports that are allowed between the folders of the package, and a drawing of them.

    python tests/support/arrows.py > docs/architecture.svg

`tests/contracts/test_structure.py` holds the code against `ARROWS`.
"""

from functools import cache

# The folders that each folder may import from, besides itself and errors.py.
ARROWS = {
    "errors": "",
    "common": "",
    "audio": "common",
    "model": "common audio",
    "encoder": "common audio model",
    "decoder": "common model",
    "transcript": "common audio model decoder",
    "recognizer": "common audio model encoder decoder transcript",
    "convert": "common audio model encoder decoder",
    "evaluate": "common audio model decoder transcript recognizer",
    "server": "common audio model decoder transcript recognizer",
    "bench": "common audio model decoder recognizer convert",
    "train": "common audio model convert evaluate",
    "cli": "common audio model decoder transcript recognizer convert evaluate bench train server",
}
# Column, row and job of each folder in the drawing.
PLACES = {
    "audio": (0, 1, "bytes to log-mel"),
    "model": (1, 1, "a model on disk"),
    "encoder": (2, 0, "mel to frames"),
    "decoder": (2, 1, "frames to tokens"),
    "transcript": (3, 2, "tokens to words"),
    "recognizer": (4, 2, "the public face"),
    "convert": (5, 0, "checkpoint to bundle"),
    "evaluate": (5, 1, "accuracy, latency"),
    "train": (6, 1, "the network in torch"),
    "server": (6, 2, "the live service"),
    "bench": (6, 3, "speed"),
    "cli": (7, 2, "the command"),
}
_WIDTH, _HEIGHT, _COLUMN, _ROW, _MARGIN = 130, 46, 172, 74, 16


def reduced_arrows() -> dict[str, set[str]]:
    """Returns for each folder what it imports, without what another import implies."""
    imports = {name: set(ARROWS[name].split()) & PLACES.keys() for name in PLACES}

    @cache
    def reached(name: str) -> frozenset[str]:
        return frozenset(imports[name]).union(*map(reached, imports[name]))

    return {
        name: {one for one in direct if not any(one in reached(other) for other in direct)}
        for name, direct in imports.items()
    }


def draw() -> str:
    """Returns an SVG of the folders; an arrow points from a folder to those that import it."""
    places = {
        name: (_MARGIN + column * _COLUMN, _MARGIN + row * _ROW)
        for name, (column, row, _) in PLACES.items()
    }
    lines = []
    for name, sources in reduced_arrows().items():
        x, y = places[name]
        for source in sorted(sources):
            left, top = places[source]
            start, end = (left + _WIDTH, top + _HEIGHT // 2), (x - 3, y + _HEIGHT // 2)
            bend = (_COLUMN - _WIDTH) // 2
            lines.append(
                f'<path d="M{start[0]} {start[1]} C{start[0] + bend} {start[1]} '
                f'{end[0] - bend} {end[1]} {end[0]} {end[1]}" marker-end="url(#head)"/>'
            )
    for name, (x, y) in places.items():
        middle = x + _WIDTH // 2
        lines += [
            f'<rect x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="6"/>',
            f'<text x="{middle}" y="{y + 19}" class="name">{name}/</text>',
            f'<text x="{middle}" y="{y + 36}">{PLACES[name][2]}</text>',
        ]
    width = max(x for x, _ in places.values()) + _WIDTH + _MARGIN
    height = max(y for _, y in places.values()) + _HEIGHT + _MARGIN
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">
<title>Folders of src/wheatear; an arrow points from a folder to those that import it</title>
<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7"
orient="auto"><path d="M0 0L8 4L0 8z" fill="#57606a" stroke="none"/></marker></defs>
<style>path{{fill:none;stroke:#57606a;stroke-width:1.2}}rect{{fill:#f6f8fa;stroke:#57606a}}
text{{font:11px sans-serif;fill:#424a53;text-anchor:middle}}
#head path{{fill:#57606a}}
.name{{font:bold 14px monospace;fill:#1f2328}}.page{{fill:#fff;stroke:none}}</style>
<rect class="page" width="{width}" height="{height}"/>
{chr(10).join(lines)}
</svg>
"""


if __name__ == "__main__":
    print(draw(), end="")
