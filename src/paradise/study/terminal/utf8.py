"""All text is UTF-8, whatever the shell's locale says."""

import os
import sys
from locale import getencoding


def require_utf8() -> None:
    """Starts this process again in Python's UTF-8 mode, where its locale has another encoding; its children follow."""
    if not sys.flags.utf8_mode and getencoding().lower() not in ("utf-8", "utf8"):
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
