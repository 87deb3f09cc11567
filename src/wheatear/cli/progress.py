"""Progress bars on standard error."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn


def progress_bar(*columns: ProgressColumn, shown: bool = True) -> Progress:
    """Makes a bar that is removed at the end, and hidden unless standard error is a terminal."""
    console = Console(stderr=True)
    return Progress(
        *columns, console=console, transient=True, disable=not (shown and console.is_terminal)
    )


@contextmanager
def show_steps() -> Iterator[Callable[[str, float], None]]:
    """Shows a bar; the function that it yields takes the current step and its share done."""
    with progress_bar(TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda step, share: bar.update(task, description=step, completed=share)
