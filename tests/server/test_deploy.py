"""What is in deploy/ fits the command: settings that exist, flags that exist, files that parse."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from wheatear.cli import main
from wheatear.server.settings import PREFIX, read_settings

DEPLOY = Path(__file__).parents[2] / "deploy"


def test_the_settings_file_says_what_can_be_said():
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
    service = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["wheatear"]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert (DEPLOY.parent / service["build"]["dockerfile"]).is_file()


def test_the_image_runs_as_nobody_and_installs_what_serving_needs():
    lines = (DEPLOY / "Dockerfile").read_text()
    assert lines.rindex("\nUSER ") < lines.index("\nENTRYPOINT ")
    assert "[server,media]" in lines
    project = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text())["project"]
    assert {"server", "media"} <= project["optional-dependencies"].keys()


def test_the_unit_starts_a_command_that_there_is(capsys):
    unit = (DEPLOY / "wheatear.service").read_text()
    command = re.search(r"(?m)^ExecStart=\S+ (.+)$", unit)[1].split()
    assert command[0] == "serve"
    with pytest.raises(SystemExit) as ended:
        main(["serve", "--help"])
    assert ended.value.code == 0
    help_text = capsys.readouterr().out
    assert all(flag in help_text for flag in command if flag.startswith("--"))


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd here")
def test_systemd_understands_the_unit(tmp_path):
    unit = (DEPLOY / "wheatear.service").read_text()
    (tmp_path / "wheatear.service").write_text(
        unit.replace("/opt/wheatear/bin/wheatear", "/bin/true")
    )
    run = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / "wheatear.service")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    said = [line for line in run.stderr.splitlines() if "wheatear" in line]
    assert not said, run.stderr


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
