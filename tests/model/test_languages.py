"""BCP 47 tags resolve to the nearest locale of a language, or are refused with suggestions."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from published_prompts import PUBLISHED

import wheatear
from wheatear.errors import LanguageError
from wheatear.model.languages import replacement_note, resolve_language
from wheatear.model.locales import LOCALES, language_of

FORTY = {locale.id: n for n, locale in enumerate(LOCALES)} | {"auto": 99}
SHIPPED = ("en-US", "es-US", "de-DE", "ru-RU", "pt-BR", "it-IT", "fr-CA")
SEVEN = {key: n for n, locale in enumerate(SHIPPED) for key in (locale, locale[:2])} | {"auto": 9}


NEAREST = """
    en-GB en-US | en-AU en-NZ en-IN en-ZA en-IE en-SG en-HK en-001 en-150 en-GB-oed en-UK
    en-US en-US | en-CA en-PH en-PR en-US-posix en-US-u-rg-eszzzz en-US-x-any en_US.UTF-8
    es-US es-US | es-AR es-MX es-419 es-CO es-PR es_CL.utf8 es-Latn-PE
    es-ES es-US | es-ES es-GQ es-PH es-EA
    fr-FR fr-CA | fr-BE fr-CH fr-CM fr-LU
    fr-CA fr-CA | fr-CA fr-PM
    pt-PT pt-BR | pt-AO pt-MZ pt-PT pt-CV
    de-DE de-DE | de-AT de-CH de_AT@euro DE-li deu-AT ger-AT de-CH-1996 de-DE-u-co-phonebk
    it-IT it-IT | it-CH it-VA ita-IT
    ru-RU ru-RU | ru-KZ ru-BY ru-Latn-RU
"""


@pytest.mark.parametrize("row", NEAREST.strip().split("\n"), ids=str.strip)
def test_a_tag_means_the_nearest_locale_of_its_language(row):
    (forty, seven), tags = (part.split() for part in row.split("|"))
    for tag in tags:
        for written in (tag, tag.upper(), tag.lower(), tag.replace("-", "_"), f" {tag}\n"):
            assert resolve_language(FORTY, written) == forty
            assert resolve_language(SEVEN, written) == seven


CODES = """
    zh-CN | zh-Hans-SG zh-Hans-HK zh-MY cmn-Hans cmn-CN zh-cmn-Hans-CN zh-guoyu zh-Latn-pinyin
    zh-CN | zh-Hant zh-HK zh-Hant-MO
    zh-TW | zh-TW zh-Hant-TW cmn-Hant-TW
    nb-NO | nb-SJ no-SJ nob nor-NO no-bok
    nn-NO | nn-SJ nno-NO no-nyn
    ar-AR | ar-EG ar-SA arb-AE ar-arb
    he-IL | he-US iw-IL heb-IL
    ro-RO | ro-MD mo-MD ron-RO
    id-ID | in-ID ind-ID
    fa-IR | per fas-AF pes
    lv-LV | lv-lvs lvs-LV
    el-GR | el-CY ell-GR
"""


@pytest.mark.parametrize("row", CODES.strip().split("\n"), ids=str.strip)
def test_codes_scripts_and_old_tags(row):
    (expected,), tags = (part.split() for part in row.split("|"))
    for tag in tags:
        assert PUBLISHED[resolve_language(PUBLISHED, tag)] == PUBLISHED[expected]
    assert resolve_language(FORTY, "zh-Hant-TW") == "zh-CN"  # the one Mandarin that there is


REGIONS = "AD AE AG AT AU BE BR CA CH CL CN CO CY DE ES FI FR GB IE IN MX NZ PT SG TW US ZA 001 419"


@pytest.mark.parametrize("locale", LOCALES, ids=lambda locale: locale.id)
def test_every_region_of_every_locale(locale):
    for region in REGIONS.split():
        for prompts in (FORTY, PUBLISHED, {locale.id: 0, "auto": 1}):
            tag = f"{locale.language}-{region}"
            found = resolve_language(prompts, tag)
            assert language_of(found) == locale.language
            assert tag not in prompts or found == tag
            # A script, an extension and a private part choose nothing.
            more = f"{locale.language}-{locale.scripts[0]}-{region}-u-rg-uszzzz-x-mine"
            assert resolve_language(prompts, more) == found
    assert resolve_language({locale.id: 0, "xx-XX": 1}, locale.language) == locale.id


@settings(deadline=None)
@given(
    st.one_of(
        st.text(max_size=40),
        st.from_regex(r"[a-zA-Z]{1,8}([-_][a-zA-Z0-9]{1,8}){0,4}", fullmatch=True),
    )
)
def test_any_string_is_a_key_or_one_line(text):
    for prompts in (FORTY, PUBLISHED, SEVEN):
        try:
            line = resolve_language(prompts, text)
        except LanguageError as error:
            line = str(error)
        assert line in prompts or line.startswith("this model does not know the language ")
        assert len(line.splitlines()) == 1
        assert len(line) < 900


@pytest.mark.parametrize(
    ("written", "first"),
    [
        ("yue-HK", "zh-CN"), ("zh-yue", "zh-CN"), ("zh-min-nan", "zh-CN"), ("sr-Latn", "hr-HR"),
        ("bs", "hr-HR"), ("ca-ES", "es-US"), ("gl", "es-US"), ("af-ZA", "nl-NL"),
        ("gsw-CH", "de-DE"), ("ar-arz", "ar-AR"), ("be", "ru-RU"), ("Englsh", "en-US"),
        ("enUS", "en-US"), ("en--US", "en-US"), ("en-US-", "en-US"), ("Deutsh", "de-DE"),
    ],
)  # fmt: skip
def test_another_language_is_refused_with_suggestions(written, first):
    with pytest.raises(LanguageError, match=rf"'{written}'; did you mean {first}\b"):
        resolve_language(FORTY, written)


@pytest.mark.parametrize(
    "written", ["", "C", "POSIX", "tlh", "i-klingon", "x-mine", "eu-ES", "xx-XX", "und-GB"]
)
def test_language_without_relatives_is_refused_with_all_locales(written):
    with pytest.raises(LanguageError, match=r"it knows auto, de-DE, en-US, .*ru-RU$"):
        resolve_language(SEVEN, written)


def test_undetermined_language_is_auto():
    assert resolve_language(SEVEN, "und") == resolve_language(SEVEN, "mul") == "auto"
    with pytest.raises(LanguageError):
        resolve_language({"en-US": 0}, "und")


def test_long_language_is_cut_in_the_message():
    with pytest.raises(LanguageError) as caught:
        resolve_language(SEVEN, "en-" * 1_000_000)
    assert len(str(caught.value)) < 300


def test_replacement_by_another_region_is_noted():
    assert replacement_note("en-AU", "en-US") == (
        "language en-AU: en-US is the nearest that this model has"
    )
    assert replacement_note("es-419", "es-US")
    assert replacement_note("zh-Hant-TW", "zh-CN")
    for same in ("en-US", "en", "en_us", "EN-us-u-rg-eszzzz", "English", "auto", "en-Latn"):
        assert replacement_note(same, resolve_language(SEVEN, same)) is None


def test_stream_takes_the_nearest_locale():
    recognizer = wheatear.load()
    for tag, locale in (("en-AU", "en-US"), ("de_AT", "de-DE"), ("pt-AO", "pt-BR")):
        stream = recognizer.stream(language=tag)
        assert stream.language == recognizer.resolve(tag, None)[1] == locale
        stream.switch(language="fr-BE")
        assert stream.language == "fr-CA"


FEW_PROMPTS = {"en-US": 0, "en": 0, "es-ES": 2, "es": 3, "no": 27, "auto": 101}


@pytest.mark.parametrize(
    ("written", "key"), [("en-US", "en-US"), ("EN_us", "en-US"), (" No ", "no"), ("auto", "auto")]
)
def test_keys_are_found_in_any_spelling(written, key):
    assert resolve_language(FEW_PROMPTS, written) == key


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ("en", "en-GB"), ("EN", "en-GB"), ("zh", "zh-CN"), ("cmn", "zh-CN"), ("ja", "ja-JP"),
        ("no", "nb-NO"), ("nb", "nb-NO"), ("pt", "pt-BR"), ("fr", "fr-CA"), ("iw", "he-IL"),
    ],
)  # fmt: skip
def test_bare_languages_mean_their_usual_locale(written, key):
    locales = "en-GB zh-TW zh-CN ja-JP nb-NO nn-NO pt-PT pt-BR fr-CA he-IL xx-AA xx-BB auto"
    prompts = {locale: n for n, locale in enumerate(locales.split())}
    assert resolve_language(prompts, written) == key
    with pytest.raises(LanguageError, match="xx-AA"):
        resolve_language(prompts, "xx")  # it has two
    assert resolve_language(prompts, "en-US") == "en-GB"  # a region that it does not have
    assert resolve_language({"no": 27, "nb-NO": 103, "nb": 103}, "no") == "nb-NO"


def test_unknown_languages_are_refused_with_the_nearest():
    with pytest.raises(LanguageError, match=r"'Englsh'; did you mean en\?"):
        resolve_language(FEW_PROMPTS, "Englsh")
    with pytest.raises(LanguageError, match=r"'gl'; did you mean es\?"):  # Galician
        resolve_language(FEW_PROMPTS, "gl")
    with pytest.raises(LanguageError, match="it knows auto, en"):
        resolve_language(FEW_PROMPTS, "klingon")
    with pytest.raises(LanguageError, match="must be a string"):
        resolve_language(FEW_PROMPTS, None)
    assert resolve_language({}, "auto") == "auto"
    with pytest.raises(LanguageError, match="one language"):
        resolve_language({}, "en-US")
