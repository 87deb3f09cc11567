"""`wheatear serve`: the server."""

import os
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from wheatear.cli.extras import requires_extra


def serve(
    *,
    host: Annotated[
        str | None, Parameter(help="Address to listen on; by default 127.0.0.1, this machine only.")
    ] = None,
    port: Annotated[
        int | None, Parameter(help="Port; by default 8000. 0 chooses a free port.")
    ] = None,
    model: Annotated[
        tuple[str, ...],
        Parameter(
            negative="",
            help="Model name, folder, or NAME=FOLDER; may be repeated, the first is the default "
            "model. By default the shipped model.",
        ),
    ] = (),
    api_key_file: Annotated[
        Path | None,
        Parameter(help='Key file, made by "wheatear key"; without it, no key is required.'),
    ] = None,
    config: Annotated[Path | None, Parameter(help="TOML file of settings.")] = None,
    latency: Annotated[
        int | None, Parameter(help="Default latency of live streams in milliseconds.")
    ] = None,
    threads: Annotated[int | None, Parameter(help="Number of threads of a step.")] = None,
    wyoming_port: Annotated[
        int | None, Parameter(help="Port for Home Assistant's Wyoming protocol.")
    ] = None,
    log_format: Annotated[
        Literal["text", "json"] | None, Parameter(help="Format of the log.")
    ] = None,
) -> None:
    """Serve files, live streams and a web page, with the APIs of OpenAI and others.

    Settings are read from a TOML file, from environment variables (WHEATEAR_SERVE_HOST), and from
    these options, which take precedence. docs/serving.md lists all settings.
    """
    with requires_extra("server", "serving"):
        from wheatear.server.main import run  # noqa: PLC0415
        from wheatear.server.settings import read_settings  # noqa: PLC0415
    flags = {
        "host": host, "port": port, "models": model or None,
        "api_key_file": None if api_key_file is None else str(api_key_file),
        "latency_ms": latency, "threads": threads, "wyoming_port": wyoming_port,
        "log_format": log_format,
    }  # fmt: skip
    settings = read_settings(config, os.environ, flags)
    run(settings, lambda address: print(f"Wheatear listens on {address}", flush=True))
