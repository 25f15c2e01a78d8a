"""SHA-256 of files; and what was found out of a file, remembered until the system says something else of it."""

import atexit
import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from paradise.errors import UserError
from paradise.files import replacing

MEMORY = Path(".snakemake/paradise-memory.json")  # may be deleted at any time
LARGE = 1 << 20  # bytes: smaller files are read faster than looked up

_memory: dict[str, list[Any]] | None = None
_news = False


def sha256(path: Path) -> str:
    """The SHA-256 of the file `path`, in hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remembered_sha256(path: Path) -> str:
    """As `sha256`; a large file is read only where it is not as it was the last time."""
    if path.stat().st_size < LARGE:
        return sha256(path)
    digest: str = remembered("sha256", path, sha256)
    return digest


def remembered(what: str, path: Path, find_out: Callable[[Path], Any]) -> Any:
    """What `find_out` says of a file: asked again only where its size, times or inode are not those of the last time.

    Args:
        what: A name for what is found out.
        path: The file.
        find_out: Gives a JSON value.

    Returns:
        What it says now, or said of the same file.
    """
    global _news
    status = path.stat()
    identity = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
    memory, key = _remember(), f"{what} {path.absolute()}"
    known = memory.get(key)
    if known is None or known[0] != identity:
        known = memory[key] = [identity, find_out(path)]
        _news = True
    return known[1]


def _remember() -> dict[str, list[Any]]:
    global _memory
    if _memory is None:
        _memory = {}
        with suppress(OSError, ValueError, TypeError):
            _memory = dict(json.loads(MEMORY.read_text()))
        atexit.register(_save, MEMORY.absolute())
    return _memory


def _save(path: Path) -> None:
    # Where it cannot be written, the next time finds out again.
    if _news:
        with suppress(UserError, OSError):
            path.parent.mkdir(exist_ok=True)
            with replacing(path) as temporary:
                temporary.write_text(json.dumps(_memory))
