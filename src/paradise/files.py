"""Files appear whole or not at all: written beside their place under another name, then renamed."""

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path

from paradise.errors import UserError

try:
    import fcntl
except ImportError:  # no Unix: there nobody can tell a file that is being written from one that was left
    fcntl = None  # type: ignore[assignment]

FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def replacing(path: str | Path, size: int | None = None) -> Iterator[Path]:
    """A temporary path beside `path`, which takes its place at the end and is removed where the block raises.

    What processes that were killed left of earlier ones is removed.

    Args:
        path: The file to write; its folder is made.
        size: How many bytes it will have, where that is known: a full disk is told with it.

    Yields:
        The path to write to.

    Raises:
        UserError: It cannot be written: a full disk, say.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _hold(temporary):
            _remove_left(path)
            yield temporary
            temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise UserError(f"{path} cannot be written: {error.strerror or error}{_lacking(error, path, size)}") from None
    finally:
        with suppress(OSError):
            temporary.unlink()


def megabytes(size: float) -> str:
    """`"45 MB"`, rounded up."""
    return f"{-(-size // 1_000_000):.0f} MB"


@contextmanager
def _hold(temporary: Path) -> Iterator[None]:
    """Makes a file and locks it until the block ends, or the process, however it does."""
    while True:
        with temporary.open("wb") as file:
            if fcntl:
                with suppress(OSError):  # a file system without locks
                    fcntl.flock(file, fcntl.LOCK_EX)
            if os.fstat(file.fileno()).st_nlink or not fcntl:  # else it was removed before it was locked
                yield
                return


def _remove_left(path: Path) -> None:
    """Removes what is left of processes that were writing `path`: temporary files that nobody has locked."""
    for left in path.parent.glob(f".{escape(path.name)}.*.part"):
        with suppress(OSError), left.open("rb") as file:
            if fcntl:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                left.unlink()


def _lacking(error: OSError, path: Path, size: int | None) -> str:
    if error.errno not in FULL or size is None:
        return ""
    return f": it takes {megabytes(size)}, and {megabytes(shutil.disk_usage(path.parent).free)} are free"
