"""Every key of NVIDIA's prompt dictionary, and the forty locales as a table."""

import json
from dataclasses import replace

import pytest
from published_prompts import PUBLISHED

from wheatear.cli import main
from wheatear.cli.locales import locale_rows
from wheatear.errors import LanguageError
from wheatear.model.bundle import open_bundle
from wheatear.model.languages import resolve_language
from wheatear.model.locales import LOCALES, error_unit, has_spaces, language_of
from wheatear.model.store import find_bundle

# Nemotron 3.5's dictionary as published (id, then its keys), the same in transformers 5.23.0.
NORWEGIAN = {"no", "no-NO"}  # their slot was never trained: Bokmål is meant


def test_the_dictionary_is_whole():
    assert len(PUBLISHED) == 121
    assert len(set(PUBLISHED.values())) == 84


@pytest.mark.parametrize("key", PUBLISHED)
def test_every_key_means_itself(key):
    wanted = "nb-NO" if key in NORWEGIAN else key
    for written in (key, key.upper(), key.lower(), key.replace("-", "_"), f" {key} "):
        assert resolve_language(PUBLISHED, written) == wanted


@pytest.mark.parametrize("key", [key for key in PUBLISHED if "-" in key])
def test_every_language_has_a_usual_locale(key):
    language = language_of(key)
    found = resolve_language(PUBLISHED, language)
    usual = {"en": "en", "es": "es-US", "pt": "pt-PT", "zh": "zh-CN", "fr": "fr-FR", "no": "nb-NO"}
    expected = PUBLISHED.get(usual.get(language, language), PUBLISHED[key])
    assert PUBLISHED[found] == expected


@pytest.mark.parametrize("locale", LOCALES, ids=lambda locale: locale.id)
def test_names_and_other_codes_of_the_forty(locale):
    """With a region or a qualified name: the locale. Without: what the bare language means."""
    bare = PUBLISHED[resolve_language(PUBLISHED, locale.language)]
    for alias in locale.aliases:
        expected = PUBLISHED[locale.id] if "-" in alias else bare
        assert PUBLISHED[resolve_language(PUBLISHED, alias.lower().replace("-", "_"))] == expected
    for name in (locale.english, locale.own):
        if "(" in name and locale.language != "en":
            assert PUBLISHED[resolve_language(PUBLISHED, name)] == PUBLISHED[locale.id]
        assert PUBLISHED[resolve_language(PUBLISHED, name.partition(" (")[0].upper())] == bare
    with pytest.raises(LanguageError):
        resolve_language({"xx-XX": 0, "yy-YY": 1}, locale.english)


def test_the_forty():
    assert len({locale.id for locale in LOCALES}) == len(LOCALES) == 40
    assert {locale.id for locale in LOCALES} <= set(PUBLISHED)
    tiers = [locale.tier for locale in LOCALES]
    assert [tiers.count(t) for t in dict.fromkeys(tiers)] == [19, 13, 8]
    by_character = {locale.id for locale in LOCALES if locale.unit == "character"}
    assert by_character == {"ja-JP", "ko-KR", "zh-CN", "th-TH"}
    assert {locale.id for locale in LOCALES if not locale.spaces} == by_character - {"ko-KR"}


def test_units_of_other_locales():
    assert [error_unit(tag) for tag in ("zh-TW", "km_KH", "lo", "hi-IN", "auto")] == [
        *["character"] * 3,
        *["word"] * 2,
    ]
    assert has_spaces("ur-PK")
    assert not has_spaces("yue-HK")


def test_rows_are_what_the_dictionary_says(bundle_of):
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


def test_the_command(run, bundle_of):
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
