"""matplotlib, imported so that it keeps its list of fonts in Wheatear's cache.

If the program has imported matplotlib already, its folders do not change. Without matplotlib this
module raises ModuleNotFoundError.
"""

from collections.abc import Sequence

from wheatear.common.telemetry import caches_here

with caches_here():
    import matplotlib.font_manager  # looks for fonts as it is imported
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import ScalarFormatter

    matplotlib.get_cachedir()  # which it remembers
    matplotlib.get_configdir()

rc_context = matplotlib.rc_context

__all__ = ["Axes", "Figure", "ScalarFormatter", "rc_context", "set_latency_axis"]


def set_latency_axis(axes: Axes, latencies_ms: Sequence[int]) -> None:
    """Makes the x axis logarithmic, with a tick at each latency."""
    axes.set(xscale="log", xlabel="latency, ms")
    axes.set_xticks(latencies_ms, list(map(str, latencies_ms)))
    axes.minorticks_off()
