"""`wheatear bench serve` against a server."""

import json

import pytest
from server_process import running

from wheatear.cli import main


def test_trials_are_printed_and_written(tmp_path, capsys):
    out = tmp_path / "trials.json"
    with running() as server:
        command = f"bench serve --url {server.url} --latency 560 --streams 1,2 --seconds 6"
        with pytest.raises(SystemExit) as ended:
            main([*command.split(), "--json", str(out)])
    assert ended.value.code == 0
    written = json.loads(out.read_text())
    assert [(t["streams"], t["latency_ms"]) for t in written["trials"]] == [(1, 560), (2, 560)]
    assert all(t["lag_ms_p50"] > 0 for t in written["trials"])
    assert "560 ms, 2 streams: lag" in capsys.readouterr().out


@pytest.mark.parametrize("options", ["--seconds 1", "--url http://x --threads 2", "--latency 77"])
def test_invalid_option_is_an_error(options, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["bench", "serve", *options.split()])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("wheatear: ")
