"""Each claim of the paper, tested: what was published, what was measured, how sure that is, and a verdict in words.

Accuracy is compared twice: over seeds (mean of the differences within a seed, with its 95 % confidence interval by
Student's t), and over the validation images (the exact sign test over images on which more of one row's seeds were
right than of the other's; with one seed that is McNemar's exact test). The first tells the method from a lucky seed,
the second from lucky images; a verdict needs both.
"""

from __future__ import annotations

import csv
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from paradise.names import BLOCKS, DEPTHS, PLAIN
from paradise.study.cells import anchors, record_places
from paradise.study.notes import AnyRun, marks_notes, not_shown_notes, reasons_text
from paradise.study.paper import read_paper
from paradise.study.preset import Preset
from paradise.study.results import EvaluatedDetectorRun, EvaluatedRun, Study
from paradise.study.rows import DetectorRow, Row, Run
from paradise.study.stale import Reason
from paradise.study.statistics import LEVEL, holm, mean_interval, ratio_of_medians, sign_test
from paradise.study.table import MARK, NOT_RUN, NOTHING, CsvLine, markdown_table, signed

if TYPE_CHECKING:
    import numpy as np

SEEDS_NEEDED = 3  # fewer say nothing of what another seed would give
ROUNDED_TO = 0.001  # G or M: the published counts
LATENCY_MARGIN = 0.05  # above the published ratio: smaller differences are called none
RATIO = "×"
HEADERS = ["Claim", "Published", "Measured", f"{LEVEL:.0%} interval", "p", "Verdict"]
UNITS = {"M": 1e6, "G": 1e9}
OTHER_KINDS = (PLAIN, "se", "ge", "ac")
# Of the paper's second table: a branch, and the ones that it is added to.
ADDED_BRANCHES = (
    ("standard2", ("standard1",)),
    ("group", ("standard1",)),
    ("skeleton", ("standard1",)),
    ("group", ("standard1", "skeleton")),
    ("standard2", ("standard1", "skeleton", "group")),
)
SUPPORTED, REFUTED, OPEN = "supported", "not supported", "not decidable at this size"


@dataclass(frozen=True)
class Comparison:
    """One row of a claim. `published` and `effect` are in the claim's unit, positive where the claim says so.

    Attributes:
        what: What is compared.
        published: The paper's difference or ratio.
        effect: The measured one; None where nothing was.
        interval: Its confidence interval at the level `LEVEL`.
        p: Of no difference, over the images; by Holm's method within the claim.
        verdict: In words.
        seeds: How many it is of.
        anchors: What in the report leads to the runs or profiles that it rests on.
        marks: What these are marked for.
    """

    what: str
    published: float
    effect: float | None = None
    interval: tuple[float, float] | None = None
    p: float | None = None
    verdict: str = NOT_RUN
    seeds: int = 0
    anchors: tuple[str, ...] = ()
    marks: tuple[Reason, ...] = ()


@dataclass(frozen=True)
class Claim:
    """A sentence of the paper's, with what it compares; `unit` and `decimals` are of the numbers."""

    sentence: str
    unit: str
    decimals: int
    comparisons: list[Comparison]

    @property
    def verdict(self) -> str:
        """Supported where each comparison is, not supported where one is refuted."""
        verdicts = {comparison.verdict for comparison in self.comparisons}
        if REFUTED in verdicts:
            return REFUTED
        if verdicts == {SUPPORTED}:
            return SUPPORTED
        return NOT_RUN if verdicts == {NOT_RUN} else OPEN

    def texts(self, comparison: Comparison) -> list[str]:
        """Published, measured, interval and p of a comparison as they are printed."""

        def number(value: float) -> str:
            return f"{value:.{self.decimals}f}" if self.unit == RATIO else signed(value, self.decimals)

        measured = NOTHING
        if comparison.effect is not None:
            measured = f"{number(comparison.effect)} {self.unit}{MARK * bool(comparison.marks)}"
        interval = " to ".join(map(number, comparison.interval)) if comparison.interval else NOTHING
        p = NOTHING if comparison.p is None else "< 0.001" if comparison.p < 0.001 else f"{comparison.p:.3f}"
        return [f"{number(comparison.published)} {self.unit}", measured, interval, p]


@dataclass(frozen=True)
class ClaimsTable:
    """All claims, as a table."""

    claims: list[Claim]
    notes: list[str]

    def markdown(self) -> str:
        lines = []
        for claim in self.claims:
            lines.append([f"**{claim.sentence}**", "", "", "", "", f"**{claim.verdict}**"])
            lines += [[one.what, *claim.texts(one), one.verdict] for one in claim.comparisons]
        return markdown_table(HEADERS, lines)

    @property
    def csv_lines(self) -> list[CsvLine]:
        """A line for each comparison, with the numbers as they are."""
        lines = []
        for claim in self.claims:
            for comparison in claim.comparisons:
                low, high = comparison.interval or (None, None)
                of_claim = {"claim": claim.sentence, "unit": claim.unit, "comparison": comparison.what}
                numbers = {"published": comparison.published, "measured": comparison.effect, "low": low, "high": high}
                said = {"p": comparison.p, "seeds": comparison.seeds, "verdict": comparison.verdict}
                lines.append(of_claim | numbers | said | {"marks": reasons_text(comparison.marks)})
        return lines


def claims_table(study: Study) -> ClaimsTable:
    """The paper's claims as a study tests them, and what must be said of them."""
    return ClaimsTable(judge_claims(study), _notes(study))


def claims_shows(preset: Preset) -> list[str]:
    """The records that claims rest on, as places below the study's results."""
    trained = [run for run in preset.runs if run.seed is not None]
    places = [*record_places(trained, "predictions.csv"), *record_places(preset.detector_runs)]
    return [*places, "profile/complexity.json", "profile/latency.json"]


def judge_claims(study: Study) -> list[Claim]:
    """The paper's claims, in its order."""
    pd_a, pd_b = ([Row(kind, depth) for depth in DEPTHS] for kind in BLOCKS)
    return [
        _accuracy(study, "PD-A is more accurate than the plain network, SE, GE and AC.", _over_others(pd_a)),
        _accuracy(study, "PD-B is more accurate than the plain network, SE, GE and AC.", _over_others(pd_b)),
        _accuracy(
            study,
            "PD-B is more accurate than PD-A.",
            [(f"PD-B − PD-A, ResNet{gated.depth}", gated, summed) for summed, gated in zip(pd_a, pd_b)],
        ),
        _accuracy(study, "Each branch adds accuracy.", _added_branches()),
        _counts(
            study, "Parameters at inference are the plain network's, and for PD-B the gate's.", "params", "params_m"
        ),
        _counts(study, "FLOPs at inference are the plain network's.", "flops", "flops_g", "G"),
        _counts(study, "What a fused network keeps in memory is what the paper counts.", "deploy_params", "params_m"),
        _latency(study),
        _precision(study),
    ]


def verdict(interval: tuple[float, float] | None, p: float | None, seeds: int) -> str:
    """What a difference says: supported or not where neither seeds nor images explain it, else open.

    Args:
        interval: Its confidence interval over seeds.
        p: Of no difference, over images; None where images are not compared.
        seeds: How many there are.
    """
    if interval is None or seeds < SEEDS_NEEDED or (p is not None and p >= 1 - LEVEL):
        return OPEN
    low, high = interval
    return OPEN if low <= 0 <= high else SUPPORTED if low > 0 else REFUTED


Pair = tuple[str, Row, Row]  # what it is called, the row that should be better, the other


def _over_others(rows: list[Row]) -> list[Pair]:
    others = [(row, Row(kind, row.depth)) for row in rows for kind in OTHER_KINDS]
    return [(f"{row.label} − {other.label}", row, other) for row, other in others]


def _added_branches() -> list[Pair]:
    pairs = []
    for kind in BLOCKS:
        for added, base in ADDED_BRANCHES:
            row = Row.of(kind, 18, (*base, added))
            # One branch alone is the plain network, with nothing to gate.
            than = Row.of(kind, 18, base) if len(base) > 1 else Row(PLAIN, 18)
            what = f"{Row(kind, 18).family}: {added.title()} added to {' + '.join(base).title()}"
            pairs.append((what, row, than))
    return pairs


def _accuracy(study: Study, sentence: str, pairs: list[Pair]) -> Claim:
    """A claim on top-1 accuracy, its p values adjusted for being several."""
    published = _published_top1()
    compared = []
    for what, row, than in pairs:
        runs = _of_same_seed(study.runs(row), study.runs(than))
        differences = [run.evaluation.fused.top1 - other.evaluation.fused.top1 for run, other in runs]
        compared.append(_compared(what, published[row] - published[than], differences, runs, _over_images(runs)))
    known = [comparison for comparison in compared if comparison.p is not None]
    adjusted = dict(zip((one.what for one in known), holm([one.p for one in known if one.p is not None])))
    return Claim(sentence, "points", 2, [_with_p(one, adjusted.get(one.what)) for one in compared])


def _with_p(comparison: Comparison, p: float | None) -> Comparison:
    """With the adjusted p, and the verdict that follows."""
    if p is None:
        return comparison
    return replace(comparison, p=p, verdict=verdict(comparison.interval, p, comparison.seeds))


def _published_top1() -> dict[Row, float]:
    paper = read_paper()
    top1 = {row: float(line["top1"]) for row, line in paper.imagenet.items()}
    for line in paper.ablation:
        top1[line.summed] = float(line.line["pd_a_top1"])
        if line.gated is not None:
            top1[line.gated] = float(line.line["pd_b_top1"])
    return top1


def _precision(study: Study) -> Claim:
    published = {row: float(line["ap"]) for row, line in read_paper().coco.items()}
    compared = []
    for row in published:
        if row == row.plain:
            continue
        pairs = _of_same_seed(study.detectors(row), study.detectors(row.plain))
        differences = [
            run.evaluation.fused.ap - other.evaluation.fused.ap
            for run, other in pairs
            if run.evaluation.fused.ap is not None and other.evaluation.fused.ap is not None
        ]
        what = f"{row.title}: {row.backbone.label} − {row.plain.backbone.label}"
        compared.append(_compared(what, published[row] - published[row.plain], differences, pairs, None))
    return Claim("A PD backbone lifts a detector's AP.", "AP", 1, compared)


def _compared(
    what: str,
    published: float,
    differences: Sequence[float],
    pairs: Sequence[tuple[AnyRun, AnyRun]],
    p: float | None,
) -> Comparison:
    if not differences:
        return Comparison(what, published)
    runs = list({run.run: run for pair in pairs for run in pair}.values())
    interval, seeds = mean_interval(differences), len(differences)
    return Comparison(
        what,
        published,
        statistics.fmean(differences),
        interval,
        p,
        verdict(interval, p, seeds),
        seeds,
        anchors(runs),
        tuple(dict.fromkeys(reason for run in runs for reason in run.marks)),
    )


AnyPair = TypeVar("AnyPair", EvaluatedRun, EvaluatedDetectorRun)


def _of_same_seed(runs: list[AnyPair], others: list[AnyPair]) -> list[tuple[AnyPair, AnyPair]]:
    """The runs of both rows with a seed that both have."""
    by_seed = {run.run.seed: run for run in others}
    return [(run, by_seed[run.run.seed]) for run in runs if run.run.seed in by_seed]


def _over_images(pairs: Sequence[tuple[EvaluatedRun, EvaluatedRun]]) -> float | None:
    """p of the sign test over images, by how many seeds of each row were right; None where images differ."""
    if not pairs or len({run.evaluation.inputs["manifest.csv"] for pair in pairs for run in pair}) > 1:
        return None
    difference = sum(_right(run) - _right(other) for run, other in pairs)
    return sign_test(int((difference > 0).sum()), int((difference < 0).sum()))


def _right(run: EvaluatedRun) -> np.ndarray:
    """Whether the fused network was right, image by image: 1 or 0."""
    return _read_right(run.folder / "predictions.csv", run.evaluation.outputs["predictions.csv"])


@cache
def _read_right(path: Path, sha256: str) -> np.ndarray:
    import numpy as np

    with path.open(newline="") as file:
        lines = csv.reader(file)
        header = next(lines)
        label, best = header.index("label"), header.index("fused_1")
        return np.array([line[label] == line[best] for line in lines], np.int64)


def _counts(study: Study, sentence: str, key: str, column: str, unit: str = "M") -> Claim:
    """A claim on what is counted: `key` in the profile, `column` in the paper's table."""
    published = read_paper().imagenet
    counted, marks = study.complexity.rows if study.complexity else {}, study.marked.get("complexity", ())
    compared = []
    for row in _branched():
        claimed = float(published[row][column]) - float(published[row.plain][column])
        what = f"{row.label} − {row.plain.label}"
        if row.id not in counted or row.plain.id not in counted:
            compared.append(Comparison(what, claimed))
            continue
        effect = (getattr(counted[row.id], key) - getattr(counted[row.plain.id], key)) / UNITS[unit]
        said = SUPPORTED if abs(effect - claimed) <= ROUNDED_TO + 1e-9 else REFUTED
        leads = ("profile-complexity",)
        compared.append(Comparison(what, claimed, effect, verdict=said, anchors=leads, marks=marks))
    return Claim(sentence, unit, 3, compared)


def _latency(study: Study) -> Claim:
    published = read_paper().imagenet
    timed, marks = study.latency.rows if study.latency else {}, study.marked.get("latency", ())
    compared = []
    for row in _branched():
        claimed = float(published[row]["latency_cpu_ms"]) / float(published[row.plain]["latency_cpu_ms"])
        what = f"{row.label} ÷ {row.plain.label}"
        if study.latency is None or row.id not in timed or row.plain.id not in timed:
            compared.append(Comparison(what, claimed))
            continue
        ratio, low, high = ratio_of_medians(timed[row.id], timed[row.plain.id])
        bound = claimed + LATENCY_MARGIN
        said = SUPPORTED if high <= bound else REFUTED if low > bound else OPEN
        leads = ("profile-latency",)
        compared.append(Comparison(what, claimed, ratio, (low, high), verdict=said, anchors=leads, marks=marks))
    return Claim("Latency at inference is the plain network's (PD-A), or little more (PD-B).", RATIO, 3, compared)


def _branched() -> list[Row]:
    """The paper's networks, plain ones and others' left out, by depth."""
    return [Row(kind, depth) for depth in DEPTHS for kind in BLOCKS]


def _notes(study: Study) -> list[str]:
    seeds = len(study.preset.seeds)
    few = f" This study has {seeds}, so no claim on accuracy can be decided by it." if seeds < SEEDS_NEEDED else ""
    profiles = [("complexity", study.complexity), ("latency", study.latency)]
    rows: list[Row | DetectorRow] = [*read_paper().rows, *read_paper().coco]
    shown: list[AnyRun] = []
    for row in rows:
        shown += study.detectors(row) if isinstance(row, DetectorRow) else study.runs(row)
    wanted = [Run(row, seed) for row in rows for seed in study.preset.seeds]
    return [
        f"Accuracy and AP: differences of the fused networks, in points. A verdict needs {SEEDS_NEEDED} seeds or more, "
        f"an interval over them that leaves out 0, and for accuracy p < {1 - LEVEL:.2f} over the validation images "
        f"(exact sign test, with one seed McNemar's; adjusted by Holm's method for the comparisons of a claim).{few}",
        "The published figures are of ImageNet and COCO; where the study has other data their size is not comparable, "
        "only their sign. Where a published difference is negative, the paper's own table is against the sentence.",
        "Parameters and FLOPs are counts. Latency: the interval is that of medians of interleaved rounds (from "
        f"their quartiles); up to {LATENCY_MARGIN:.0%} above the published ratio counts as equal.",
        *not_shown_notes(study, wanted, [step for step, _ in profiles]),
        *marks_notes(study, shown, profiles),
    ]
