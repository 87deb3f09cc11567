"""The house stays as drawn: a light import, arrows one way, the README's commands the real ones."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "wheatear"

# Left to right: a room may import from rooms before it.
FLOW = """
    privacy errors checks printable durable textfile bounds confine
    results latency locales languages scripts features encodings sources archives
    mpeg ogg kinds wav parts accounting unpack media decoding mixing audio pcm protobuf
    pieces catalogue bundle initialisers sessions caches native graph_step native_step encoder
    silence text phrases graph_decoder native_decoder decoder lm beam foreign words segments voice
    times turns transcript digits forms recognizer channels formats budget scheduler figures
""".split()  # noqa: SIM905  (one name a line would be 30 lines)


def test_import_is_light():
    """No torch, no web framework, nothing that only converting needs."""
    program = "import sys, wheatear; print(*sys.modules)"
    out = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    heavy = {
        "av",
        "torch",
        "onnx",
        "starlette",
        "pydantic",
        "huggingface_hub",
        "yaml",
        "cyclopts",
        "rich",
        "kaldialign",
        "matplotlib",
        "wheatear.evaluate",
    }
    assert not heavy & set(out)


@pytest.mark.parametrize("room", FLOW)
def test_data_flows_one_way(room):
    one = SOURCE / f"{room}.py"
    files = [one] if one.is_file() else list((SOURCE / room).glob("*.py"))
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text()))]
    modules = [n.module for n in nodes if isinstance(n, ast.ImportFrom) and n.module]
    rooms = {m.split(".")[1] for m in modules if m.startswith("wheatear.")} - {room}
    assert rooms <= set(FLOW[: FLOW.index(room)])


def test_every_room_is_in_the_flow():
    files = {path.stem for path in SOURCE.glob("*.py")} - {"__init__", "__main__"}
    folders = {room for room in FLOW if (SOURCE / room).is_dir()}
    assert files | folders == set(FLOW)


def test_torch_is_imported_for_training_alone():
    """And to measure what others made with it."""
    for path in SOURCE.rglob("*.py"):
        names = {
            name
            for node in ast.walk(ast.parse(path.read_text()))
            for name in (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
        }
        if any(name.split(".")[0] == "torch" for name in names):
            # What runs NeMo or transformers beside us is for who has them.
            place = path.relative_to(SOURCE)
            peer = place.parts[:2] == ("bench", "peers") or place.match("evaluate/engines/*.py")
            assert place.parts[0] == "train" or peer


def test_ci_runs_the_readmes_test_command():
    readme = (ROOT / "README.md").read_text()
    blocks = re.findall(r"```(?:sh|console|bash)\n(.*?)```", readme, re.DOTALL)
    assert len(blocks) >= 2
    ci = (ROOT / ".ci" / "run").read_text()
    test_command = next(block for block in blocks if "pytest" in block)
    for line in filter(None, test_command.strip().splitlines()):
        assert line in ci
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_everything_public_is_found_when_it_is_asked_for():
    names = "import wheatear; print(all(getattr(wheatear, name) for name in wheatear.__all__))"
    done = subprocess.run(
        [sys.executable, "-c", names + "; print(wheatear.latency.__name__)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["True", "wheatear.latency"]
