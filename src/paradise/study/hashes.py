"""SHA-256 of files, remembered by what the system says of a file, so that a gigabyte is not read again each time."""

import atexit
import hashlib
import json
from contextlib import suppress
from pathlib import Path

from paradise.errors import UserError
from paradise.files import replacing

MEMORY = Path(".snakemake/paradise-hashes.json")  # may be deleted at any time
LARGE = 1 << 20  # bytes: smaller files are read faster than looked up

_known: dict[str, list] | None = None
_new = False


def sha256(path: Path) -> str:
    """The SHA-256 of the file `path`, in hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remembered_sha256(path: Path) -> str:
    """As `sha256`; a large file is read only where its size, time or inode are not those of the last time."""
    global _new
    status = path.stat()
    if status.st_size < LARGE:
        return sha256(path)
    identity = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
    memory, key = _memory(), str(path.absolute())
    entry = memory.get(key)
    if entry is None or entry[:-1] != identity:
        entry = memory[key] = [*identity, sha256(path)]
        _new = True
    return entry[-1]


def _memory() -> dict[str, list]:
    global _known
    if _known is None:
        _known = {}
        with suppress(OSError, ValueError, TypeError):
            _known = dict(json.loads(MEMORY.read_text()))
        atexit.register(_save, MEMORY.absolute())
    return _known


def _save(path: Path) -> None:
    # Where it cannot be written, the next time reads the files again.
    if _new and path.parent.is_dir():
        with suppress(UserError), replacing(path) as temporary:
            temporary.write_text(json.dumps(_known))
