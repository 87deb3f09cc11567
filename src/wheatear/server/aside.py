"""Work in Python that takes a moment: beside the event loop, and never two at a time.

More threads at it would only take turns with the event loop and the schedulers.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")
_thread = ThreadPoolExecutor(1, "wheatear-aside")


async def aside(work: Callable[..., Result], *arguments: object) -> Result:
    """What the work returns, or raises; others go on meanwhile."""
    return await asyncio.get_running_loop().run_in_executor(_thread, work, *arguments)
