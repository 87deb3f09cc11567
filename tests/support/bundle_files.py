"""Changes to the files of a bundle, with or without their hashes."""

import hashlib
import json
from pathlib import Path
from typing import Any


def rewrite_manifest(bundle: Path, **changes: Any) -> None:
    """Replaces entries of the manifest."""
    path = bundle / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def replace_file(bundle: Path, name: str, data: bytes) -> None:
    """Replaces the content of a file, and its hash in the manifest."""
    (bundle / name).write_bytes(data)
    path = bundle / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"][name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    path.write_text(json.dumps(manifest))
