"""How a run is asked to end."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def signals() -> Iterator[list[int]]:
    """The signals, of those that ask a run to end, that came so far. SIGUSR1 is what schedulers warn with."""
    caught: list[int] = []
    asking = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    before = {number: signal.signal(number, lambda number, _: caught.append(number)) for number in asking}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
