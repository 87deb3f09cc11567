"""Tokenizer: decoding, extension by a language, tokenizers of bundles."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from wheatear.convert.checkpoints.open import open_checkpoint
from wheatear.train.data.tokenizer import Tokenizer, locale_tag

ENGLISH = [f"The {a} {b} is here." for a in ("red", "green", "blue") for b in ("cat", "dog")] * 9
DUTCH = [f"Het {a} {b} is geïnstalleerd." for a in ("rode", "groene") for b in ("huis", "één")] * 9
OLD = Tokenizer.train(ENGLISH, ["en-US"], 60)
NEW = OLD.extended(DUTCH, ["nl-NL"], 20)


def test_extended_tokenizer_keeps_old_ids_and_pieces() -> None:
    assert NEW.pieces()[: OLD.size] == OLD.pieces()
    for text in ENGLISH:
        assert NEW.decode(NEW.encode(text, "en-US")) == (text, [locale_tag("en-US")])
    letters = OLD.extended(DUTCH, ["nl-NL"])
    assert all(letters.encode(t, "en-US") == OLD.encode(t, "en-US") for t in ENGLISH)


def test_extended_tokenizer_encodes_the_new_language() -> None:
    assert not OLD.has("nl-NL")
    assert NEW.has("nl-NL")
    for text in DUTCH:
        assert NEW.decode(NEW.encode(text, "nl-NL")) == (text, [locale_tag("nl-NL")])
    letters = OLD.extended(DUTCH, ["nl-NL"])
    assert letters.size < NEW.size
    assert len(NEW.encode(DUTCH[0], "nl-NL")) < len(letters.encode(DUTCH[0], "nl-NL"))


def test_locale_without_tag_is_encoded_without() -> None:
    assert OLD.decode(OLD.encode("The cat", "de-DE")) == ("The cat", [])


@given(st.lists(st.sampled_from(" .abcdeghilnorstuTH"), max_size=30).map("".join))
def test_tokenizer_from_pieces_equals_its_model(text: str) -> None:
    assert Tokenizer.from_pieces(OLD.pieces()).encode(text, "en-US") == OLD.encode(text, "en-US")


def test_tokenizer_of_a_nemo_checkpoint_is_extended() -> None:
    path = Path(__file__).parents[2] / "oracle" / "tiny-multi.nemo"
    with open_checkpoint(path) as checkpoint:
        assert checkpoint.tokenizer is not None
        old = Tokenizer(checkpoint.tokenizer)
        assert [p for p, _ in old.pieces()] == checkpoint.vocabulary.pieces
    new = old.extended(["Ĝis ĝi ŭa Ĝis"] * 3, ["eo"])
    assert [p for p, _ in new.pieces()][: old.size] == [p for p, _ in old.pieces()]
    assert new.decode(new.encode("Ĝis", "eo")) == ("Ĝis", [locale_tag("eo")])
