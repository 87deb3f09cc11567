"""`wheatear info`: what a bundle holds."""

from wheatear.bundle import find_bundle
from wheatear.foreign import open_model


def info(model: str | None = None, /) -> None:
    """Show what a model can do: architecture, latencies, locales, precision, sizes, licence.

    Parameters
    ----------
    model
        Model folder or name; the model that comes with Wheatear if left out.
    """
    bundle = open_model(find_bundle(model), threads=1)
    m = bundle.manifest
    heads = f"{m.encoder.heads} heads, " if m.encoder.heads else ""
    latencies = [
        f"{mode.latency_ms}{' (default)' if mode == m.default_mode else ''}" for mode in m.modes
    ]
    rows = {
        "model": m.name,
        "folder": str(bundle.path),
        "precision": m.precision,
        "parameters": f"{m.parameters:,}" if m.parameters else "not told",
        "encoder": f"{m.encoder.layers} layers, width {m.encoder.width}, {heads}"
        f"left context {m.encoder.left} frames of 80 ms",
        "decoder": f"{m.decoder.layers} LSTM layers of {m.decoder.hidden}, "
        f"{m.decoder.blank:,} pieces",
        "latencies": f"{', '.join(latencies)} ms; files that name none: "
        f"{max(mode.latency_ms for mode in m.modes)} ms",
        "locales": ", ".join(m.prompts) or "one language, no prompt",
        "source": m.source,
        "licence": m.licence or "not stated in the checkpoint",
        "size": f"{sum(bundle.sizes.values()) / 1e6:.1f} MB",
    }
    for key, value in rows.items():
        print(f"{key:11} {value}")
    for name, size in bundle.sizes.items():
        print(f"{'':11} {size:>13,}  {name}")
    for name, text in bundle.notices().items():
        if name.startswith("NOTICE"):  # attributions travel with what they are for
            print(f"\n{text.strip()}")
