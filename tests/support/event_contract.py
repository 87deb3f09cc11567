"""The contract of events in `wheatear.transcript.builder`, as a check."""

from turn_contract import check as check_turns

from wheatear import Final, Partial, Transcript, Turn
from wheatear.transcript.segments import join_words


def check(events: list, duration: float, transcript: Transcript) -> None:
    """Asserts the contract of `wheatear.transcript.builder`."""
    check_turns([event for event in events if isinstance(event, Turn)])
    tokens, partial, covered, time = [], None, 0.0, 0.0
    for event in events:
        if isinstance(event, Turn):
            assert event.time >= time
            time = event.time
            continue
        assert event.start == covered
        assert event.end >= time
        time = event.end
        if isinstance(event, Partial):
            if partial is not None:
                assert event.text.startswith(partial.text)
                assert len(event.words) >= len(partial.words)
            assert event.text.strip()
            partial = event
        else:
            assert event.text.startswith(partial.text if partial else "")
            assert join_words(event.words).split() == event.text.split()
            assert tuple(w for s in event.segments for w in s.words) == event.words
            tokens += event.tokens
            partial, covered = None, event.end
    assert partial is None
    assert covered == duration
    assert tuple(tokens) == transcript.tokens
    assert "".join(token.text for token in tokens).lstrip() == transcript.text
    assert join_words(transcript.words).split() == transcript.text.split()
    assert [w for s in transcript.segments for w in s.words] == list(transcript.words)
    for event in [*(e for e in events if not isinstance(e, Turn)), transcript]:
        check_times(event, duration, frozenset(instants(events)))
    for before, after in zip(transcript.words, transcript.words[1:], strict=False):
        assert before.start < before.end <= after.start or before.start in instants(events)


def instants(events: list) -> set[float]:
    """Returns the times of turns without length, whose words have no length either."""
    turns = [event for event in events if isinstance(event, Partial | Final)]
    return {turn.start for turn in turns if turn.start == turn.end}


def check_times(
    event: Partial | Final | Transcript, duration: float, moments: frozenset[float] = frozenset()
) -> None:
    """Asserts that words lie inside the audio, and tokens inside their words."""
    times = [getattr(event, "start", 0.0)]
    moments |= instants([event])
    for word in event.words:
        assert times[-1] <= word.start < word.end or word.start == word.end in moments
        times.append(word.end)
    assert 0 <= times[-1] <= min(duration, getattr(event, "end", duration))
    starts = [token.start for token in event.tokens]
    assert starts == sorted(starts)
    for token in event.tokens:
        assert 0 <= token.start <= token.end <= duration
    if isinstance(event, Partial):
        return
    letters = [word for word in event.words for _ in word.text]
    for token in event.tokens:
        own, letters = letters[: (size := len(token.text.replace(" ", "")))], letters[size:]
        if own:
            assert own[0].start <= token.start <= token.end <= own[-1].end
    assert not letters
