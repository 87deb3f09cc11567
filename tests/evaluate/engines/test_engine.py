"""Windows of engines without streams."""

from __future__ import annotations

from fake_engines import Clock, FakeEngine, tone

from wheatear.evaluate.engines.engine import Engine, FixedWindows, Hypothesis, matching_prompt


def test_windows_are_transcribed_one_after_another():
    engine = FakeEngine(Clock(), {3: "three", 2: "two"})
    session = FixedWindows(engine, None, 0.3)
    blocks = [tone(8)[at : at + 320] for at in range(0, 8 * 1600, 320)]
    partials = [partial.text for block in blocks for partial in session.push(block)]
    assert partials == ["three", "three three"]
    assert session.finish() == Hypothesis("three three two", "en")
    assert [tenths for tenths, _ in engine.calls] == [3, 3, 2]
    assert FixedWindows(engine, None, 1.0).finish() == Hypothesis("")


def test_prompt_of_the_same_language_matches():
    prompts = {"en-US": 0, "fr-CA": 1}
    assert matching_prompt(prompts, "fr-FR") == "fr-CA"
    assert matching_prompt(prompts, "ja-JP") is None


def test_engine_needs_only_a_name_and_transcribe():
    class Minimal(Engine):
        name = "minimal"

        def transcribe(self, samples, locale):
            return Hypothesis("text")

    engine = Minimal()
    assert (engine.language_for("de-DE"), engine.detects) == ("de-DE", False)
    session = engine.start_stream("de-DE", 2.0)
    assert list(session.push(tone(5))) == []
    assert session.finish() == Hypothesis("text")
