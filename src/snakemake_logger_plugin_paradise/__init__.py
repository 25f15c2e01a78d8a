"""Snakemake finds plugins by this package's name; `workflow/profiles/default` asks for this one.

It is loaded before Snakemake looks for its folders, which some shells name and nobody can write to.
"""

import os
import sys
import tempfile
from pathlib import Path

from paradise.study.terminal.display import LogHandler
from paradise.study.terminal.utf8 import require_utf8

__all__ = ["LogHandler"]


def _require_folders() -> None:
    """Puts a folder that can be written in the place of a cache or temporary folder that cannot.

    Ends where Snakemake cannot write into the folder that it works in.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
    try:
        if not cache.is_absolute():  # a user without a home folder
            raise FileNotFoundError
        Path(cache, "snakemake").mkdir(parents=True, exist_ok=True)
    except OSError:
        os.environ["XDG_CACHE_HOME"] = str(Path(".snakemake/cache").absolute())
    try:
        usable = tempfile.gettempdir()  # it has tried what the environment names, and the usual ones
    except OSError:
        print("error: no temporary folder can be written; name one in TMPDIR", file=sys.stderr)
        sys.exit(2)
    if not any(argument.startswith(("-d", "--directory")) for argument in sys.argv):
        try:
            Path(".snakemake").mkdir(exist_ok=True)
            Path(".snakemake/paradise.lock").touch()
        except OSError as error:
            print(f"error: {error.filename} cannot be written: {error.strerror}", file=sys.stderr)
            sys.exit(2)
    os.environ.update({name: usable for name in ("TMPDIR", "TEMP", "TMP") if name in os.environ})


require_utf8()
_require_folders()
