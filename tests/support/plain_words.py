"""Finds private language and British spelling in code, comments and documents.

    python tests/support/plain_words.py src/wheatear/audio docs/models.md

prints a line for each find. `tests/contracts/test_words.py` keeps the repository clean.
"""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]

# A docstring begins with a noun phrase or a verb in the third person.
FIRST_WORDS = {"what", "whether", "how", "of", "that", "where", "as", "who", "whose", "which"}

# Machines have no voice, actors have names, parameters have names.
PHRASES = (
    r"tells?|told|says?|said|hears?|heard|asks?|asked|whoever|nobody|somebody|everybody|anew"
    r"|so (?:many|much|long|late|far)|(?:goes|go|going|gone|went) on(?! to)|(?:let|lets|letting) in"
    r"|(?:turned|turns|turn) away|held against|alone|argues?|argued|through with|nothing but"
    r"|none but|an hour before|read once more|the other day"
)
BRITISH = (
    r"\w*(?:quantis|normalis|initialis|recognis|tokenis|serialis|synthesise|optimis(?!t)|summaris"
    r"|minimis|maximis|generalis|organis|capitalis|punctualis|authoris|emphasis(?:e|ed|es|ing)\b"
    r"|finalis|realis(?!m|t)|favour|behaviour|colour|neighbour|honour|labour(?!ator))\w*"
    r"|licences?|licenced|catalogues?|centred?(?!\w)|grey|learnt|spelt|cancelled|cancelling|labelled"
    r"|labelling|modelling|travelled|whilst|programme"
)
WORDS = re.compile(rf"\b(?:{PHRASES}|{BRITISH})\b", re.IGNORECASE)
# Parts of identifiers.
NAMES = re.compile(
    r"(?:^|_)(?:tells?|told|says?|said|hears?|heard|asks?|asked|whoever|nobody|anew|alone)(?:_|$)"
    r"|quantis|normalis|initialis|recognis|licence|favour|catalogue|behaviour|colour|neighbour",
    re.IGNORECASE,
)
# Names of other projects' fields and files, and the words of quoted protocols.
FOREIGN = re.compile(r"\"[^\"\n]*\"|`[^`\n]*`|https?://\S+")


def prose(text: str) -> Iterator[str]:
    """Yields the banned words of a text, outside of quotes, code and addresses."""
    for match in WORDS.finditer(FOREIGN.sub(" ", text)):
        yield match[0]


def docstrings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yields docstrings, those of fields and constants included, with their line."""
    for node in ast.walk(tree):
        body = getattr(node, "body", ())
        for statement in body if isinstance(body, list) else ():
            match statement:
                case ast.Expr(value=ast.Constant(value=str() as text)):
                    yield statement.lineno, text


def in_python(text: str) -> Iterator[tuple[int, str]]:
    """Yields line and complaint for docstrings, comments and identifiers of a program."""
    tree = ast.parse(text)
    for line, docstring in docstrings(tree):
        first = re.match(r"\W*(\w+)", docstring)
        if first and first[1].lower() in FIRST_WORDS:
            yield line, f"begins with {first[1]!r}"
        for word in prose(docstring):
            yield line, word
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            for word in prose(token.string):
                yield token.start[0], word
        elif token.type == tokenize.NAME and NAMES.search(token.string):
            yield token.start[0], f"identifier {token.string}"
    for node in ast.walk(tree):  # texts for people: help, errors
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            for word in prose(node.value):
                yield node.lineno, word


def in_document(text: str) -> Iterator[tuple[int, str]]:
    """Yields line and word for a Markdown document; blocks of code are left out."""
    code = False
    for number, line in enumerate(text.splitlines(), 1):
        code ^= line.lstrip().startswith("```")
        if not code:
            for word in prose(line):
                yield number, word


def in_source(text: str) -> Iterator[tuple[int, str]]:
    """Yields line and word for comments and texts of C++, JavaScript, CSS and HTML."""
    for number, line in enumerate(text.splitlines(), 1):
        for word in prose(line):
            yield number, word


def in_settings(text: str) -> Iterator[tuple[int, str]]:
    """Yields line and word for the comments of settings and scripts: lines that begin with #."""
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("#"):
            for word in prose(line):
                yield number, word


# By suffix; by name for files without one.
READERS = {
    ".py": in_python, ".md": in_document, ".h": in_source, ".cpp": in_source, ".js": in_source,
    ".html": in_source, ".css": in_source, ".toml": in_settings, ".yaml": in_settings,
    ".conf": in_settings, ".service": in_settings, ".sh": in_settings, "Dockerfile": in_settings,
}  # fmt: skip


def finds(place: Path) -> list[str]:
    """Returns `path:line: word` for a file or for all files below a folder."""
    files = [place] if place.is_file() else sorted(place.rglob("*"))
    lines = []
    for file in files:
        if file == Path(__file__):  # its lists are what it looks for
            continue
        is_data = "data" in file.relative_to(ROOT).parts[:3]
        if (reader := READERS.get(file.suffix or file.name)) and not is_data:
            found = sorted(set(reader(file.read_text(encoding="utf-8"))))
            lines += [f"{file.relative_to(ROOT)}:{line}: {word}" for line, word in found]
    return lines


if __name__ == "__main__":
    print(*(line for place in sys.argv[1:] for line in finds(Path(place).resolve())), sep="\n")
