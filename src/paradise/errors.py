"""The one exception for mistakes that a user can mend."""

from difflib import get_close_matches


class UserError(ValueError):
    """One line: what is wrong, where, what to do. The command line prints it and exits with 2."""


def nearest(word: str, choices) -> str:
    """`"; did you mean 'x'?"` for the choice most like `word`, else a list of all choices."""
    matches = get_close_matches(word, list(choices), n=1)
    return f"; did you mean '{matches[0]}'?" if matches else f"; choose from {', '.join(choices)}"
