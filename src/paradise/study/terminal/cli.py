"""The command line: the command of each step, and those that look at a study or share it."""

import importlib
import os
import sys
import time
from contextlib import suppress
from typing import Any, ClassVar

import typer
from typer.core import TyperGroup

from paradise.errors import INTERRUPTED, Interrupted, UserError
from paradise.study.registry import Registry
from paradise.study.steps import STEPS
from paradise.study.terminal.utf8 import require_utf8

COMMANDS = Registry("paradise.study.terminal.commands", "command", "command", dashes=True)
# What the commands of a group are called there; all others are called as their step is.
GROUPS = {
    "detection": "Table 3, step by step, in mmdetection.",
    "evidence": "Why the method may work, piece by piece.",
}
GROUPED = {
    "prepare_detection": ("detection", "prepare"),
    "train_detector": ("detection", "train"),
    "evaluate_detector": ("detection", "evaluate"),
    "profile_detectors": ("detection", "profile"),
    "detection-config": ("detection", "config"),
    "make_evidence": ("evidence", "make"),
    "train_start": ("evidence", "train"),
    "table": (None, "tables"),
}


class Commands(TyperGroup):
    """Commands by name, each in a module that is imported when it is asked for: a step loads no other step's code."""

    modules: ClassVar[dict[str, str]] = {}
    groups: ClassVar[dict[str, TyperGroup]] = {}

    def list_commands(self, context: Any) -> list[str]:
        """The names of all commands."""
        return [*sorted(self.modules), *self.groups]

    def get_command(self, context: Any, name: str) -> Any:
        """The command of this name, or None."""
        if name in self.groups:
            return self.groups[name]
        if name not in self.modules:
            return None
        app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        app.command(name)(importlib.import_module(self.modules[name]).command)
        return typer.main.get_command(app)


def build() -> TyperGroup:
    """The command line with every command that is there."""
    modules: dict[str | None, dict[str, str]] = {None: {}} | {group: {} for group in GROUPS}
    for registry in (STEPS, COMMANDS):
        for name in registry.names():
            group, called = GROUPED.get(name, (None, name.replace("_", "-")))
            modules[group][called] = registry.module(name)
    groups = {name: _group(name, text, modules[name], {}) for name, text in GROUPS.items()}
    return _group(
        "paradise", "Reproduce the ParaDise paper, step by step; `snakemake` runs all steps.", modules[None], groups
    )


def _group(name: str, text: str, modules: dict[str, str], groups: dict[str, TyperGroup]) -> TyperGroup:
    commands = type("Commands", (Commands,), {"modules": modules, "groups": groups})
    app = typer.Typer(
        name=name, help=text, cls=commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
    )
    app.callback()(lambda: None)
    group = typer.main.get_group(app)
    group.help = text
    group.commands = dict.fromkeys([*modules, *groups], group)  # what a misspelt one may have meant
    return group


def main() -> None:
    """Runs the command line: a user's error is one line and exit code 2, an interruption to go on from is 75.

    So is what the system refuses: a folder that is read-only, a full disk below what is printed.
    """
    require_utf8()
    try:
        code = _run()
        sys.stdout.flush()
    except BrokenPipeError:  # nobody reads on
        code = 1
    except OSError as error:
        what = f"{error.filename} cannot be used" if error.filename else "what is printed cannot be written"
        _say(f"error: {what}: {error.strerror or error}")
        code = 2
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # else Python says at its end that it cannot say it
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    sys.exit(code)


def _run() -> Any:
    """Runs the command line; returns its exit code."""
    first = os.environ.get("RANK", "0") == "0"
    try:
        return build()(prog_name="paradise")
    except SystemExit as ending:
        return ending.code
    except UserError as error:
        if not first:
            # Where all processes of a run fail alike, torchrun ends the others before they repeat the first's words.
            time.sleep(2)
        _say(f"error: {error}")
        return 2
    except Interrupted as ending:
        if first:
            _say(ending)
        return INTERRUPTED


def _say(words: Any) -> None:
    with suppress(OSError):
        print(words, file=sys.stderr, flush=True)
