"""How the report shows evidence: what a section of it has, and what several have in common. No torch here."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from zipfile import BadZipFile

import numpy as np
from matplotlib.figure import Figure

from paradise.study import figures
from paradise.study.records import EvidenceRecord
from paradise.study.registry import EVIDENCE
from paradise.study.results import Study
from paradise.study.steps.make_evidence import STEP

# What a record of other code may raise where it is read.
MALFORMED = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, OSError, BadZipFile)


@dataclass(frozen=True)
class Section:
    """A piece of evidence as the report shows it.

    Attributes:
        source: The record that all of it is from.
        sentences: What was measured, what came of it, and what that means.
        columns: The table's heads.
        lines: Its lines, each with a text for every column.
        figure: The figure.
        caption: What the figure shows.
    """

    source: EvidenceRecord
    sentences: tuple[str, str, str]
    columns: list[str]
    lines: list[list[str]]
    figure: Figure
    caption: str

    @property
    def name(self) -> str:
        """The piece's name."""
        return self.source.piece

    @property
    def title(self) -> str:
        """Its heading."""
        title: str = EVIDENCE.get(self.name).title
        return title

    @property
    def record(self) -> str:
        """The record as the report prints it."""
        evidence = {key: "…" if key == "arrays" else value for key, value in self.source.evidence.items()}
        return json.dumps(self.source.model_dump(mode="json") | {"evidence": evidence}, ensure_ascii=False)


def sections(study: Study) -> list[Section]:
    """What has been measured of the evidence, in the pieces' order.

    A record that cannot be shown, since other code wrote it, is left out, and said so in `study.refused`.
    """
    made = []
    for name, piece in sorted(EVIDENCE.all().items(), key=lambda named: named[1].order):
        record = study.evidence(name)
        if record is None:
            continue
        try:
            made.append(figures.styled(piece.show)(study, record))
        except MALFORMED as error:
            job = STEP.job(study.preset, piece=name)
            study.leave_out(job, f"{job.record} cannot be shown ({error!r})")
    return made


def draw_curves(title: str, curves: dict[str, list[list[float]]]) -> Figure:
    """Learning curves of several kinds of training.

    Args:
        title: The figure's.
        curves: For each kind by its name, for each seed, the accuracy in % after each epoch.

    Returns:
        For each kind the mean and the range over seeds.
    """
    figure, (axis,) = figures.panels(1, 1, 6.5, 3.8)
    for index, (name, by_seed) in enumerate(curves.items()):
        values, style = np.array(by_seed), figures.style(index)
        epochs = np.arange(1, values.shape[1] + 1)
        axis.plot(epochs, values.mean(0), **style, label=name)
        axis.fill_between(epochs, values.min(0), values.max(0), color=style["color"], alpha=0.12, linewidth=0)
    axis.set(xlabel="epoch", ylabel="validation top-1, %", title=title)
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.legend()
    return figure


def spread(values: Sequence[float], decimals: int) -> str:
    """Mean ± standard deviation, of several values."""
    mean = f"{statistics.fmean(values):.{decimals}f}"
    return mean if len(values) < 2 else f"{mean} ± {statistics.stdev(values):.{decimals}f}"
