"""Each claim of the paper, tested: what was published, what was measured, how sure that is, and a verdict in words.

Accuracy is compared run by run and image by image, seeds and images both drawn at random and crossed; which verdict
follows, and what belongs together, is written down in `docs/analysis-plan.md`. Of average precision only the seeds are
drawn; counts and latency are compared with what the paper prints.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from paradise.names import BLOCKS, DEPTHS, PLAIN
from paradise.study.cells import anchors, record_places
from paradise.study.notes import AnyRun, marks_notes, not_shown_notes, reasons_text
from paradise.study.paper import read_paper
from paradise.study.predictions import read_predictions
from paradise.study.preset import Preset
from paradise.study.records import PREDICTIONS
from paradise.study.results import EvaluatedRun, Study
from paradise.study.rows import DetectorRow, Row, Run
from paradise.study.stale import Reason
from paradise.study.statistics import (
    ERROR,
    LEVEL,
    CrossedMean,
    crossed_mean,
    holm,
    probability_of_better,
    ratio_of_medians,
)
from paradise.study.table import MARK, NOT_RUN, NOTHING, CsvLine, markdown_table, signed

if TYPE_CHECKING:
    import numpy as np

SEEDS_NEEDED = 3  # fewer say too little of what another seed would give
MARGIN = 0.5  # points of accuracy or AP: a difference inside it does not matter
ROUNDED_TO = 0.001  # G or M: the published counts
LATENCY_MARGIN = 0.05  # above the published ratio: smaller differences are called none
RATIO = "×"
HEADERS = ["Claim", "Published", "Measured", f"{LEVEL:.0%} interval", "p", "P(better)", "Verdict"]
NAMED = 3  # of what is left open, by name
UNITS = {"M": 1e6, "G": 1e9}
OTHER_KINDS = ("se", "ge", "ac")
# Of the paper's second table: a branch, and the ones that it is added to.
ADDED_BRANCHES = (
    ("standard2", ("standard1",)),
    ("group", ("standard1",)),
    ("skeleton", ("standard1",)),
    ("group", ("standard1", "skeleton")),
    ("standard2", ("standard1", "skeleton", "group")),
)
SUPPORTED, CONTRADICTED = "supported", "contradicted"
NO_DIFFERENCE, OPEN = "no difference that matters", "not decided"
NO_VERDICT = "no verdict"  # what does not belong together, or too few seeds
NOT_TESTED = "not tested here"  # a row is not in the study
VERDICTS = (SUPPORTED, CONTRADICTED, NO_DIFFERENCE, OPEN, NO_VERDICT, NOT_RUN)  # in the order they are counted in


@dataclass(frozen=True)
class Comparison:
    """One row of a claim. `published` and `effect` are in the claim's unit, positive where the claim says so.

    Attributes:
        what: What is compared.
        published: The paper's difference or ratio; None where it has none.
        effect: The measured one; None where nothing was, or where it would compare what does not belong together.
        interval: Its confidence interval at the level `LEVEL`.
        p: Of no difference; by Holm's method within the claim.
        better: How probable it is that one training of the first row beats one of the second.
        verdict: In words.
        smallest_seen: Of what is not decided: the smallest difference that would have been seen.
        seeds_to_decide: And how many seeds would decide it; None also where no number of them would.
        why_not: Why there is no verdict.
        seeds: How many it is of.
        anchors: What in the report leads to the runs or profiles that it rests on.
        marks: What these are marked for.
    """

    what: str
    published: float | None
    effect: float | None = None
    interval: tuple[float, float] | None = None
    p: float | None = None
    better: float | None = None
    verdict: str = NOT_RUN
    smallest_seen: float | None = None
    seeds_to_decide: int | None = None
    why_not: str = ""
    seeds: int = 0
    anchors: tuple[str, ...] = ()
    marks: tuple[Reason, ...] = ()


@dataclass(frozen=True)
class Claim:
    """A sentence, mostly the paper's, with what it compares; `unit` and `decimals` are of the numbers."""

    sentence: str
    unit: str
    decimals: int
    comparisons: list[Comparison]

    @property
    def tested(self) -> list[Comparison]:
        """The comparisons whose rows the study has."""
        return [comparison for comparison in self.comparisons if comparison.verdict != NOT_TESTED]

    def texts(self, comparison: Comparison) -> list[str]:
        """Published, measured, interval, p, the probability to be better and the verdict as they are printed."""

        def number(value: float) -> str:
            return f"{value:.{self.decimals}f}" if self.unit == RATIO else signed(value, self.decimals)

        published = NOTHING if comparison.published is None else f"{number(comparison.published)} {self.unit}"
        measured = NOTHING
        if comparison.effect is not None:
            measured = f"{number(comparison.effect)} {self.unit}{MARK * bool(comparison.marks)}"
        interval = " to ".join(map(number, comparison.interval)) if comparison.interval else NOTHING
        p = NOTHING if comparison.p is None else "< 0.001" if comparison.p < 0.001 else f"{comparison.p:.3f}"
        better = NOTHING if comparison.better is None else f"{comparison.better:.0%}"
        verdict = comparison.verdict
        if comparison.smallest_seen is not None:
            seeds = comparison.seeds_to_decide
            would = f"{seeds} seeds would decide" if seeds else "more seeds would not decide"
            smallest = f"{comparison.smallest_seen:.{self.decimals}f} {self.unit}"
            verdict += f" ({smallest} would have been seen; {would})"
        return [published, measured, interval, p, better, verdict]


@dataclass(frozen=True)
class ClaimsTable:
    """All claims, as a table."""

    claims: list[Claim]
    notes: list[str]

    @property
    def tested(self) -> list[Claim]:
        """The claims of which something is tested."""
        return [claim for claim in self.claims if claim.tested]

    @property
    def counts(self) -> list[tuple[str, int]]:
        """How many comparisons have which verdict."""
        found = Counter(comparison.verdict for claim in self.claims for comparison in claim.comparisons)
        return [(verdict, found[verdict]) for verdict in VERDICTS if found[verdict]]

    def markdown(self) -> str:
        lines = []
        for claim in self.tested:
            lines.append([f"**{claim.sentence}**", *[""] * (len(HEADERS) - 1)])
            lines += [[one.what, *claim.texts(one)] for one in claim.tested]
        return markdown_table(HEADERS, lines)

    @property
    def csv_lines(self) -> list[CsvLine]:
        """A line for each comparison, with the numbers as they are."""
        lines = []
        for claim in self.claims:
            for comparison in claim.comparisons:
                low, high = comparison.interval or (None, None)
                line: CsvLine = {
                    "claim": claim.sentence,
                    "unit": claim.unit,
                    "comparison": comparison.what,
                    "published": comparison.published,
                    "measured": comparison.effect,
                    "low": low,
                    "high": high,
                    "p": comparison.p,
                    "better": comparison.better,
                    "seeds": comparison.seeds,
                    "verdict": comparison.verdict,
                    "smallest_seen": comparison.smallest_seen,
                    "seeds_to_decide": comparison.seeds_to_decide,
                    "marks": reasons_text(comparison.marks),
                }
                lines.append(line)
        return lines


def claims_table(study: Study) -> ClaimsTable:
    """The claims as a study tests them, and what must be said of them."""
    claims = judge_claims(study)
    return ClaimsTable(claims, _notes(study, claims))


def claims_shows(preset: Preset) -> list[str]:
    """The records that claims rest on, as places below the study's results."""
    trained = [run for run in preset.runs if run.seed is not None]
    places = [*record_places(trained, PREDICTIONS), *record_places(preset.detector_runs)]
    return [*places, "profile/complexity.json", "profile/latency.json"]


def judge_claims(study: Study) -> list[Claim]:
    """The claims, in the order of `docs/analysis-plan.md`, and then what is counted and timed."""
    pd_a, pd_b = ([Row(kind, depth) for depth in DEPTHS] for kind in BLOCKS)
    both = [row for depth in DEPTHS for row in (Row("pd_b", depth), Row("pd_a", depth))]
    claims = [
        _accuracy(study, "ParaDise is more accurate than the plain network.", [(row, row.plain) for row in both]),
        _accuracy(study, "PD-A is more accurate than SE, GE and AC.", _over_others(pd_a)),
        _accuracy(study, "PD-B is more accurate than SE, GE and AC.", _over_others(pd_b)),
        _accuracy(study, "PD-B is more accurate than PD-A.", list(zip(pd_b, pd_a))),
        _accuracy(study, "Each branch adds accuracy.", *_added_branches()),
    ]
    longer = [(row, than) for row in both if (than := replace(row.plain, longer=True)) in study.preset.classifiers]
    if longer:
        sentence = "Not the paper's: ParaDise is more accurate than the plain network trained for as many minutes."
        claims.append(_accuracy(study, sentence, longer))
    return [
        *claims,
        _counts(
            study, "Parameters at inference are the plain network's, and for PD-B the gate's.", "params", "params_m"
        ),
        _counts(study, "FLOPs at inference are the plain network's.", "flops", "flops_g", "G"),
        _counts(study, "What a fused network keeps in memory is what the paper counts.", "deploy_params", "params_m"),
        _latency(study),
        _precision(study),
    ]


AnyRow = Row | DetectorRow
Judged = tuple[Comparison, CrossedMean | None]  # a comparison, and the difference if there is a verdict on it


def _over_others(rows: list[Row]) -> list[tuple[Row, Row]]:
    return [(row, Row(kind, row.depth)) for row in rows for kind in OTHER_KINDS]


def _added_branches() -> tuple[list[tuple[Row, Row]], list[str]]:
    """The steps of the paper's second table, and what they are called."""
    pairs, names = [], []
    for kind in BLOCKS:
        for added, base in ADDED_BRANCHES:
            # One branch alone is the plain network, with nothing to gate.
            than = Row.of(kind, 18, base) if len(base) > 1 else Row(PLAIN, 18)
            pairs.append((Row.of(kind, 18, (*base, added)), than))
            names.append(f"{Row(kind, 18).family}: {added.title()} added to {' + '.join(base).title()}")
    return pairs, names


def _accuracy(study: Study, sentence: str, pairs: Sequence[tuple[Row, Row]], names: Sequence[str] = ()) -> Claim:
    """A claim on top-1 accuracy: of each pair the first is the better one."""
    published = _published_top1()
    compared = []
    for index, (row, than) in enumerate(pairs):
        what = names[index] if names else f"{row.label} − {than.label}"
        difference = None if than.longer else published[row] - published[than]
        compared.append(_compare_accuracy(study, Comparison(what, difference), row, than))
    return Claim(sentence, "points", 2, _judge(compared))


def _compare_accuracy(study: Study, comparison: Comparison, row: Row, than: Row) -> Judged:
    if row not in study.preset.classifiers or than not in study.preset.classifiers:
        return replace(comparison, verdict=NOT_TESTED), None
    runs, others = ({run.run.seed: run for run in study.runs(of)} for of in (row, than))
    common, why_not = _common_seeds(study, row, than, runs, others)
    if not common:
        return _without(comparison, why_not), None
    pairs = [(runs[seed], others[seed]) for seed in common]
    if why := _unlike(study, pairs, row, than):
        return _without(comparison, why), None
    top1 = [[run.evaluation.fused.top1 for run in of] for of in zip(*pairs)]
    comparison = _measured(comparison, pairs, [a - b for a, b in zip(*top1)])
    if why_not:
        return replace(comparison, verdict=NO_VERDICT, why_not=why_not), None
    comparison = replace(comparison, better=probability_of_better(*top1))
    return comparison, crossed_mean(_differences(pairs))


def _precision(study: Study) -> Claim:
    """The claim on average precision. Its images are not compared one by one: only the seeds are drawn."""
    published = {row: float(line["ap"]) for row, line in read_paper().coco.items()}
    compared = []
    for row in published:
        if row != row.plain:
            what = f"{row.title}: {row.backbone.label} − {row.plain.backbone.label}"
            comparison = Comparison(what, published[row] - published[row.plain])
            compared.append(_compare_precision(study, comparison, row))
    return Claim("A PD backbone lifts a detector's AP.", "AP", 1, _judge(compared))


def _compare_precision(study: Study, comparison: Comparison, row: DetectorRow) -> Judged:
    if row not in study.preset.detectors or row.plain not in study.preset.detectors:
        return replace(comparison, verdict=NOT_TESTED), None
    runs, others = (
        {run.run.seed: run for run in study.detectors(of) if run.evaluation.fused.ap is not None}
        for of in (row, row.plain)
    )
    common, why_not = _common_seeds(study, row, row.plain, runs, others)
    recipes = [study.preset.detection_of(of).recipe for of in (row, row.plain)]
    if recipes[0] != recipes[1]:
        return _without(comparison, "the rows have recipes of their own"), None
    if not common:
        return _without(comparison, why_not), None
    pairs = [(runs[seed], others[seed]) for seed in common]
    ap = [[run.evaluation.fused.ap or 0.0 for run in of] for of in zip(*pairs)]
    differences = [a - b for a, b in zip(*ap)]
    comparison = _measured(comparison, pairs, differences)
    if why_not:
        return replace(comparison, verdict=NO_VERDICT, why_not=why_not), None
    comparison = replace(comparison, better=probability_of_better(*ap))
    return comparison, CrossedMean(
        statistics.fmean(differences), len(differences), statistics.variance(differences), of_images=0.0
    )


def _common_seeds(
    study: Study, row: AnyRow, than: AnyRow, runs: Mapping[int | None, AnyRun], others: Mapping[int | None, AnyRun]
) -> tuple[list[int], str]:
    """The seeds that both rows have been trained with, and why they allow no verdict; nothing where they do.

    No seed is left out: one that the preset has for both rows, and that is missing, leaves no verdict.
    """
    wanted = [seed for seed in study.preset.seeds_of(row) if seed in study.preset.seeds_of(than)]
    common = [seed for seed in wanted if seed in runs and seed in others]
    if wanted and not common:
        return [], ""
    if len(wanted) < SEEDS_NEEDED:
        seeds = f"{len(wanted)} seed{'s' * (len(wanted) != 1)}"
        return common, f"the rows have {seeds} in common, and {SEEDS_NEEDED} are needed"
    missing = [str(seed) for seed in wanted if seed not in common]
    return common, f"seed {', '.join(missing)} is not there of both rows" if missing else ""


def _unlike(study: Study, pairs: Sequence[tuple[EvaluatedRun, EvaluatedRun]], row: Row, than: Row) -> str:
    """Why two rows cannot be compared but for their blocks; nothing where they can."""
    if len({run.evaluation.inputs["manifest.csv"] for pair in pairs for run in pair}) > 1:
        return "the rows were evaluated on other images"
    recipes = [study.preset.recipe(of).values() for of in (row, than)]
    other = [key for key in recipes[0] | recipes[1] if recipes[0].get(key) != recipes[1].get(key)]
    if than.longer:
        other = [key for key in other if key != "epochs"]
    return f"the rows have other recipes ({', '.join(other)})" if other else ""


def _without(comparison: Comparison, why_not: str) -> Comparison:
    """A comparison without numbers: nothing was run where nothing stands in the way."""
    return replace(comparison, verdict=NO_VERDICT if why_not else NOT_RUN, why_not=why_not)


def _measured(
    comparison: Comparison, pairs: Sequence[tuple[AnyRun, AnyRun]], differences: Sequence[float]
) -> Comparison:
    runs = list({run.run: run for pair in pairs for run in pair}.values())
    return replace(
        comparison,
        effect=statistics.fmean(differences),
        seeds=len(differences),
        anchors=anchors(runs),
        marks=tuple(dict.fromkeys(reason for run in runs for reason in run.marks)),
    )


def _judge(compared: Sequence[Judged]) -> list[Comparison]:
    """The comparisons of one claim with their verdicts, p values adjusted for being several."""
    means = [mean for _, mean in compared if mean is not None]
    adjusted = zip(holm([mean.p for mean in means]), holm([mean.p_outside(MARGIN) for mean in means]))
    judged = []
    for comparison, mean in compared:
        if mean is not None:
            p, p_outside = next(adjusted)
            said = verdict(mean.mean, p, p_outside)
            comparison = replace(comparison, interval=mean.interval, p=p, verdict=said)
            if said == OPEN:
                smallest, seeds = mean.smallest_seen(len(means)), mean.seeds_to_decide(MARGIN, len(means))
                comparison = replace(comparison, smallest_seen=smallest, seeds_to_decide=seeds)
        judged.append(comparison)
    return judged


def verdict(effect: float, p: float, p_outside: float) -> str:
    """What a difference says, as `docs/analysis-plan.md` has it.

    Args:
        effect: The difference, positive where the claim says so.
        p: Of no difference, on both sides.
        p_outside: Of a difference outside ± `MARGIN`.
    """
    if p < ERROR:
        return SUPPORTED if effect > 0 else CONTRADICTED
    return NO_DIFFERENCE if p_outside < ERROR else OPEN


def _published_top1() -> dict[Row, float]:
    paper = read_paper()
    top1 = {row: float(line["top1"]) for row, line in paper.imagenet.items()}
    for line in paper.ablation:
        top1[line.summed] = float(line.line["pd_a_top1"])
        if line.gated is not None:
            top1[line.gated] = float(line.line["pd_b_top1"])
    return top1


def _differences(pairs: Sequence[tuple[EvaluatedRun, EvaluatedRun]]) -> np.ndarray:
    """By how many points the first of each pair was better on each image: −100, 0 or 100, [S, N]."""
    import numpy as np

    return 100.0 * np.array([_right(run) - _right(other) for run, other in pairs])


def _right(run: EvaluatedRun) -> np.ndarray:
    """Whether the fused network was right, image by image: 1 or 0."""
    return _read_right(run.folder / PREDICTIONS, run.evaluation.outputs[PREDICTIONS])


@cache
def _read_right(path: Path, sha256: str) -> np.ndarray:
    import numpy as np

    said = read_predictions(path)
    return np.array([label == best for label, best in zip(said["label"], said["fused_1"])], np.int64)


def _counts(study: Study, sentence: str, key: str, column: str, unit: str = "M") -> Claim:
    """A claim on what is counted: `key` in the profile, `column` in the paper's table."""
    published = read_paper().imagenet
    counted, marks = study.complexity.rows if study.complexity else {}, study.marked.get("complexity", ())
    compared = []
    for row in _branched():
        claimed = float(published[row][column]) - float(published[row.plain][column])
        what = f"{row.label} − {row.plain.label}"
        if row.id not in counted or row.plain.id not in counted:
            compared.append(Comparison(what, claimed, verdict=_untold(study, row, row.plain)))
            continue
        effect = (getattr(counted[row.id], key) - getattr(counted[row.plain.id], key)) / UNITS[unit]
        said = SUPPORTED if abs(effect - claimed) <= ROUNDED_TO + 1e-9 else CONTRADICTED
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
            compared.append(Comparison(what, claimed, verdict=_untold(study, row)))
            continue
        ratio, low, high = ratio_of_medians(timed[row.id], timed[row.plain.id])
        bound = claimed + LATENCY_MARGIN
        said = SUPPORTED if high <= bound else CONTRADICTED if low > bound else OPEN
        leads = ("profile-latency",)
        compared.append(Comparison(what, claimed, ratio, (low, high), verdict=said, anchors=leads, marks=marks))
    return Claim("Latency at inference is the plain network's (PD-A), or little more (PD-B).", RATIO, 3, compared)


def _untold(study: Study, *rows: Row) -> str:
    """What is said where one of these rows was not counted or timed."""
    return NOT_RUN if set(rows) <= set(study.preset.models) else NOT_TESTED


def _branched() -> list[Row]:
    """The paper's networks, plain ones and others' left out, by depth."""
    return [Row(kind, depth) for depth in DEPTHS for kind in BLOCKS]


def _notes(study: Study, claims: Sequence[Claim]) -> list[str]:
    profiles = [("complexity", study.complexity), ("latency", study.latency)]
    rows: list[AnyRow] = [*study.preset.classifiers, *study.preset.detectors]
    shown: list[AnyRun] = []
    for row in rows:
        shown += study.detectors(row) if isinstance(row, DetectorRow) else study.runs(row)
    wanted = [Run(row, seed) for row in rows for seed in study.preset.seeds_of(row)]
    return [
        "Accuracy and AP: differences of the fused networks after the last epoch, in points, with the "
        f"{LEVEL:.0%} interval over seeds and images (AP: over seeds alone). p is Holm's for the comparisons of "
        "a claim; P(better) is how probable it is that one training of the first beats one of the second. "
        f"{NO_DIFFERENCE.capitalize()}: within ±{MARGIN} points. What gives which verdict was written down before: "
        "`docs/analysis-plan.md`.",
        "The published figures are of ImageNet and COCO; where the study has other data their size is not comparable, "
        "only their sign. Where a published difference is negative, the paper's own table is against the sentence.",
        "Parameters and FLOPs are counts. Latency: the interval is that of medians of interleaved rounds (from "
        f"their quartiles); up to {LATENCY_MARGIN:.0%} above the published ratio counts as equal.",
        *_left_open_notes(claims),
        *not_shown_notes(study, wanted, [step for step, _ in profiles]),
        *marks_notes(study, shown, profiles),
    ]


def _left_open_notes(claims: Sequence[Claim]) -> list[str]:
    """Which comparisons have no verdict, and why: a sentence for each reason."""
    reasons: dict[str, list[str]] = {}
    for claim in claims:
        for comparison in claim.comparisons:
            if comparison.why_not:
                reasons.setdefault(f"No verdict, as {comparison.why_not}", []).append(comparison.what)
            elif comparison.verdict == NOT_TESTED:
                reasons.setdefault("Not tested here, as the study has not both rows", []).append(comparison.what)
    return [f"{reason}: {_first(whats)}." for reason, whats in reasons.items()]


def _first(whats: Sequence[str]) -> str:
    """Some of many, and how many more there are."""
    more = f" and {len(whats) - NAMED} more" if len(whats) > NAMED else ""
    return "; ".join(whats[:NAMED]) + more
