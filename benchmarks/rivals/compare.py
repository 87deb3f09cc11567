"""Measures Wheatear and its rivals on the same random weights, in the same turns.

    python -m benchmarks.rivals.compare --random nemotron-3.5 --against nemo,sherpa \\
        --nemo-python nemo/bin/python --sherpa-python sherpa/bin/python

docs/speed.md describes the method and the environments of the rivals.
"""

import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from cyclopts import App

from benchmarks.rivals.engines import NEMO, NEMO_SPEECH_CPP, SHERPA, open_rivals
from wheatear.bench.measurements import ONNXRUNTIME
from wheatear.cli.bench import Names, SpeedOptions, measure_speed
from wheatear.errors import BenchError, WheatearError

_RIVALS = (NEMO, SHERPA, NEMO_SPEECH_CPP)


def compare(
    *,
    options: SpeedOptions = SpeedOptions(),  # noqa: B008  (frozen)
    against: Names = (),
    nemo_python: Path | None = None,
    sherpa_python: Path | None = None,
    nemo_speech_cpp: Path | None = None,
) -> None:
    """Measure Wheatear and its rivals on the same random weights, in the same turns.

    Parameters
    ----------
    against
        Any of onnxruntime,nemo,sherpa,nemo-speech-cpp: Wheatear without wheatear-native, or a
        rival on the same random weights, with one stream.
    nemo_python
        The python of an environment with nemo_toolkit[asr].
    sherpa_python
        The python of an environment with sherpa-onnx.
    nemo_speech_cpp
        NeMo-Speech.cpp's library libnemo_speech_asr_c.so.
    """
    given = {NEMO: nemo_python, SHERPA: sherpa_python, NEMO_SPEECH_CPP: nemo_speech_cpp}
    if unknown := [name for name in against if name not in (ONNXRUNTIME, *_RIVALS)]:
        known = ", ".join((ONNXRUNTIME, *_RIVALS))
        raise BenchError(f"--against has {unknown[0]!r}; choose from {known}")
    places = rival_places([name for name in against if name != ONNXRUNTIME], given)
    if places and (options.random is None or options.whole or 1 not in options.streams):
        raise BenchError("rivals are measured only on --random weights with one live stream")
    measure_speed(
        options, ONNXRUNTIME in against, partial(open_rivals, options.random or "", places)
    )


def rival_places(names: list[str], given: Mapping[str, Path | None]) -> dict[str, Path]:
    """The Python, or library, of each rival.  Raises BenchError for one that is missing."""
    places = {name: place for name, place in given.items() if name in names and place}
    for name in names:
        if name not in places and name == NEMO_SPEECH_CPP:
            raise BenchError(f"--against {name} needs --{name}, its library")
        if name not in places:
            raise BenchError(f"--against {name} needs --{name}-python, of an environment with it")
    if NEMO_SPEECH_CPP in places and not places[NEMO_SPEECH_CPP].is_file():
        raise BenchError(f"--{NEMO_SPEECH_CPP}: there is no {places[NEMO_SPEECH_CPP]}")
    return places


if __name__ == "__main__":
    app = App(name="compare")
    app.default(compare)
    try:
        app()
    except (WheatearError, OSError) as error:
        sys.exit(f"compare: {error}")
