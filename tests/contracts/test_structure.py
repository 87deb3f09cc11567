"""Structure of the package: imports, file lengths, private fields, test files, commands."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from arrows import ARROWS, draw

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "wheatear"

_OURS = ("wheatear", "recipes", "benchmarks")


def imported_modules(file):
    """Dotted names of modules of this repository that a file imports, at any depth."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] in _OURS)


def test_the_drawing_shows_the_arrows():
    assert (ROOT / "docs" / "architecture.svg").read_text() == draw()


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


@pytest.mark.parametrize("package", ARROWS)
def test_imports_point_one_way(package):
    place = SOURCE / package
    files = place.rglob("*.py") if place.is_dir() else [place.with_suffix(".py")]
    allowed = {package, "errors", "__version__", *ARROWS[package].split()}
    against = {
        (file.relative_to(SOURCE).as_posix(), module)
        for file in files
        for module in imported_modules(file)
        if module != "wheatear" and module.split(".")[1] not in allowed
    }
    assert not against


# Folders within train/: data and network know nothing of runs, nor of each other.
TRAIN_ARROWS = {"data": set(), "network": set(), "run": {"data", "network"}}


@pytest.mark.parametrize("folder", TRAIN_ARROWS)
def test_imports_within_train_point_one_way(folder):
    for file in (SOURCE / "train" / folder).glob("*.py"):
        for module in imported_modules(file):
            if module.startswith("wheatear.train."):
                imported = module.split(".")[2]
                assert imported in TRAIN_ARROWS[folder] | {folder}, f"{file} imports {module}"


# Modules and folders of server/ by layer: each imports its own layer and those before it.
SERVER_LAYERS = (
    "api_errors audio_formats background file_descriptors logs openapi parameters router scheduler "
    "settings watchdog",
    "access metrics served_models",
    "service session",
    "protocols",
    "endpoints",
    "app",
    "main",
)


def test_imports_within_server_point_one_way():
    layers = {name: n for n, names in enumerate(SERVER_LAYERS) for name in names.split()}
    folder = SOURCE / "server"
    for file in set(folder.rglob("*.py")) - {folder / "__init__.py"}:
        own = file.relative_to(folder).parts[0].removesuffix(".py")
        for module in imported_modules(file):
            if module.startswith("wheatear.server."):
                assert layers[module.split(".")[2]] <= layers[own], f"{file} imports {module}"


def test_a_protocol_imports_no_other_protocol():
    for file in (SOURCE / "server" / "protocols").glob("*.py"):
        protocol = file.stem.split("_")[0]
        for module in imported_modules(file):
            if module.startswith("wheatear.server.protocols."):
                assert module.split(".")[3].split("_")[0] == protocol, f"{file} imports {module}"


# Each may import from those before it.
RECOGNIZER = [
    "options",
    "loaded_model",
    "external",
    "loading",
    "engine",
    "stream",
    "recognizer",
    "channels",
]


def test_imports_within_recognizer_point_one_way():
    for file in (SOURCE / "recognizer").glob("[!_]*.py"):
        before = RECOGNIZER[: RECOGNIZER.index(file.stem)]
        names = (module.split(".") for module in imported_modules(file))
        own = {name[2] for name in names if name[:2] == ["wheatear", "recognizer"]}
        assert own <= set(before), file


def test_every_package_has_its_arrows():
    found = {p.stem for p in SOURCE.iterdir() if p.suffix == ".py" or (p / "__init__.py").is_file()}
    assert found - {"__init__", "__main__"} == set(ARROWS)


_MAX_LINES = 400
# Modules without a test file of their name.
UNTESTED = {"__init__.py"}  # tested by test_public_names_are_imported_on_first_use
_MIN_TESTED_LINES = 60


def lines_of(file):
    return len(file.read_text(encoding="utf-8").splitlines())


def test_files_have_at_most_400_lines():
    files = {f.relative_to(SOURCE).as_posix(): lines_of(f) for f in SOURCE.rglob("*.py")}
    assert {name for name, lines in files.items() if lines > _MAX_LINES} == set()


def test_each_module_has_a_test_file_of_its_name():
    missing = set()
    for file in SOURCE.rglob("*.py"):
        place = file.relative_to(SOURCE)
        test = ROOT / "tests" / place.with_name(f"test_{place.name}")
        if not test.is_file() and lines_of(file) > _MIN_TESTED_LINES:
            missing.add(place.as_posix())
    assert missing == UNTESTED


def private_names(file):
    """Attributes with a leading underscore that a file reads of something but self and cls."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and re.match("_[a-z]", node.attr):
            owner = node.value.id if isinstance(node.value, ast.Name) else ""
            if owner not in {"self", "cls", "ctypes"}:
                yield f"{owner}.{node.attr}"


def test_private_fields_stay_private():
    found = {name for file in SOURCE.rglob("*.py") for name in private_names(file)}
    assert found == {"os._exit"}  # public, in spite of its name


def test_torch_is_imported_only_for_training():
    """And for engines of other projects in evaluate/engines."""
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
            place = path.relative_to(SOURCE)
            peer = place.match("evaluate/engines/*.py")
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


def test_public_names_are_imported_on_first_use():
    names = "import wheatear; print(all(getattr(wheatear, name) for name in wheatear.__all__))"
    done = subprocess.run(
        [sys.executable, "-c", names + "; print(wheatear.model.latency.__name__)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["True", "wheatear.model.latency"]
