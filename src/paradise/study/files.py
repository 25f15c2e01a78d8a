"""How the study writes: text, JSON and CSV, whole or not at all; and for one process at a time."""

import csv
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from paradise.errors import UserError
from paradise.files import replacing


@contextmanager
def locked(path: Path, taken: str) -> Iterator[None]:
    """Holds the lock file `path`, for one process at a time; it is free again however that process ends.

    Raises:
        UserError: Another process holds it; it says `taken`. Or the folder cannot be written.
    """
    lock = FileLock(path, blocking=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise UserError(taken) from None
    except OSError as error:
        raise UserError(f"{path.parent} cannot be written: {error.strerror or error}") from None
    try:
        yield
    finally:
        lock.release()


def write_text(path: Path, text: str) -> None:
    """Writes `text`, UTF-8, to `path`."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Writes `value` to `path` as JSON, which knows no NaN."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_csv(path: Path, header: Iterable[Any], lines: Iterable[Iterable[Any]]) -> None:
    """Writes a header and lines to `path`."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(lines)
