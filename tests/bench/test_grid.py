"""Order of the measurements."""

from random_bundles import make_measurement

from wheatear.bench.grid import Grid, measure


class RecordingEngine:
    """An engine that records the settings it measures."""

    def __init__(self):
        self.settings = []

    def measure(self, setting):
        self.settings.append(setting)
        return make_measurement(float(len(self.settings)))


def test_every_other_round_is_measured_in_reverse():
    ours, theirs = RecordingEngine(), RecordingEngine()
    settings = Grid("m", [80, 560], [1, 8], [1], 2.0).settings(["int4"], False, {"nemo": "fp32"})
    assert [(s.engine, s.latency_ms, s.streams) for s in settings] == [
        *(("wheatear", 80, 1), ("wheatear", 80, 8), ("nemo", 80, 1)),
        *(("wheatear", 560, 1), ("wheatear", 560, 8), ("nemo", 560, 1)),
    ]
    shares = []
    engines = {"wheatear": ours, "nemo": theirs}
    runs = measure(settings, engines, 3, lambda setting, share: shares.append(share))
    mine = [s for s in settings if s.engine == "wheatear"]
    assert ours.settings == [*mine, *mine[::-1], *mine]
    assert [run.setting for run in runs] == settings
    assert all(len(run.rounds) == 3 for run in runs)
    assert shares == sorted(shares)
