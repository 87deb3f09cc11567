"""matplotlib, imported so that it keeps its list of fonts in Wheatear's cache.

A program that has imported it before keeps its own folders. Without matplotlib this module raises
ModuleNotFoundError.
"""

from wheatear.common.telemetry import caches_here

with caches_here():
    import matplotlib.font_manager  # looks for fonts as it is imported
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import ScalarFormatter

    matplotlib.get_cachedir()  # which it remembers
    matplotlib.get_configdir()

rc_context = matplotlib.rc_context

__all__ = ["Axes", "Figure", "ScalarFormatter", "rc_context"]
