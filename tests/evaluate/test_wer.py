"""Alignments, against errors that can be counted by hand."""

from hypothesis import given
from hypothesis import strategies as st

from wheatear.convert.verify import edit_distance
from wheatear.evaluate.wer import align, count_edits, matching_pairs

words = st.lists(st.sampled_from(["a", "b", ""]), max_size=12)


@given(words, words)
def test_errors_are_the_fewest(reference, hypothesis):
    edits = count_edits(reference, hypothesis)
    assert edits.errors == edit_distance(reference, hypothesis)
    assert edits.length == len(reference)
    assert edits.length - edits.deletions + edits.insertions == len(hypothesis)
    pairs = align(reference, hypothesis)
    assert [a for a, _ in pairs if a is not None] == reference
    assert [b for _, b in pairs if b is not None] == hypothesis
    places = matching_pairs(reference, hypothesis)
    assert [reference[i] for i, _ in places] == [hypothesis[j] for _, j in places]
    assert len(places) == len(reference) - edits.deletions - edits.substitutions
    assert places == sorted(set(places))


def test_correct_words_have_their_places():
    assert matching_pairs(["a", "b", "c", "d"], ["a", "c", "x"]) == [(0, 0), (2, 1)]
