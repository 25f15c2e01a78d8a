"""The paper's published tables, read once. No torch here."""

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from paradise.errors import UserError
from paradise.names import BRANCHES
from paradise.study.rows import DetectorRow, Row

FOLDER = Path("data/paper")
Line = dict[str, str]  # published values by column, as they are printed


@dataclass(frozen=True)
class Ablation:
    """A line of the second table: the branches, and the rows that train them."""

    branches: tuple[str, ...]
    summed: Row
    gated: Row | None  # one branch alone has nothing to gate
    line: Line

    @property
    def rows(self) -> list[Row]:
        return [self.summed] if self.gated is None else [self.summed, self.gated]


@dataclass(frozen=True)
class Paper:
    """What is published; a table's rows are in its order."""

    imagenet: dict[Row, Line]
    ablation: tuple[Ablation, ...]
    coco: dict[DetectorRow, Line]

    @property
    def rows(self) -> list[Row]:
        """Every distinct classification training of the two tables."""
        return list(dict.fromkeys([*self.imagenet, *(row for line in self.ablation for row in line.rows)]))

    @property
    def detectors(self) -> list[DetectorRow]:
        """The rows of the third table, then for each detector a new one that nobody has published."""
        gated = [row for row in self.coco if row.backbone.kind == "pd_b"]
        return [*self.coco, *(DetectorRow(row.detector, row.backbone, inside=True) for row in gated)]


def read_paper(folder: Path = FOLDER) -> Paper:
    """The tables in `folder`. Raises UserError where they are not there."""
    return _read_paper(folder.absolute())


@cache
def _read_paper(folder: Path) -> Paper:
    ablation = []
    for line in _lines(folder / "ablation.csv"):
        branches = tuple(branch for branch in BRANCHES if line.get(branch) == "1")
        gated = Row.of("pd_b", 18, branches) if len(branches) > 1 else None
        ablation.append(Ablation(branches, Row.of("pd_a", 18, branches), gated, line))
    return Paper(
        {Row.printed(line["model"]): line for line in _lines(folder / "imagenet.csv")},
        tuple(ablation),
        {DetectorRow.printed(line["detector"], line["backbone"]): line for line in _lines(folder / "coco.csv")},
    )


def _lines(path: Path) -> list[Line]:
    try:
        with path.open(newline="") as file:
            return list(csv.DictReader(file))
    except FileNotFoundError:
        raise UserError(f"the published table {path} is missing; run in a checkout of the project") from None
