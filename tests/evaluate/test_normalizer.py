"""Normalized text keeps its letters, in every script."""

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wheatear.errors import MissingExtraError
from wheatear.evaluate import normalize
from wheatear.evaluate.normalizer import (
    characters,
    english_normalizer,
    normalize_words,
    spell_number,
    units,
)
from wheatear.model.locales import LOCALES

OTHERS = [locale.id for locale in LOCALES if locale.language != "en"] + ["km-KH", "lo-LA", "ta-IN"]


@pytest.mark.parametrize(
    ("locale", "text", "normal"),
    [
        ("hi-IN", "नमस्ते, दुनिया! १२३ रुपये।", "नमस्ते दुनिया 123 रुपये"),
        ("hi-IN", "क\u093cलम \u0958लम 1,00,000", "क\u093cलम क\u093cलम 100000"),
        ("hi-IN", "क्\u200dष हिंदी हिन्दी", "क्ष हिंदी हिन्दी"),
        ("ta-IN", "தமிழ் மொழி.", "தமிழ் மொழி"),
        ("th-TH", "ไม่ทราบว่าน้ำ, ทำไม? ๑๒", "ไม่ทราบว่าน้ำ ทำไม 12"),
        ("th-TH", "น\u0e4d\u0e49\u0e32 น\u0e49\u0e4d\u0e32", "น้ำ น้ำ"),
        ("lo-LA", "ນ້ຳ.", "ນ້ຳ"),
        ("km-KH", "ភាសាខ្មែរ។", "ភាសាខ្មែរ"),
        ("ar-AR", "اَلسَّلَامُ عَلَيْكُم، إلى أين؟", "السلام عليكم الى اين"),
        ("ar-AR", "مـــرحبا ﻻ آمن ١٬٠٠٠ ١٢٫٥", "مرحبا لا امن 1000 12.5"),
        ("ar-AR", "مدرسة على مؤمن سئل ماء", "مدرسة على مؤمن سئل ماء"),
        ("fa-IR", "آب می\u200cخواهم", "آب میخواهم"),
        ("he-IL", "צה״ל שָׁלוֹם ג׳ירפה בן־גוריון", "צהל שלום ג'ירפה בן גוריון"),
        ("ja-JP", "「ｶﾞｷﾞ」東京タワーは、３３３ｍです。", "ガギ 東京タワーは 333mです"),
        ("ja-JP", "コーヒー・紅茶、時々。㌔", "コーヒー 紅茶 時々 キロ"),
        ("ko-KR", "안녕하세요, 세계!", "안녕하세요 세계"),
        ("ko-KR", unicodedata.normalize("NFD", "한국어"), "한국어"),
        ("zh-CN", "你好，世界！２０２６年", "你好 世界 2026年"),
        ("vi-VN", unicodedata.normalize("NFD", "Tiếng Việt, HÒA bình"), "tiếng việt hòa bình"),
        ("tr-TR", "İSTANBUL'da IŞIK; I\u0307lık", "istanbul'da ışık ilık"),
        ("de-DE", "Die Straße — GROẞ, 1.000,50 €", "die straße groß 1000.50"),
        ("de-DE", "İzmir", "izmir"),
        ("fr-FR", "L’été\u202f: 10\u202f000 œufs, 3,5 %", "l'été 10000 œufs 3.5"),
        ("it-IT", "E’ ‘vero’ l'amico", "e vero l'amico"),
        ("el-GR", "ΟΔΟΣ, ὁδός;", "οδοσ ὁδόσ"),
        ("uk-UA", "М’яч і мʼяч, ёлка", "м'яч і м'яч ёлка"),
        ("ru-RU", "Ёлка всё-таки", "елка все таки"),
        ("ro-RO", "şi ţară ȘI", "și țară și"),
        ("es-ES", "¿Qué? ¡Año!", "qué año"),
        ("pl-PL", "(tekst) [w nawiasach] <tu>", "tekst w nawiasach tu"),
        ("sv-SE", "Windows™ e\u0301tude\u00ad 1️⃣ ❤️ a_b", "windows étude 1 a b"),
        ("en-US", "Mr. Lee's twenty-five tyres, won't [uh]", "mister lee is 25 tires will not"),
        ("en-US", "To leave the conference... press $5.", "to leave the conference press $5"),
        ("en-GB", "Uh, it costs two thousand pounds!", "it costs £2000"),
    ],
)  # fmt: skip
def test_texts_become_their_normal_form(locale, text, normal):
    assert normalize(text, locale) == normal


@pytest.mark.parametrize(
    ("locale", "text", "expected"),
    [
        ("th-TH", "น้ำ ไม่", ["น้ำ", "ไ", "ม่"]),
        ("lo-LA", "ນ້ຳ", ["ນ້ຳ"]),
        ("km-KH", "ខ្មែរ", ["ខ្", "មែ", "រ"]),
        ("ja-JP", "コーヒー です", ["コ", "ー", "ヒ", "ー", "で", "す"]),
        ("ko-KR", "안녕 세계", ["안", "녕", "세", "계"]),
        ("zh-TW", "你好", ["你", "好"]),
        ("hi-IN", "नमस्ते दुनिया", ["नमस्ते", "दुनिया"]),
        ("ar-AR", "السلام عليكم", ["السلام", "عليكم"]),
    ],
)
def test_units_are_words_or_characters(locale, text, expected):
    assert units(text, locale) == expected


def test_characters_of_hindi_keep_their_signs():
    assert characters("नमस्ते दुनिया") == ["न", "म", "स्", "ते", "दु", "नि", "या"]


anything = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@given(anything, st.sampled_from(OTHERS), st.booleans())
def test_normalization_is_idempotent(text, locale, fold):
    once = normalize(text, locale, fold_accents=fold)
    assert normalize(once, locale, fold_accents=fold) == once
    assert unicodedata.is_normalized("NFC", once)
    assert once == " ".join(once.split())


@given(st.text(st.characters(categories=["Lu", "Ll", "Lt", "Lo"]), min_size=1), anything)
def test_letters_are_never_lost(text, around):
    # Unicode counts presentation forms of single marks as letters.
    if any(c.isalpha() for c in unicodedata.normalize("NFKC", text)):
        for locale in OTHERS:
            assert normalize(around + text, locale)


BLOCKS = {
    "hi-IN": (0x0900, 0x097F), "bn-IN": (0x0980, 0x09FF), "ta-IN": (0x0B80, 0x0BFF),
    "te-IN": (0x0C00, 0x0C7F), "ml-IN": (0x0D00, 0x0D7F), "si-LK": (0x0D80, 0x0DFF),
    "th-TH": (0x0E00, 0x0E7F), "lo-LA": (0x0E80, 0x0EFF), "km-KH": (0x1780, 0x17D3),
    "my-MM": (0x1000, 0x104F),
}  # fmt: skip


@pytest.mark.parametrize(("locale", "block"), BLOCKS.items())
@given(data=st.data())
def test_marks_of_indic_and_south_east_asian_scripts_are_kept(locale, block, data):
    """Letters, vowel signs, viramas, nuktas and tones all remain."""
    written = [chr(c) for c in range(block[0], block[1] + 1)]
    written = [c for c in written if unicodedata.category(c)[0] in "LM"]
    text = data.draw(st.text(st.sampled_from(written), max_size=20))
    for form in ("NFC", "NFD"):
        found = normalize(unicodedata.normalize(form, text), locale)
        assert sorted(unicodedata.normalize("NFKD", found)) == sorted(
            unicodedata.normalize("NFKD", text)
        )


@given(anything)
def test_characters_add_up_to_the_text(text):
    normal = normalize(text, "hi-IN")
    assert "".join(characters(normal)) == normal.replace(" ", "")


@given(st.text("abc 1Éé'-.,", max_size=20), st.text("abc 1Éé-", max_size=20))
def test_plain_text_is_normalized_word_by_word(one, other):
    for locale in ("en-US", "fr-CA"):
        parts = normalize_words(one, locale), normalize_words(other, locale)
        assert normalize_words(f"{one} {other}", locale) == " ".join(filter(None, parts))


def test_numbers_in_words():
    def spelled(text, locale):
        return normalize(text, locale, spell_numbers=True)

    assert spelled("Marque 25 o 007.", "es-US") == "marque veinticinco o cero cero siete"
    assert spelled("1.000 и 3,5", "ru-RU") == "одна тысяча и три целых пять десятых"
    assert spelled("16", "pt-BR") == "dezesseis"
    assert spelled("16", "pt-PT") == "dezasseis"
    assert spelled("१२ 1.2.2026", "hi-IN") == "12 1.2.2026"  # num2words does not know Hindi
    assert normalize_words("press 7", "en-US", spell_numbers=True) == "press seven"
    assert normalize("press seven", "en-US") == "press 7"


def test_accents_are_folded_on_request():
    assert (
        normalize("Canción del ñandú: Ça va", "es-ES", fold_accents=True)
        == "cancion del nandu ca va"
    )
    assert normalize("क\u093cलम", "hi-IN", fold_accents=True) == "क\u093cलम"
    assert normalize("Café", "en-US", fold_accents=True) == "cafe"


def test_missing_packages_are_named(monkeypatch):
    english_normalizer.cache_clear()
    spell_number.cache_clear()
    monkeypatch.setitem(sys.modules, "whisper_normalizer.english", None)
    monkeypatch.setitem(sys.modules, "num2words", None)
    with pytest.raises(MissingExtraError, match=r"wheatear\[evaluate\]"):
        normalize("one", "en-US")
    with pytest.raises(MissingExtraError, match="num2words"):
        normalize("1", "fr-FR", spell_numbers=True)
