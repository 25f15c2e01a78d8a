"""Tries what can go wrong, at random moments, and writes what came of it into `docs/reliability.md`.

`make faults`, or `make faults TRIES=1000 KINDS=kills`. As root it fills a small file system of its own; else that kind
is left out, and the page says so.
"""

import argparse
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import commands as ours
import kills
from commands import ENVIRONMENTS, PAIRS, Project
from conftest import REPOSITORY, make_preset

from paradise.study.data.prepare import prepare

PAGE = REPOSITORY / "docs" / "reliability.md"
TITLES = {
    "kills": "`kill -9` of a training at a random moment",
    "ended": "Snakemake ended: SIGINT, SIGTERM, SIGKILL, alone or with its jobs; a second one beside it",
    "full": "The disk full at a random moment of a training",
    "pairs": "Two commands at once",
    "environment": "Another environment: HOME, TMPDIR, encoding, width, a full or closed output",
}


@dataclass
class Tally:
    """What came of the tries of one kind."""

    tried: int = 0
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, faults: list[str]) -> None:
        self.tried += 1
        self.faults += faults
        print("." if not faults else f"\n{faults}\n", end="", flush=True)

    def count(self, *words: str) -> int:
        """Of how many faults one of the words tells."""
        return sum(any(word in fault for word in words) for fault in self.faults)


def try_kills(folder: Path, tries: int, chance: random.Random) -> Tally:
    """`tries` kills, of both loaders with one process and with two."""
    tally, doing = Tally(), Counter[str]()
    prepare(make_preset(folder / "digits").data, "test")
    kills.watch_phases()
    for number, (loader, size) in enumerate((loader, size) for loader in ("memory", "dali") for size in (1, 2)):
        place = folder / f"{loader}{size}"
        place.mkdir()
        share = (tries + 3 - number) // 4
        found = kills.kill_many(place, folder / "digits", loader, size, share, chance.randrange(2**31))
        tally.tried += found.kills.total()
        tally.faults += [f"{loader}, {size} processes: {fault}" for fault in found.faults]
        doing += found.kills
        tally.notes.append(f"{loader}, {size} process{'es' * (size > 1)}: {found.kills.total()}")
        print(f"{tally.notes[-1]}, {len(found.faults)} faults", flush=True)
    tally.notes += [f"while {phase}: {count}" for phase, count in doing.most_common()]
    return tally


def try_others(kind: str, folder: Path, tries: int, chance: random.Random) -> Tally:
    """`tries` of a kind that takes real commands; all of its cases at least once."""
    tally, project = Tally(), Project(folder / "project")
    if kind == "full" and not _mounted(folder / "disk"):
        tally.notes.append("not tried: only root can mount a small file system")
        return tally
    cases = list(_cases(kind, project, folder, chance))
    for number in range(max(tries, len(cases))):
        tally.add(cases[number % len(cases)]())
    print()
    return tally


def _cases(kind: str, project: Project, folder: Path, chance: random.Random) -> Iterator[Callable[[], list[str]]]:
    if kind == "ended":
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            for all_of_it in (False, True):
                yield lambda number=number, all_of_it=all_of_it: ours.end_snakemake(project, chance, number, all_of_it)
    if kind == "full":
        yield lambda: ours.fill_disk(project, chance, folder / "disk")
    if kind == "pairs":
        for pair in PAIRS:
            yield lambda pair=pair: ours.run_two(project, chance, pair)
    if kind == "environment":
        for command in ours.COMMANDS:
            for environment in ENVIRONMENTS:
                yield lambda environment=environment, command=command: ours.run_in(project, environment, command)
            yield lambda command=command: ours.print_into(project, command)


def _mounted(disk: Path) -> bool:
    disk.mkdir()
    return (
        os.getuid() == 0 and not subprocess.run(["mount", "-t", "tmpfs", "-o", "size=500m", "faults", disk]).returncode
    )


def write_row(kind: str, tally: Tally, seed: int) -> None:
    """Puts what came of a kind in the place of its row in the page."""
    wrong, traces = tally.count("other weights", "half"), tally.count("Traceback", "traceback")
    lost = tally.count("lost", "trained ", "going on")
    rest = len(tally.faults) - wrong - traces - lost
    counts = " | ".join(map(str, (tally.tried, wrong, traces, lost, rest)))
    again = f"`make faults KINDS={kind} TRIES={tally.tried} SEED={seed}`"
    row = f"| {TITLES[kind]} | {counts} | {again} | {'; '.join(tally.notes)} |"
    pattern, text = rf"(?m)^\| {re.escape(TITLES[kind])} \|.*$", PAGE.read_text(encoding="utf-8")
    PAGE.write_text(re.sub(pattern, lambda _: row, text), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help="all by default")
    parser.add_argument("--tries", type=int, default=100, help="of each kind")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--show", action="store_true", help="write nothing into docs/reliability.md")
    options = parser.parse_args()
    if unknown := set(options.kinds) - TITLES.keys():
        parser.error(f"no kind {', '.join(unknown)}; choose from {', '.join(TITLES)}")
    failed = False
    for kind in options.kinds or TITLES:
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as name:
            folder, chance = Path(name), random.Random(f"{kind} {options.seed}")
            try:
                tally = (
                    try_kills(folder, options.tries, chance)
                    if kind == "kills"
                    else try_others(kind, folder, options.tries, chance)
                )
            finally:
                if (folder / "disk").is_mount():
                    subprocess.run(["umount", folder / "disk"], check=True)
        failed |= bool(tally.faults)
        print(f"{kind}: {tally.tried} tried, {len(tally.faults)} faults, {(time.monotonic() - began) / 60:.0f} min")
        print("".join(f"  {fault}\n" for fault in tally.faults), end="", flush=True)
        if not options.show:
            write_row(kind, tally, options.seed)
    sys.exit(failed)


if __name__ == "__main__":
    main()
