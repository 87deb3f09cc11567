"""The command info."""

from checkpoints import ORACLE


def test_published_model_that_is_missing_is_described(run, monkeypatch, tmp_path):
    monkeypatch.setenv("WHEATEAR_MODELS", str(tmp_path))
    for name in ("nemotron-3.5", "nvidia/nemotron-3.5-asr-streaming-0.6b"):
        code, out, err = run("info", name)
        assert (code, err) == (0, "")
        for part in (f"wheatear pull {name}", "80, 160, 320, 560, 1120 ms", "2.5 GB", "OpenMDW"):
            assert part in out
        assert "ja-JP" in out
    assert "320" not in run("info", "nemotron-en")[1]


def test_converted_model_is_described(run, tmp_path):
    out = tmp_path / "bundle"
    code, text, _ = run("convert", ORACLE / "tiny-multi.nemo", out, "--precision", "int4")
    assert code == 0
    assert "int4" in text
    assert "encoder output differs by" in text
    code, text, _ = run("info", out)
    assert code == 0
    for part in ("int4", "80, 160, 320 (default), 560, 1120 ms", "ja-JP", "encoder.weights"):
        assert part in text
