"""Published figures, and their comparison with a summary."""

from __future__ import annotations

import pytest

from wheatear.evaluate.published.tables import compare, english, fleurs
from wheatear.model.locales import LOCALES


@pytest.mark.parametrize("table", [fleurs(), english()], ids=lambda table: table.name)
def test_published_means_are_those_of_their_rows(table):
    """Up to the rounding of the published figures."""
    for row in table.rows:
        values = list(row.rates.values())
        assert row.mean == pytest.approx(sum(values) / len(values), abs=0.011)
    keys = {(row.source, row.latency_ms, row.prompt) for row in table.rows}
    assert len(keys) == len(table.rows)


def test_tables_are_complete():
    rows = fleurs().rows
    assert len(rows) == 2 * 2 * 5
    tiers = {locale.language: locale.tier for locale in LOCALES}
    for row in rows:
        tier = row.source.rpartition(", ")[2]
        assert len(row.rates) == (15 if tier == "transcription-ready" else 13)
        assert {tiers[language] for language in row.rates} == {tier}
    # A longer latency is never much worse, nor is a given language.
    rates = {(r.latency_ms, r.prompt, language): v for r in rows for language, v in r.rates.items()}
    for (latency, prompt, language), value in rates.items():
        assert rates[1120, prompt, language] <= value + 0.05
        assert rates[latency, "auto", language] >= rates[latency, "given", language] - 0.15
    assert fleurs().latencies == (80, 160, 320, 560, 1120)
    assert english().latencies == (80, 160, 560, 1120)
    assert {len(row.rates) for row in english().rows} == {8}


def test_rows_of_a_precision_are_compared_with_bundles_of_it():
    rows = [
        {"system": name, "precision": precision, "latency_ms": 560, "prompt": "given",
         "group": "ami", "locale": "en-US", "error_rate": {"value": 10.0, "low": 9.0, "high": 11.0}}
        for name, precision in (("a", "fp32"), ("b", "int4"))
    ]  # fmt: skip
    found = compare(english(), {"rows": rows})
    by = {name: [c.published.source for c in found if c.system == name] for name in "ab"}
    assert sum("ONNX FP32" in source for source in by["a"]) == 1
    assert sum("int4" in source for source in by["a"]) == 0
    assert sum("int4" in source for source in by["b"]) == 3
