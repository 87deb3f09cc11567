"""The pipeline from samples to emitted tokens, over many streams at once.

Samples become mel frames, and mel frames become chunks. All streams with a complete chunk share the
next step of the encoder, and the search turns its frames into emissions. The engine is shared and
immutable; an `EngineState` holds the state of one stream. Text is made elsewhere.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from weakref import WeakValueDictionary

from wheatear.audio.mel import MelSpectrogram, MelState
from wheatear.audio.samples import Samples
from wheatear.common.arrays import Floats
from wheatear.decoder.beam import BeamSearch
from wheatear.decoder.boosting import BoostingTree, Phrase
from wheatear.decoder.greedy import GreedySearch
from wheatear.decoder.search import Emission, Search, SearchState
from wheatear.encoder.silence import SilenceSkipper, SilenceState, is_silent
from wheatear.encoder.state import EncoderState, LanguagePrompt
from wheatear.errors import PhraseError
from wheatear.model.languages import resolve_language
from wheatear.model.latency import LatencyMode, choose_mode
from wheatear.recognizer.loaded_model import LoadedModel
from wheatear.recognizer.options import StreamOptions

FILE_FRAMES = 112
"""Encoder frames (9 s) in a step of a file, for which the weights are read once."""
_KEPT_TREES = 16  # boosting trees that are kept when no stream uses them


@dataclass(slots=True)
class EngineState:
    """One stream, from its samples to its emissions."""

    mel: MelState
    encoder: EncoderState
    search: SearchState
    silence: SilenceState
    language: str
    """Name of the language in the model, or "auto"."""
    chunks_per_step: int = 1

    @property
    def mode(self) -> LatencyMode:
        """Latency mode of the next chunk."""
        return self.encoder.mode


class Step(NamedTuple):
    """The result of one step for one stream."""

    emissions: Sequence[Emission]
    settled: int
    """Encoder frames whose tokens cannot change any more."""


class Engine:
    """Runs streams of one model; safe to use from many threads, a stream from one at a time."""

    def __init__(self, model: LoadedModel) -> None:
        self.model = model
        measure = model.manifest.confidence_measure
        self._spectrogram = MelSpectrogram(model.manifest.features)
        self._encoder = model.encoder
        self._greedy_search = GreedySearch(model.networks, measure)
        self._beam_search = BeamSearch(model.networks, measure)
        self._silence = SilenceSkipper(model.manifest.encoder)
        self._trees: dict[tuple[Phrase, ...], BoostingTree] = {}
        self._trees_in_use: WeakValueDictionary[tuple[Phrase, ...], BoostingTree] = (
            WeakValueDictionary()
        )

    # -- options -----------------------------------------------------------------------------------

    def resolve(self, language: str, latency_ms: int | None) -> tuple[LatencyMode, str]:
        """Returns the latency mode, and the language as the model names it.

        Raises LanguageError or LatencyError.
        """
        manifest = self.model.manifest
        mode = choose_mode(manifest.modes, manifest.default_mode, latency_ms)
        return mode, resolve_language(manifest.prompts, language)

    def compile_phrases(self, phrases: tuple[Phrase, ...]) -> BoostingTree | None:
        """Returns the boosting tree of some phrases, which streams with the same phrases share.

        Raises PhraseError.
        """
        if not phrases:
            return None
        if (tree := self._trees.get(phrases) or self._trees_in_use.get(phrases)) is None:
            tree = BoostingTree(self.model.vocabulary, phrases)
            self._trees_in_use[phrases] = tree
            if len(self._trees) >= _KEPT_TREES:
                self._trees.pop(next(iter(self._trees)), None)
            self._trees[phrases] = tree
        return tree

    def can_tokenize(self, phrase: str) -> bool:
        """True if the pieces of the model can spell a phrase, so that it can be boosted."""
        try:
            BoostingTree(self.model.vocabulary, [Phrase(phrase)])
        except PhraseError:
            return False
        return True

    # -- one stream --------------------------------------------------------------------------------

    def start(self, options: StreamOptions, whole: bool = False) -> EngineState:
        """Returns the state before the first sample.

        Args:
            options: Options of the stream.
            whole: True if all audio is available, so that a step may take many chunks.

        Raises:
            WheatearError: The model has no such language or latency, or cannot spell a phrase.
        """
        mode, language = self.resolve(options.language, options.latency_ms)
        tree, rules = self.compile_phrases(options.phrases), options.beam
        state = EngineState(
            mel=self._spectrogram.start(),
            encoder=self._encoder.start(mode),
            search=self._greedy_search.start(tree)
            if rules is None
            else self._beam_search.start(rules, tree),
            silence=SilenceState(),
            language=language,
            chunks_per_step=max(1, FILE_FRAMES // mode.chunk) if whole else 1,
        )
        state.encoder.language = self._prompt(language)
        return state

    def switch(self, state: EngineState, mode: LatencyMode, language: str) -> None:
        """Sets mode and language, as `resolve` returns them, from the next chunk on."""
        self._silence.restore(state.silence, state.encoder)
        state.language = language
        state.encoder.mode, state.encoder.language = mode, self._prompt(language)

    def _prompt(self, language: str) -> LanguagePrompt | None:
        prompts = self.model.manifest.prompts
        return self._encoder.language_prompt(prompts[language]) if prompts else None

    def boost(self, state: EngineState, phrases: tuple[Phrase, ...]) -> None:
        """Boosts other phrases from now on; the search must have been committed."""
        state.search.set_boosting(self.compile_phrases(phrases))

    def feed(self, state: EngineState, samples: Samples) -> None:
        """Takes samples [n], computing their mel frames only."""
        self._encoder.feed(state.encoder, self._spectrogram.push(state.mel, samples))

    def samples_needed(self, state: EngineState, chunks: int = 1) -> int:
        """Returns the number of samples missing for a step of `chunks` chunks."""
        frames = self._encoder.mel_needed(state.encoder, chunks)
        return self._spectrogram.samples_for(state.mel, frames) if frames > 0 else 0

    def end(self, state: EngineState) -> None:
        """Ends the signal: the last chunk may then be short."""
        if state.mel.samples:
            self._encoder.feed(state.encoder, self._spectrogram.finish(state.mel))
            self._encoder.end(state.encoder)

    def commit(self, state: EngineState) -> Step | None:
        """Commits the best hypothesis; returns None if that changes nothing."""
        settled = state.search.settled
        emissions = state.search.commit()
        if not emissions and state.search.settled == settled:
            return None
        return Step(emissions, state.search.settled)

    # -- steps -------------------------------------------------------------------------------------

    def ready(self, state: EngineState, chunks: int = 1) -> int:
        """Returns the number of encoder frames of the next step, 0 if samples are missing.

        Args:
            state: The stream.
            chunks: Number of chunks to take in the step; at the end of the signal it takes fewer.
        """
        return self._encoder.ready(state.encoder, chunks)

    def skip_silence(self, state: EngineState, chunks: int = 1) -> list[Step]:
        """Passes over steps of `chunks` chunks of silence that need no computing."""
        steps = []
        while state.silence.skipping and (frames := self.ready(state, chunks)):
            if not self._silence.skip(state.silence, state.encoder, frames):
                break
            state.search.frames += frames
            steps.append(Step((), state.search.settled))
        return steps

    def step(self, states: Sequence[EngineState], frames: int) -> list[Step]:
        """Encodes and searches the next `frames` frames of each stream.

        A step of one chunk, or of the short last one, takes any number of streams of whatever mode
        and language; a step of several chunks takes one stream. No state changes if the encoder
        fails.

        Args:
            states: The streams, each of which must be `ready` for `frames` frames.
            frames: Number of encoder frames.
        """
        silent = [is_silent(state.encoder, frames) for state in states]
        outputs = self._encoder.step([state.encoder for state in states], frames)
        found = self._search(states, [output.joint_input for output in outputs])
        for state, emissions, quiet in zip(states, found, silent, strict=True):
            if quiet and state.search.search.unchanged_by_blanks:
                self._silence.observe(state.silence, state.encoder, frames, bool(emissions))
            else:
                state.silence.reset()
        return [Step(e, s.search.settled) for s, e in zip(states, found, strict=True)]

    def advance(self, states: Sequence[EngineState]) -> Iterator[tuple[int, Step]]:
        """Computes all that is ready, in as few steps as possible.

        Yields the index of a stream and its next step.
        """
        while True:
            groups: dict[int, list[int]] = {}
            for n, state in enumerate(states):
                for step in self.skip_silence(state, state.chunks_per_step):
                    yield n, step
                if frames := self.ready(state, state.chunks_per_step):
                    groups.setdefault(frames, []).append(n)
            if not groups:
                return
            for frames, group in groups.items():
                # Several chunks are computed for one stream at a time.
                together = [n for n in group if frames <= states[n].mode.chunk]
                single = [[n] for n in group if frames > states[n].mode.chunk]
                for batch in [*single, *([together] if together else [])]:
                    yield from zip(
                        batch, self.step([states[n] for n in batch], frames), strict=True
                    )

    def _search(
        self, states: Sequence[EngineState], joint_inputs: Sequence[Floats]
    ) -> list[list[Emission]]:
        """Returns the emissions of each stream; streams with the same search share a step."""
        groups: dict[Search, list[int]] = {}
        for n, state in enumerate(states):
            groups.setdefault(state.search.search, []).append(n)
        found: list[list[Emission]] = [[] for _ in states]
        for search, group in groups.items():
            rows = search.step([states[n].search for n in group], [joint_inputs[n] for n in group])
            for n, emissions in zip(group, rows, strict=True):
                found[n] = emissions
        return found
