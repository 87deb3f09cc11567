"""Measurements in this process."""

import pytest
from random_bundles import make_setting

from wheatear.bench.measurements import STAGES
from wheatear.bench.worker import measure, speech, warm_up_chunks


@pytest.mark.parametrize("whole", [False, True])
def test_stages_and_python_add_up_to_the_time(tiny, whole):
    setting = make_setting(streams=1 if whole else 2, whole=whole, tokens_per_s=3.0)
    found = measure(setting, tiny)
    assert len(found.chunk_ms) == (1 if whole else 25)
    assert set(found.stages) == set(STAGES)
    assert sum(found.stages.values()) == pytest.approx(found.wall_s)
    assert found.audio_s == pytest.approx(2.0 * setting.streams)


def test_speech_repeats_from_an_offset():
    assert warm_up_chunks(80) == 12
    assert warm_up_chunks(1120) == 2
    assert speech(9.0, 16_000)[:1000].tolist() == speech(9.0)[16_000:17_000].tolist()
