"""The command listen, with a microphone that plays a recording."""

import sys
from types import ModuleType

import pytest
import soxr

import wheatear
from wheatear.audio.reader import sample_speech
from wheatear.cli import main


class Microphone(ModuleType):
    """Fake of sounddevice: a speaker, two microphones of 16 and 48 kHz."""

    class PortAudioError(Exception):
        pass

    devices = (
        {"name": "Speaker", "max_input_channels": 0, "default_samplerate": 48000.0},
        {"name": "Built-in Mic", "max_input_channels": 2, "default_samplerate": 16000.0},
        {"name": "USB Mic", "max_input_channels": 1, "default_samplerate": 48000.0},
    )
    interrupts = False
    fault = ""

    def query_devices(self, device=None, kind=None):
        return self.devices if kind is None else self.devices[1 if device is None else device]

    def check_input_settings(self, device, channels, samplerate):
        if samplerate != self.query_devices(device, "input")["default_samplerate"]:
            raise self.PortAudioError("Invalid sample rate")

    def InputStream(self, **options):  # noqa: N802
        return Input(self, **options)


class Input:
    def __init__(self, module, *, samplerate, blocksize, callback, finished_callback, **_options):
        if module.fault:
            raise module.PortAudioError(module.fault)
        samples = sample_speech()
        if samplerate != 16000:
            samples = soxr.resample(samples, 16000, samplerate)
        self.blocks = [samples[i : i + blocksize] for i in range(0, len(samples), blocksize)]
        self.module, self.callback, self.finished = module, callback, finished_callback

    def __enter__(self):
        for number, block in enumerate(self.blocks):
            self.callback(block[:, None], len(block), None, "input overflow" if number == 3 else "")
        if not self.module.interrupts:
            self.finished()
        else:
            self.callback(Interrupt(), 0, None, "")
        return self

    def __exit__(self, *_error):
        return False


class Interrupt:
    """Ctrl-C while the queue is full."""

    def __getitem__(self, _key):
        raise KeyboardInterrupt


@pytest.fixture
def microphone(monkeypatch):
    module = Microphone("sounddevice")
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    return module


@pytest.fixture
def listen(capsys):
    def run(*words):
        with pytest.raises(SystemExit) as ended:
            main(["listen", *map(str, words)])
        return ended.value.code, *capsys.readouterr()

    return run


@pytest.mark.parametrize("device", [None, "1", "usb"])
def test_captions_equal_the_transcript_of_the_recording(microphone, listen, tmp_path, device):
    options = ["--device", device] if device else []
    out = tmp_path / "captions.srt"
    code, captions, err = listen("--latency", 560, "--output", out, *options)
    assert code == 0
    assert err == (
        "wheatear: the microphone reports: input overflow; some speech may be lost\n"
        f"wheatear: wrote {out}\n"
    )
    expected = wheatear.load().transcribe(sample_speech(), latency_ms=560).text
    if device != "usb":  # resampled twice
        assert captions.split() == expected.split()
    assert captions.rstrip().endswith("calling.")
    assert "-->" in out.read_text()
    code, _, err = listen("--output", out, *options)
    assert code == 2
    assert "already exists; --overwrite" in err


def test_ctrl_c_stops_with_the_text_until_then(microphone, listen, monkeypatch):
    microphone.interrupts = True
    code, captions, _ = listen("--latency", 80)
    assert code == 0
    assert captions.count("\n") <= 2


def test_devices_are_listed_and_chosen(microphone, listen):
    code, out, _ = listen("--list-devices")
    assert code == 0
    assert out.splitlines() == ["  1  Built-in Mic, 16000 Hz", "  2  USB Mic, 48000 Hz"]
    for name, message in {
        "0": "no microphone is",
        "mic": "more than one",
        "x": "2 (USB Mic)",
    }.items():
        code, _, err = listen("--device", name)
        assert code == 2
        assert message in err


def test_missing_microphone_package_and_library_are_named(microphone, listen, monkeypatch):
    microphone.fault = "Device unavailable"
    code, _, err = listen()
    assert (code, "Device unavailable" in err) == (2, True)
    microphone.devices = microphone.devices[:1]
    assert "there is no microphone" in listen()[2]
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    assert "pip install 'wheatear[mic]'" in listen()[2]

    class Broken:
        def find_spec(self, name, *_more):
            if name == "sounddevice":
                raise OSError("PortAudio library not found")

    monkeypatch.delitem(sys.modules, "sounddevice")
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    code, _, err = listen()
    assert code == 2
    assert "libportaudio2" in err


def test_terminal_gets_a_meter(microphone, listen, monkeypatch, tmp_path):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = listen("--latency", 560)
    assert code == 0
    assert "calling." in out
    assert "▮" in out
