"""Voice agents of Pipecat and LiveKit with their OpenAI and Deepgram plug-ins.

They are installed into a separate environment, which pytest's cache keeps.
"""

import hashlib
import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest
import soundfile
from doc_snippets import BLOCKS
from filelock import FileLock

CLIENTS = Path(__file__).parents[1] / "support" / "clients"
REQUIREMENTS = CLIENTS / "requirements.txt"


@pytest.fixture(scope="session")
def clients_python(request):
    """The Python of an environment with the clients."""
    version = f"{REQUIREMENTS.read_text()} {sys.version}"
    key = hashlib.sha256(version.encode()).hexdigest()[:12]
    folder = request.config.cache.mkdir(f"clients-{key}")
    python = folder / "bin" / "python"
    with FileLock(f"{folder}.lock"):  # test processes share the environment
        if not (folder / "whole").exists():
            venv.create(folder, clear=True, with_pip=True)
            # They are all named, so that pip has nothing to find out.
            pip = [python, "-m", "pip", "install", "--quiet", "--no-compile", "--no-deps"]
            command = [*pip, "-r", REQUIREMENTS]
            done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
            if done.returncode:
                reason = f"Pipecat and LiveKit cannot be installed: {done.stderr[-500:]}"
                if os.environ.get("CI"):
                    pytest.fail(reason)
                pytest.skip(reason)
            (folder / "whole").touch()
    return python


@pytest.fixture(scope="module")
def outputs(server, clients_python, tmp_path_factory, spoken):
    """Output of each client for the recording; both run at once, as each takes real time."""
    recording = tmp_path_factory.mktemp("recording") / "spoken.wav"
    soundfile.write(recording, spoken, 16_000)
    running = {
        name: subprocess.Popen(
            [clients_python, CLIENTS / f"{name}_client.py", f"{server.url}/v1", recording],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for name in ("pipecat", "livekit")
    }  # fmt: skip
    printed = {}
    for name, process in running.items():
        try:
            out, err = process.communicate(timeout=90)
        finally:
            process.kill()
        assert process.returncode == 0, err[-3000:]
        printed[name] = json.loads(out)
    server.wait_for_rest()
    return printed


@pytest.mark.parametrize("block", [b for b in BLOCKS if "pipecat" in b or "livekit" in b])
def test_snippets_of_the_documentation(clients_python, block):
    """The programs create services; other tests connect them to a server."""
    done = subprocess.run(
        [clients_python, "-c", block], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_nothing_was_logged(outputs):
    """But that LiveKit's own detector found the machine busy, with other tests perhaps."""
    logged = [line for client in outputs.values() for line in client["logged"]]
    assert [line for line in logged if "VAD inference is slower" not in line] == []


def test_pipecat(outputs):
    sessions = {name: one for name, one in outputs["pipecat"].items() if name != "logged"}
    for name, one in sessions.items():
        assert one["errors"] == [], name
        assert len(one["final"]) == 1, name
        assert "sorry" in one["final"][0].lower(), name
        assert one["kinds"][-1] == "final", name
    for name in ("server_vad", "semantic_vad", "local_vad"):
        one = sessions[name]
        assert "".join(one["interim"]) == one["final"][0], name
        assert len(one["interim"]) >= 4, name
    for name in ("server_vad", "semantic_vad"):
        kinds = sessions[name]["kinds"]
        assert (kinds[0], kinds[-2]) == ("started", "stopped"), name
        assert kinds[1] == "interim", name
    deepgram = sessions["deepgram"]
    assert all(deepgram["final"][0].startswith(text) for text in deepgram["interim"])
    assert len(deepgram["interim"]) >= 4


def test_livekit(outputs):
    sessions = {name: one for name, one in outputs["livekit"].items() if name != "logged"}
    for name, one in sessions.items():
        (text, language), *more = one["final"]
        assert not more, name
        assert "sorry" in text.lower(), name
        assert language.startswith("en"), name
    for name in ("server_vad", "semantic_vad", "named", "local_vad"):
        one = sessions[name]
        first, *between, final, usage = one["kinds"]
        assert first == "start_of_speech", name
        assert (final, usage) == ("final_transcript", "recognition_usage"), name
        assert between.count("end_of_speech") == 1, name
        # A client that detects speech itself may be ahead of text that is on its way.
        assert between[-1] == "end_of_speech" or name == "local_vad", name
        assert len(one["interim"]) >= 3, name
        assert all(one["final"][0][0].startswith(text) for text in one["interim"]), name
    deepgram = sessions["deepgram"]
    assert deepgram["kinds"][0] == "start_of_speech"
    assert deepgram["kinds"][-3:] == ["final_transcript", "end_of_speech", "recognition_usage"]
    assert len(deepgram["interim"]) >= 4
    assert sessions["server_vad"]["usage"][0] == pytest.approx(4.0, abs=1)
