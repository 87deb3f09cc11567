"""The forty locales, and every key of NVIDIA's prompt dictionary."""

import pytest
from published_prompts import PUBLISHED

from wheatear.errors import LanguageError
from wheatear.model.languages import resolve_language
from wheatear.model.locales import LOCALES, error_unit, has_spaces, language_of

# Nemotron 3.5's dictionary as published (id, then its keys), the same in transformers 5.23.0.
NORWEGIAN = {"no", "no-NO"}  # their slot was never trained: Bokmål is meant


def test_published_dictionary_is_complete():
    assert len(PUBLISHED) == 121
    assert len(set(PUBLISHED.values())) == 84


@pytest.mark.parametrize("key", PUBLISHED)
def test_key_in_any_spelling_is_itself(key):
    wanted = "nb-NO" if key in NORWEGIAN else key
    for written in (key, key.upper(), key.lower(), key.replace("-", "_"), f" {key} "):
        assert resolve_language(PUBLISHED, written) == wanted


@pytest.mark.parametrize("key", [key for key in PUBLISHED if "-" in key])
def test_bare_language_has_a_usual_locale(key):
    language = language_of(key)
    found = resolve_language(PUBLISHED, language)
    usual = {"en": "en", "es": "es-US", "pt": "pt-PT", "zh": "zh-CN", "fr": "fr-FR", "no": "nb-NO"}
    expected = PUBLISHED.get(usual.get(language, language), PUBLISHED[key])
    assert PUBLISHED[found] == expected


@pytest.mark.parametrize("locale", LOCALES, ids=lambda locale: locale.id)
def test_names_and_other_codes_resolve_to_the_locale(locale):
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


def test_locales_have_published_tiers_and_units():
    assert len({locale.id for locale in LOCALES}) == len(LOCALES) == 40
    assert {locale.id for locale in LOCALES} <= set(PUBLISHED)
    tiers = [locale.tier for locale in LOCALES]
    assert [tiers.count(t) for t in dict.fromkeys(tiers)] == [19, 13, 8]
    by_character = {locale.id for locale in LOCALES if locale.unit == "character"}
    assert by_character == {"ja-JP", "ko-KR", "zh-CN", "th-TH"}
    assert {locale.id for locale in LOCALES if not locale.spaces} == by_character - {"ko-KR"}


def test_other_locales_have_the_unit_of_their_language():
    assert [error_unit(tag) for tag in ("zh-TW", "km_KH", "lo", "hi-IN", "auto")] == [
        *["character"] * 3,
        *["word"] * 2,
    ]
    assert has_spaces("ur-PK")
    assert not has_spaces("yue-HK")
