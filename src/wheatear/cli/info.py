"""`wheatear info`: properties of a model."""

from wheatear.common.terminal_text import printable
from wheatear.errors import ModelNotFoundError
from wheatear.model.published import PublishedModel, find_published
from wheatear.model.store import find_bundle
from wheatear.recognizer.loading import describe_model


def info(model: str | None = None, /) -> None:
    """Show a model's architecture, latencies, locales, precision, sizes and license.

    For a published model that is not on this machine, it also shows how to fetch it.

    Parameters
    ----------
    model
        Model folder or name; by default the shipped model.
    """
    try:
        found = find_bundle(model)
    except ModelNotFoundError:
        published = None if model is None else find_published(model)
        if published is None:
            raise
        _show(_about(str(model), published))
        return
    bundle = describe_model(found)
    m = bundle.manifest
    heads = f"{m.encoder.heads} heads, " if m.encoder.heads else ""
    latencies = [
        f"{mode.latency_ms}{' (default)' if mode == m.default_mode else ''}" for mode in m.modes
    ]
    rows = {
        "model": m.name,
        "folder": str(bundle.path),
        "precision": m.precision,
        "parameters": f"{m.parameters:,}" if m.parameters else "unknown",
        "encoder": f"{m.encoder.layers} layers, width {m.encoder.width}, {heads}"
        f"left context {m.encoder.left} frames of 80 ms",
        "decoder": f"{m.decoder.layers} LSTM layers of {m.decoder.hidden}, "
        f"{m.decoder.blank:,} pieces",
        "latencies": f"{', '.join(latencies)} ms; default for files: "
        f"{max(mode.latency_ms for mode in m.modes)} ms",
        "locales": ", ".join(m.prompts) or "one language, no prompt",
        "source": m.source,
        "license": m.license or "not stated in the checkpoint",
        "size": f"{sum(bundle.sizes.values()) / 1e6:.1f} MB",
    }
    _show(rows)
    for name, size in bundle.sizes.items():
        print(f"{'':11} {size:>13,}  {name}")
    for name, text in bundle.notices().items():
        if name.startswith("NOTICE"):  # attributions that the license requires
            print(f"\n{printable(text.strip(), lines=True)}")


def _about(name: str, model: PublishedModel) -> dict[str, str]:
    """Returns the rows of a published model that is not on this machine."""
    return {
        "model": f"{name}, not on this machine; to fetch it run: wheatear pull {name}",
        "about": model.about,
        "source": f"{model.repo}, revision {model.revision}",
        "latencies": f"{', '.join(map(str, model.latencies_ms))} ms",
        "locales": ", ".join(model.locales),
        "license": f"{model.license.name}, {model.license.link}",
        "size": f"about {model.size / 1e9:.1f} GB to fetch ({model.file})",
    }


def _show(rows: dict[str, str]) -> None:
    for key, value in rows.items():
        print(f"{key:11} {printable(value)}")
