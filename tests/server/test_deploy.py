"""Files of deploy/ fit the command: their settings and flags exist, and they parse."""

import re
import shutil
import subprocess
import tomllib
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from wheatear.cli import main
from wheatear.server.settings import PREFIX, read_settings

DEPLOY = Path(__file__).parents[2] / "deploy"
IMAGE, UNIT = ((DEPLOY / name).read_text() for name in ("Dockerfile", "wheatear.service"))
_SPEC = spec_from_file_location("lock", DEPLOY / "lock.py")
lock = module_from_spec(_SPEC)
_SPEC.loader.exec_module(lock)


def test_settings_file_has_known_settings():
    settings = read_settings(DEPLOY / "serve.toml", {}, {})
    assert settings.limits.streams == 100
    commented = re.sub(r"(?m)^# (\w+ = )", r"\1", (DEPLOY / "serve.toml").read_text())
    assert tomllib.loads(commented)["models"]
    path = DEPLOY / "serve.toml"
    assert read_settings(path, {}, {"models": ("x",)}).models == ("x",)


@pytest.mark.parametrize("name", ["Dockerfile", "compose.yaml"])
def test_variables_are_settings(name):
    text = (DEPLOY / name).read_text()
    found = dict(re.findall(rf"({PREFIX}[A-Z_]+)\s*[=:]\s*(\S+)", text))
    assert found
    read_settings(None, found, {})


def test_compose_is_locked_down():
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    for service in services.values():
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert service["pids_limit"] > 0
        assert size(service["mem_limit"]) > size(service["tmpfs"][0].split("size=")[1])
        assert service["mem_limit"] == service["memswap_limit"]
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
        assert (DEPLOY.parent / service["build"]["dockerfile"]).is_file()


def size(text):
    number, unit = re.match(r"(\d+)([gm])", text).groups()
    return int(number) << {"g": 30, "m": 20}[unit]


def test_compose_has_a_step_that_fills_the_folder_of_models():
    """The server reads it, `pull` writes it, and the image gives it to the user of both."""
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    assert services["wheatear"]["volumes"] == ["models:/models:ro"]
    assert services["pull"]["volumes"] == ["models:/models"]
    assert services["pull"]["entrypoint"] == ["wheatear", "pull"]
    assert services["pull"]["profiles"]  # not part of `up`
    user = re.search(r"(?m)^USER (\d+)$", IMAGE)[1]
    assert re.search(rf"useradd .*--uid {user}\b", IMAGE)
    assert "install -d -o wheatear -g wheatear /models" in IMAGE
    assert "WHEATEAR_MODELS=/models" in IMAGE


def test_the_users_of_image_and_unit_can_read_keys_of_mode_0600():
    """Files are mounted with their owner, so that Compose and systemd make copies."""
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    (secret,) = compose["services"]["wheatear"]["secrets"]
    user = re.search(r"(?m)^USER (\d+)$", IMAGE)[1]
    assert (secret["uid"], secret["gid"], secret["mode"]) == (user, user, 0o400)
    assert compose["secrets"][secret["source"]].keys() == {"environment"}  # only they take a uid
    environment = compose["services"]["wheatear"]["environment"]
    assert environment["WHEATEAR_SERVE_API_KEY_FILE"] == f"/run/secrets/{secret['target']}"
    assert re.search(r"(?m)^LoadCredential=keys\.toml:/etc/wheatear/keys\.toml$", UNIT)
    assert "--api-key-file ${CREDENTIALS_DIRECTORY}/keys.toml" in UNIT


def test_a_server_that_answers_nothing_or_grows_is_ended():
    environment = re.search(r"(?s)\nENV (.*?[^\\])\n", IMAGE)[1]
    seconds = re.search(r"WHEATEAR_SERVE_WATCHDOG_SECONDS=(\S+)", environment)[1]
    assert read_settings(None, {"WHEATEAR_SERVE_WATCHDOG_SECONDS": seconds}, {}).watchdog_seconds
    for line in ("Type=notify", r"WatchdogSec=\d+", r"MemoryMax=\d+G", r"TasksMax=\d+"):
        assert re.search(rf"(?m)^{line}$", UNIT)
    assert re.search(r"(?m)^Restart=on-failure$", UNIT)  # which a watchdog's end is


def test_image_runs_without_privileges_and_installs_the_server():
    assert IMAGE.rindex("\nUSER ") < IMAGE.index("\nENTRYPOINT ")
    assert lock.EXTRAS == ("server", "media", "hub")
    assert "./native" in IMAGE
    steps = re.split(r"&&|\n", IMAGE.replace("\\\n", " "))
    installs = [step for step in steps if re.search(r"pip (install|download) ", step)]
    assert len(installs) == 4
    for command in installs:  # hashes, but of what was built here
        assert "--require-hashes" in command or "/own/" in command
    assert re.findall(r"(?m)^FROM (.*)$", IMAGE) == ["${PYTHON_IMAGE} AS build", "${PYTHON_IMAGE}"]
    for folder in re.findall(r"(?m)^COPY (\S+)", IMAGE):
        assert (DEPLOY.parent / folder).exists()


@pytest.mark.parametrize("name", ["requirements.txt", "build-requirements.txt"])
def test_packages_of_the_image_are_held_against_hashes(name):
    for line in locked(name).values():
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", line)
    assert "://" not in (DEPLOY / name).read_text()


def test_the_image_has_the_versions_that_the_tests_run_with():
    """`python deploy/lock.py` after each change of constraints.txt or pyproject.toml."""
    versions = {
        name: Version(line.split()[0].split("==")[1])
        for name, line in locked("requirements.txt").items()
    }
    text = (DEPLOY.parent / "constraints.txt").read_text()
    constraints = dict(re.findall(r"(?m)^([\w.-]+)==(\S+)", text))
    tested = {canonicalize_name(name): Version(v) for name, v in constraints.items()}
    assert {n: v for n, v in versions.items() if n in tested} == {
        n: v for n, v in tested.items() if n in versions
    }
    project = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    needed = [*project["dependencies"], *extras["convert"]]
    needed += [line for extra in lock.EXTRAS for line in extras[extra]]
    for requirement in map(Requirement, needed):
        if requirement.name != "wheatear":
            assert versions[canonicalize_name(requirement.name)] in requirement.specifier


def locked(name):
    """Lines of a file of requirements by package; each has its hashes."""
    lines = (DEPLOY / name).read_text().replace("\\\n", " ").splitlines()
    return {re.match(r"[\w.-]+", line)[0]: line for line in lines if line[:1].isalnum()}


def test_the_unit_starts_a_command_that_there_is(capsys):
    command = re.search(r"(?m)^ExecStart=\S+ (.+)$", UNIT)[1].split()
    assert command[0] == "serve"
    with pytest.raises(SystemExit) as ended:
        main(["serve", "--help"])
    assert ended.value.code == 0
    help_text = capsys.readouterr().out
    assert all(flag in help_text for flag in command if flag.startswith("--"))


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd here")
def test_systemd_understands_the_unit(tmp_path):
    (tmp_path / "wheatear.service").write_text(
        UNIT.replace("/opt/wheatear/bin/wheatear", "/bin/true")
    )
    run = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / "wheatear.service")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    reported = [line for line in run.stderr.splitlines() if "wheatear" in line]
    assert not reported, run.stderr


@pytest.mark.skipif(not shutil.which("nginx"), reason="there is no nginx here")
def test_nginx_understands_its_part(tmp_path):
    part = re.sub(r"(?m)^\s+ssl_certificate.*$", "", (DEPLOY / "nginx.conf").read_text())
    part = part.replace("443 ssl", "127.0.0.1:0443")
    config = tmp_path / "nginx.conf"
    config.write_text(f"pid {tmp_path}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{\n{part}\n}}\n")
    run = subprocess.run(
        ["nginx", "-t", "-c", str(config)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
