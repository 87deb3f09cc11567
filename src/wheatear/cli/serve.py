"""`wheatear serve`: the live service."""

import os
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from wheatear.errors import MissingExtraError


def serve(
    *,
    host: Annotated[
        str | None, Parameter(help="Address to listen on; 127.0.0.1 if left out: this machine.")
    ] = None,
    port: Annotated[
        int | None, Parameter(help="Port; 8000 if left out, 0 takes any that is free.")
    ] = None,
    model: Annotated[
        tuple[str, ...],
        Parameter(
            negative="",
            help="Bundle by path or name, or NAME=PATH; may be given several times, the first is "
            "the default. The model that comes with Wheatear if left out.",
        ),
    ] = (),
    api_key_file: Annotated[
        Path | None,
        Parameter(help='File of keys, made by "wheatear key"; without, everybody is let in.'),
    ] = None,
    config: Annotated[Path | None, Parameter(help="TOML file of settings.")] = None,
    latency: Annotated[
        int | None, Parameter(help="Milliseconds, of live streams that do not say.")
    ] = None,
    threads: Annotated[int | None, Parameter(help="Processors that a step may use.")] = None,
    wyoming_port: Annotated[
        int | None, Parameter(help="Port for Home Assistant's Wyoming protocol.")
    ] = None,
    log_format: Annotated[
        Literal["text", "json"] | None, Parameter(help="How the log is written.")
    ] = None,
) -> None:
    """Serve files, live streams and a page: OpenAI's wire, WebSockets, SSE.

    Every setting can be given in a TOML file, as an environment variable (WHEATEAR_SERVE_HOST),
    or, the commonest ones, as an option here, which counts most. docs/serving.md has them all.
    """
    try:
        from wheatear.server.main import run  # noqa: PLC0415
        from wheatear.server.settings import read_settings  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtraError(
            f"serving needs {error.name}: pip install 'wheatear[server]'"
        ) from error
    flags = {
        "host": host, "port": port, "models": model or None,
        "api_key_file": None if api_key_file is None else str(api_key_file),
        "latency_ms": latency, "threads": threads, "wyoming_port": wyoming_port,
        "log_format": log_format,
    }  # fmt: skip
    settings = read_settings(config, os.environ, flags)
    run(settings, lambda address: print(f"Wheatear listens on {address}", flush=True))
