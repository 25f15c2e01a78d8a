"""How a command ends when it does not end well."""

from collections.abc import Collection
from difflib import get_close_matches

INTERRUPTED = 75  # the exit code of a run that saved its state and wants to go on; sysexits.h calls it EX_TEMPFAIL


class UserError(ValueError):
    """One line: what is wrong, where, what to do. The command line prints it and exits with 2."""


class Interrupted(Exception):
    """A signal ended the work, whose state is saved. The command line prints it and exits with `INTERRUPTED`."""


def nearest(word: str, choices: Collection[str]) -> str:
    """What a message says behind a word that is none of the choices.

    Args:
        word: What was given.
        choices: What could have been.

    Returns:
        `"; did you mean 'x'?"` for the choice most like the word, else `"; choose from "` and all of them.
    """
    matches = get_close_matches(word, choices, n=1)
    return f"; did you mean '{matches[0]}'?" if matches else f"; choose from {', '.join(choices)}"
