"""`wheatear locales` lists the locales of a model."""

import json
from dataclasses import replace

import pytest
from published_prompts import PUBLISHED

from wheatear.cli import main
from wheatear.cli.locales import locale_rows
from wheatear.model.bundle import open_bundle
from wheatear.model.locales import LOCALES
from wheatear.model.store import find_bundle


def test_rows_have_the_keys_of_the_prompt_dictionary(bundle_of):
    manifest = open_bundle(bundle_of("tiny-multi")).manifest
    rows = {row["locale"]: row for row in locale_rows(manifest)}
    assert len(rows) == 40
    for locale, row in rows.items():
        assert row["id"] == manifest.prompts.get(locale)
        assert [manifest.prompts[key] for key in row["keys"]] == [row["id"]] * len(row["keys"])
    everything = replace(manifest, prompts={**PUBLISHED, "fr-CA": PUBLISHED["fr-FR"]})
    rows = {row["locale"]: row for row in locale_rows(everything)}
    assert {key for row in rows.values() for key in row["keys"]} == set(PUBLISHED) - {"auto"}
    assert rows["fr-CA"]["keys"] == rows["fr-FR"]["keys"]
    assert rows["km-KH"]["tier"] is None
    assert (rows["km-KH"]["unit"], rows["km-KH"]["spaces"]) == ("character", False)


@pytest.fixture
def run(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")

    def call(*arguments):
        with pytest.raises(SystemExit) as exit_:
            main([str(a) for a in arguments])
        assert exit_.value.code == 0
        return capsys.readouterr().out

    return call


def test_command_lists_locales_of_a_model(run, bundle_of):
    out = run("locales")
    shipped = open_bundle(find_bundle(None)).manifest.prompts
    assert all((locale.id in out) == (locale.id in shipped) for locale in LOCALES)
    assert "Deutsch" in out
    everything = run("locales", "--all")
    assert all(locale.id in everything for locale in LOCALES)
    rows = json.loads(run("locales", "--model", bundle_of("tiny-multi"), "--json"))
    assert {row["locale"] for row in rows} <= set(
        open_bundle(bundle_of("tiny-multi")).manifest.prompts
    )
    assert "one language" in run("locales", "--model", bundle_of("tiny-en"))
