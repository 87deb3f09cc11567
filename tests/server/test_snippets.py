"""The programs of docs/serving.md for OpenAI's and Deepgram's SDKs, run as they stand."""

import re
import subprocess
import sys

import pytest
import soundfile
from doc_snippets import BLOCKS


@pytest.mark.parametrize("block", [b for b in BLOCKS if re.search("from (openai|deepgram)", b)])
def test_snippets(quiet_server, spoken, tmp_path, block):
    soundfile.write(tmp_path / "speech.wav", spoken, 16_000)
    program = block.replace("localhost:8000", f"localhost:{quiet_server.port}")
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "sorry" in done.stdout


def test_there_is_one_for_each_client():
    for name in ("from openai", "from deepgram", "from pipecat", "from livekit"):
        assert any(name in block for block in BLOCKS)
