"""What a table is: cells, measured beside published, and how they are printed as Markdown and CSV. No torch here."""

from __future__ import annotations

import csv
import io
import re
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from paradise.study.records import one_line

if TYPE_CHECKING:
    from paradise.study.preset import Preset
    from paradise.study.results import Study

NOT_RUN = "not run"
NOTHING = "–"
MARK = "†"  # behind what was measured by other code, or with other packages, than today's

# What means something within a line of Markdown, but for what stands within a word.
MARKUP = re.compile(r"[\\`*<\[\]~$]|(?<![^\W_])_|_(?![^\W_])|&(?=#?\w+;)")

CsvLine = dict[str, Any]


class Filled(Protocol):
    """A table with its numbers: a `Table`, or what has another form, such as the claims."""

    @property
    def notes(self) -> list[str]: ...

    @property
    def csv_lines(self) -> list[CsvLine]: ...

    def markdown(self) -> str: ...


@dataclass(frozen=True)
class StudyTable:
    """A table that a study makes: what a module of `paradise.study.tables` exports as `TABLE`.

    Attributes:
        title: Its heading.
        order: Its place among the tables.
        make: Fills it with what counts of a study.
        shows: The records of a preset that it is made of, as places below the study's results.
        published: The published tables that it shows.
        wanted: Whether a preset makes it.
    """

    title: str
    order: int
    make: Callable[[Study], Filled]
    shows: Callable[[Preset], list[str]]
    published: tuple[Path, ...] = ()
    wanted: Callable[[Preset], bool] = lambda preset: True

    def render(self, study: Study) -> dict[str, str]:
        """Its files: suffix → text. The same study gives the same bytes."""
        filled = self.make(study)
        lines = [f"## {self.title} (preset {code(study.preset.name)})", "", filled.markdown(), ""]
        lines += [f"- {note}" for note in filled.notes]
        return {".csv": csv_text(filled.csv_lines), ".md": "\n".join(lines) + "\n"}


@dataclass(frozen=True)
class Quantity:
    """One published quantity of one row: what was measured beside what the paper prints.

    Attributes:
        key: Its name in the CSV.
        values: What was measured: one value for each seed.
        published: As the paper prints it; None where it does not.
        decimals: How many are shown.
        anchors: What in the report leads to the runs or profiles that measured it.
        marked: Whether they are marked.
    """

    key: str
    values: list[float]
    published: str | None
    decimals: int
    anchors: tuple[str, ...] = ()
    marked: bool = False

    def csv(self) -> CsvLine:
        """Cells of a CSV line; a quantity that the paper does not have is empty there."""
        measured = statistics.fmean(self.values) if self.values else None
        published = float(self.published) if self.published else None
        return {
            f"{self.key}_measured": NOT_RUN if measured is None else measured,
            f"{self.key}_std": self._deviation,
            f"{self.key}_published": published,
            f"{self.key}_difference": None if measured is None or published is None else measured - published,
        }

    def texts(self) -> list[str]:
        """Measured (mean ± standard deviation over seeds), published (no more digits than printed), difference."""
        published = difference = NOTHING
        if self.published:
            digits = min(self.decimals, len(self.published.partition(".")[2]))
            published = f"{float(self.published):.{digits}f}"
        if not self.values:
            return [NOT_RUN, published, difference]
        mean, deviation = statistics.fmean(self.values), self._deviation
        if self.published:
            difference = signed(mean - float(self.published), self.decimals)
        spread = "" if deviation is None else f" ± {deviation:.{self.decimals}f}"
        return [f"{mean:.{self.decimals}f}{spread}{MARK * self.marked}", published, difference]

    def brief(self) -> str:
        """Measured, and what the paper prints."""
        measured, published, _ = self.texts()
        return f"{measured} ({published})" if self.published else measured

    @property
    def _deviation(self) -> float | None:
        return statistics.stdev(self.values) if len(self.values) > 1 else None


@dataclass(frozen=True)
class Value:
    """A cell of one column: a label, or something measured that the paper does not have; attributes as `Quantity`'s."""

    label: str
    anchors: tuple[str, ...] = ()
    marked: bool = False

    @property
    def text(self) -> str:
        return self.label + MARK * self.marked

    def brief(self) -> str:
        """It on one line."""
        return one_line(self.text)


Cell = Quantity | Value


@dataclass
class Table:
    """A table filled line by line.

    Attributes:
        columns: The titles of its cells, of which a Quantity takes three columns.
        brief: Those of them that a terminal shows, where it has no room for all.
    """

    columns: list[str]
    brief: tuple[str, ...] = ()
    lines: list[list[Cell]] = field(default_factory=list)
    csv_lines: list[CsvLine] = field(default_factory=list)
    downloads: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, csv: CsvLine, cells: list[Cell], downloads: Iterable[str] = ()) -> None:
        """A line; `downloads` are where its runs can be fetched, as Markdown."""
        self.csv_lines.append(csv)
        self.lines.append(cells)
        self.downloads.append("<br>".join(downloads) or NOT_RUN)

    def compared(self, column: int) -> bool:
        """Whether the column has quantities, measured beside published."""
        return any(isinstance(line[column], Quantity) for line in self.lines)

    def measured(self, column: int) -> bool:
        """Whether the column has what was measured, beside published or alone."""
        return self.compared(column) or any(line[column].anchors for line in self.lines)

    def text(self) -> str:
        """The columns of `brief`, as a terminal shows them, with the published value in parentheses."""
        from tabulate import tabulate

        chosen = [self.columns.index(title) for title in self.brief or self.columns]
        headers = [f"{self.columns[column]}{' (paper)' * self.compared(column)}" for column in chosen]
        lines = [[line[column].brief() for column in chosen] for line in self.lines]
        return tabulate(lines, headers, disable_numparse=True)

    def markdown(self) -> str:
        headers: list[str] = []
        lines: list[list[str]] = [[] for _ in self.lines]
        for column, title in enumerate(self.columns):
            wide = self.compared(column)
            headers += [f"**{title}**", "paper", "Δ"] if wide else [title]
            for line, cells in zip(lines, self.lines):
                cell = cells[column]
                line += cell.texts() if isinstance(cell, Quantity) else [escape(cell.text)] * (3 if wide else 1)
        for line, download in zip(lines, self.downloads):
            line.append(download)
        return markdown_table([*headers, "Download"], lines)


def markdown_table(headers: list[str], lines: list[list[str]]) -> str:
    """Lines of Markdown as a table, with as many cells in each line as there are headers."""
    from tabulate import tabulate

    def cells(line: list[str]) -> list[str]:
        return [one_line(cell).replace("|", r"\|") for cell in line]

    return tabulate(map(cells, lines), cells(headers), tablefmt="pipe", disable_numparse=True)


def csv_text(lines: list[CsvLine]) -> str:
    """Lines as CSV: the columns in the order in which the lines name them, empty where a line has none."""
    file = io.StringIO()
    writer = csv.DictWriter(file, dict.fromkeys(key for line in lines for key in line), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return file.getvalue()


def signed(value: float, decimals: int) -> str:
    """With its sign, and a minus as it is printed."""
    return f"{value:+z.{decimals}f}".replace("-", "−")


def each(values: Iterable[object]) -> str:
    """What is different of `values`, in their order, with commas, as Markdown."""
    return ", ".join(dict.fromkeys(escape(str(value)) for value in values))


def escape(text: str) -> str:
    """Text as Markdown that says it: what a record has in it means nothing more, and is one line."""
    return MARKUP.sub(r"\\\g<0>", one_line(text))


def code(text: str) -> str:
    """Text as a piece of code in Markdown, between more backquotes than it has together."""
    line = one_line(text)
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    padded = f" {line} " if "`" in line or line != line.strip(" ") else line  # of which one space at each end is none
    return f"{fence}{padded}{fence}"
