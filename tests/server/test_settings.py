"""Settings: a file, the environment, options; and nothing that is not known."""

import os
import re
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wheatear.errors import SettingsError
from wheatear.server.settings import PREFIX, Limits, Settings, ignored_variables, read_settings


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "serve.toml"
    path.write_text('host = "10.9.8.7"\nport = 1000\nmodels = ["a"]\n[limits]\nstreams = 10\n')
    return path


def test_without_anything_there_are_defaults():
    assert read_settings(None, {}, {}) == Settings()
    assert Settings().loopback
    names = ("127.0.0.1", "localhost", "::1", "10.0.0.1", "asr.example")
    assert [Settings().answers_to(name) for name in names] == [True, True, True, False, False]


def test_options_count_more_than_the_environment_and_that_more_than_a_file(file):
    environment = {
        "WHEATEAR_SERVE_PORT": "2000", "WHEATEAR_SERVE_LIMITS_STREAMS": "20",
        "WHEATEAR_SERVE_MODELS": "b, c=/d/e,", "WHEATEAR_SERVE_PAGE": "false", "OTHER": "x",
        "WHEATEAR_SERVE_LIMITS_IDLE_SECONDS": "1.5",
    }  # fmt: skip
    first = read_settings(file, {}, {})
    assert (first.port, first.models, first.limits.streams) == (1000, ("a",), 10)
    second = read_settings(file, environment, {})
    assert (second.port, second.models, second.page) == (2000, ("b", "c=/d/e"), False)
    assert (second.limits.streams, second.limits.idle_seconds) == (20, 1.5)
    assert second.limits.files == Limits().files
    third = read_settings(file, environment, {"port": 3000, "models": ("f",), "host": None})
    assert (third.port, third.models, third.host) == (3000, ("f",), "10.9.8.7")
    assert not third.loopback


OWN_BYTES = socket.gethostname().lower()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", ""])  # noqa: S104
@pytest.mark.parametrize(
    ("name", "answered"),
    [
        ("192.0.2.7", True), ("2001:db8::1", True), ("localhost", True), ("127.0.0.1", True),
        ("app.localhost", True), (OWN_BYTES, True), (OWN_BYTES.partition(".")[0] + ".local", True),
        ("evil.example", False), ("localhost.evil.example", False), ("1.2.3", False),
        ("192.0.2.7.evil.example", False), (f"{OWN_BYTES}.evil.example", False), ("", False),
    ],
)  # fmt: skip
def test_without_keys_names_of_others_are_not_answered_to(host, name, answered):
    assert Settings(host=host).answers_to(name) is answered
    assert Settings(host=host, api_key_file="keys.toml").answers_to(name)
    assert Settings(host=host, allowed_hosts=("a.example",)).answers_to("a.example")
    assert not Settings(host=host, allowed_hosts=("a.example",)).answers_to("localhost")


def test_every_loopback_address_is_one():
    assert Settings(host="127.0.0.2").loopback
    assert Settings(host="127.0.0.2").answers_to("127.0.0.2")
    assert not Settings(host="127.0.0.2").answers_to("evil.example")


CLUSTER = {
    "SERVICE_HOST": "10.0.0.1", "SERVICE_PORT": "8000", "SERVICE_PORT_HTTP": "8000",
    "PORT": "tcp://10.0.0.1:8000", "PORT_8000_TCP": "tcp://10.0.0.1:8000",
    "PORT_8000_TCP_PROTO": "tcp", "PORT_8000_TCP_PORT": "8000", "PORT_8000_TCP_ADDR": "10.0.0.1",
    "WYOMING_PORT": "tcp://10.0.0.2:10300", "WYOMING_SERVICE_HOST": "10.0.0.2",
    "WYOMING_PORT_10300_UDP": "udp://10.0.0.2:10300", "METRICS_PORT": "tcp://[::1]:9000",
}  # fmt: skip


def test_service_variables_of_kubernetes_are_ignored():
    environment = {PREFIX + name: value for name, value in CLUSTER.items()}
    environment |= {"WHEATEAR_SERVER_PORT": "tcp://10.0.0.1:80", "WHEATEAR_SERVE_THREADS": "1"}
    environment |= {"WHEATEAR_PORT": "tcp://10.0.0.1:80", "WHEATEAR_SERVICE_HOST": "10.0.0.1"}
    assert read_settings(None, environment, {}) == Settings(threads=1)
    (line,) = ignored_variables(environment)
    assert "enableServiceLinks" in line
    assert ignored_variables({"WHEATEAR_SERVE_PORT": "8000", "WHEATEAR_MODELS": "/models"}) == []


def test_a_variable_without_the_prefix_is_warned_of():
    assert read_settings(None, {"WHEATEAR_API_KEY_FILE": "a"}, {}) == Settings()
    (line,) = ignored_variables({"WHEATEAR_API_KEY_FILE": "a"})
    assert "WHEATEAR_SERVE_API_KEY_FILE is one" in line


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("WHEATEAR_SERVE_PROT", "WHEATEAR_SERVE_PORT"),
        ("WHEATEAR_SERVE_LIMITS_STREAM", "WHEATEAR_SERVE_LIMITS_STREAMS"),
        ("WHEATEAR_SERVER_API_KEY_FILE", "WHEATEAR_SERVE_API_KEY_FILE"),
        ("WHEATEAR_SEVE_PORT", "WHEATEAR_SERVE_PORT"),
    ],
)
def test_a_slip_in_a_variable_is_refused_with_the_nearest_name(name, near):
    with pytest.raises(SettingsError, match=f"{name}, which is no setting; did you mean {near}"):
        read_settings(None, {name: "1"}, {})


@pytest.mark.parametrize(
    ("text", "near"), [("prot = 1", "port"), ("[limits]\nstream = 1", "streams")]
)
def test_a_slip_in_a_file_is_refused_with_the_nearest_name(tmp_path, text, near):
    path = tmp_path / "serve.toml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=rf"did you mean {near}\?"):
        read_settings(path, {}, {})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("color = 1", "color"), ("[limits]\ncolor = 1", "color"), ("limits = 5", "limits"),
        ('port = "x"', "port"), ("port = 70000", "port is 70000"), ("port = -1", "port is -1"),
        ("threads = 0", "threads is 0"), ("load = 0", "load"), ("load = nan", "load"),
        ("load = inf", "load"), ("drain_seconds = -1", "drain_seconds"), ('models = "a"', "models"),
        ("drain_seconds = nan", "drain_seconds"), ('log_format = "xml"', "log_format"),
        ('log_level = "trace"', "log_level"), ("[limits]\nstreams = 0", "limits.streams"),
        ("[limits]\nstreams = 1.5", "streams"), ("[limits]\nidle_seconds = inf", "idle_seconds"),
        ("[limits]\nidle_seconds = nan", "idle_seconds"), ("[limits]\nfiles = -5", "files"),
        ('cors_origins = ["https://a.example/"]', "cors_origins"), ("page = 5", "page"),
        ('cors_origins = ["a.example"]', "cors_origins"), ('host = ["a"]', "host"),
        ('cors_origins = ["https://A.example"]', "lower case"),
        ('allowed_hosts = ["a.example:80"]', "allowed_hosts"), ("host = 5", "host"),
        ('allowed_hosts = ["A.example"]', "lower case"), ('allowed_hosts = ["*"]', "allowed_hosts"),
        ('trusted_proxies = ["10.0.0.0/33"]', "trusted_proxies"), ("[[limits]]", "limits"),
        ('trusted_proxies = ["proxy.example"]', "trusted_proxies"), ("port = ", "cannot read"),
        ('trusted_proxies = ["*"]', "trusted_proxies"), ("\xff", "cannot read"),
    ],
)  # fmt: skip
def test_wrong_file_is_rejected_by_name(tmp_path, text, reason):
    path = tmp_path / "serve.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(SettingsError, match=re.escape(reason)) as refused:
        read_settings(path, {}, {})
    assert str(path) in str(refused.value)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    for path in (tmp_path / "nothing.toml", tmp_path):
        with pytest.raises(SettingsError, match="cannot read"):
            read_settings(path, {}, {})


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("COLOUR", "1", "no setting"), ("LIMITS_COLOUR", "1", "no sett"), ("LIMITS", "1", "no s"),
        ("PORT", "x", "PORT"), ("PORT", "", "PORT"), ("LIMITS_STREAMS", "many", "STREAMS"),
        ("LIMITS_STREAMS", "0", "limits.streams"), ("LIMITS_IDLE_SECONDS", "nan", "idle_seconds"),
        ("PAGE", "perhaps", "PAGE"), ("LOG_FORMAT", "xml", "LOG_FORMAT"), ("HOSTS", "a", "no sett"),
        ("LIMITS_LIMITS", "1", "no setting"), ("", "1", "no setting"), ("LOAD", "inf", "load"),
    ],
)  # fmt: skip
def test_wrong_variable_is_rejected_by_name(name, value, reason):
    with pytest.raises(SettingsError, match=re.escape(reason)) as refused:
        read_settings(None, {PREFIX + name: value}, {})
    assert PREFIX + name in str(refused.value)


def test_every_setting_can_be_given_in_the_environment():
    message = {
        int: "7", float: "0.5", bool: "true", str: "word", tuple[str, ...]: "one,two",
    }  # fmt: skip
    special = {
        "LOG_FORMAT": "json", "LOG_LEVEL": "debug", "CORS_ORIGINS": "https://a.example",
        "TRUSTED_PROXIES": "10.0.0.1",
    }  # fmt: skip
    environment = {}
    for struct, prefix in ((Settings, ""), (Limits, "LIMITS_")):
        for field in msgspec.structs.fields(struct):
            name = prefix + field.name.upper()
            kind = next((k for k in message if k in (field.type, *_parts(field.type))), None)
            if field.name != "limits":
                environment[PREFIX + name] = special.get(name) or message[kind]
    settings = read_settings(None, environment, {})
    assert settings.limits == msgspec.convert(
        {f.name: 7 if f.type is int else 0.5 for f in msgspec.structs.fields(Limits)}, Limits
    )
    assert settings.threads == 7
    assert settings.trusted_proxies == ("10.0.0.1",)
    assert settings.log_transcripts


def _parts(kind: object) -> tuple[object, ...]:
    return getattr(kind, "__args__", ())


def test_command_reports_an_error_in_one_line():
    command = [sys.executable, "-m", "wheatear", "serve", "--port", "0"]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=60,
        env=os.environ | {"WHEATEAR_SERVE_LIMITS_STREAM": "5"},
    )  # fmt: skip
    assert done.returncode == 2
    assert "WHEATEAR_SERVE_LIMITS_STREAM, which is no setting" in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from([f.name for s in (Settings, Limits) for f in msgspec.structs.fields(s)])


@given(st.dictionaries(names | st.text(), values, max_size=4))
def test_any_options_are_read_or_rejected(options):
    try:
        settings = read_settings(None, {}, options)
    except SettingsError:
        return
    assert 0 <= settings.port < 1 << 16
    assert all(value > 0 for value in msgspec.structs.asdict(settings.limits).values())


@given(st.text(alphabet=st.characters(exclude_categories=("Cs",))), names, st.booleans())
def test_any_variable_is_read_or_rejected(value, name, limit):
    variable = f"{PREFIX}{'LIMITS_' * limit}{name.upper()}"
    message = ""
    try:
        read_settings(None, {variable: value}, {})
    except SettingsError as error:
        message = str(error)
    assert not message or variable in message


@given(st.binary(max_size=200))
def test_whatever_a_file_holds_is_understood_or_refused(tmp_path_factory, content):
    file = tmp_path_factory.getbasetemp() / "any.toml"
    file.write_bytes(content)
    try:
        read_settings(file, {}, {})
    except SettingsError:
        return
    assert tomllib.loads(file.read_text()).keys() <= {
        field.name for field in msgspec.structs.fields(Settings)
    }
