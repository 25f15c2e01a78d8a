"""Each claim of the paper, tested: what was published, what we measured, how sure that is, and a verdict in words.

Accuracy is compared twice: over seeds (mean of the differences within a seed, with its 95 % confidence interval by
Student's t), and over the validation images (the exact sign test over images on which more of one row's seeds were
right than of the other's; with one seed that is McNemar's exact test). The first tells the method from a lucky seed,
the second from lucky images; a verdict needs both.
"""

import math
import statistics
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import pandas as pd
from scipy import stats

from paradise.files import sha256
from paradise.names import ablation_rows, detection_rows, imagenet_rows, row_of
from paradise.study import Study
from paradise.tables import signed

LEVEL = 0.95
SEEDS = 3  # fewer say nothing of what another seed would give
MARGIN = 0.05  # of a latency: smaller differences are called none
RATIO = "×"
HEADERS = ["Claim", "Published", "Measured", f"{LEVEL:.0%} interval", "p", "Verdict"]
UNITS = {"M": 1e6, "G": 1e9}
# Of the paper's second table: a branch, and the ones that it is added to.
STEPS = (
    ("standard2", ("standard1",)),
    ("group", ("standard1",)),
    ("skeleton", ("standard1",)),
    ("group", ("standard1", "skeleton")),
    ("standard2", ("standard1", "skeleton", "group")),
)
SUPPORTED, REFUTED, OPEN, NOT_RUN = "supported", "not supported", "not decidable at this size", "not run"


@dataclass(frozen=True)
class Comparison:
    """One row of a claim. `published` and `effect` are in the claim's unit, positive where the claim says so."""

    what: str
    published: float | None
    effect: float | None
    interval: tuple[float, float] | None = None
    p: float | None = None  # of no difference, over the images; by Holm's method within the claim
    verdict: str = NOT_RUN
    seeds: int = 0
    anchors: tuple[str, ...] = ()


@dataclass(frozen=True)
class Claim:
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


def claims(study: Study, paper: Path) -> list[Claim]:
    """The paper's claims, in its order."""
    published = dict(imagenet_rows(paper))
    top1 = {row: float(line["top1"]) for row, line in published.items()}
    names = {row: line["model"] for row, line in published.items()}
    for summed, gated, line in ablation_rows(paper):
        for row, kind in ((summed, "pd_a"), (gated, "pd_b")):
            if row:
                top1[row] = float(line[f"{kind}_top1"])

    def accuracy(sentence: str, pairs: list[tuple[str, str, str]]) -> Claim:
        tested = [_more_accurate(study, what, row, than, top1[row] - top1[than]) for what, row, than in pairs]
        return Claim(sentence, "points", 2, _holm(tested))

    def beats(kind: str) -> list[tuple[str, str, str]]:
        others = [
            (f"pd_{kind}_resnet{d}", f"{other}resnet{d}") for d in (18, 50) for other in ("", "se_", "ge_", "ac_")
        ]
        return [(f"{names[row]} − {names[other]}", row, other) for row, other in others]

    steps = [
        (f"{kind}: {added.title()} added to {' + '.join(base).title()}", row_of(model, (*base, added)), than)
        for kind, model in (("PD-A", "pd_a_resnet18"), ("PD-B", "pd_b_resnet18"))
        for added, base in STEPS
        for than in [row_of(model, base) if len(base) > 1 else "resnet18"]
    ]
    return [
        accuracy("PD-A is more accurate than the plain network, SE, GE and AC.", beats("a")),
        accuracy("PD-B is more accurate than the plain network, SE, GE and AC.", beats("b")),
        accuracy(
            "PD-B is more accurate than PD-A.",
            [(f"PD-B − PD-A, ResNet{d}", f"pd_b_resnet{d}", f"pd_a_resnet{d}") for d in (18, 50)],
        ),
        accuracy("Each branch adds accuracy.", steps),
        *_costs(study, published),
        _latency(study, published),
        _precision(study, paper),
    ]


def render(study: Study, preset_name: str, paper: Path) -> dict[str, str]:
    """`claims.csv`, a line for each comparison with the numbers as they are, and `claims.md`: file name → text."""
    lines, shown = [], []
    for claim in claims(study, paper):
        shown.append([f"**{claim.sentence}**", "", "", "", "", f"**{claim.verdict}**"])
        for comparison in claim.comparisons:
            low, high = comparison.interval or (None, None)
            lines.append({
                "claim": claim.sentence, "unit": claim.unit, "comparison": comparison.what,
                "published": comparison.published, "measured": comparison.effect, "low": low, "high": high,
                "p": comparison.p, "seeds": comparison.seeds, "verdict": comparison.verdict,
            })  # fmt: skip
            shown.append([comparison.what, *texts(claim, comparison), comparison.verdict])
    table = pd.DataFrame(shown).to_markdown(headers=HEADERS, index=False, disable_numparse=True)
    text = [f"## The paper's claims (preset `{preset_name}`)", "", table, "", *(f"- {note}" for note in notes(study))]
    return {"claims.csv": pd.DataFrame(lines).to_csv(index=False), "claims.md": "\n".join(text) + "\n"}


def texts(claim: Claim, comparison: Comparison) -> list[str]:
    """Published, measured, interval and p as they are printed."""

    def number(value: float | None) -> str:
        if value is None:
            return "–"
        return f"{value:.{claim.decimals}f}" if claim.unit == RATIO else signed(value, claim.decimals)

    interval = " to ".join(map(number, comparison.interval)) if comparison.interval else "–"
    unit = f" {claim.unit}"
    published, measured = (number(value) for value in (comparison.published, comparison.effect))
    p = "–" if comparison.p is None else "< 0.001" if comparison.p < 0.001 else f"{comparison.p:.3f}"
    return [published + unit * (published != "–"), measured + unit * (measured != "–"), interval, p]


def notes(study: Study) -> list[str]:
    seeds = len(study.preset["seeds"])
    few = f" This study has {seeds}, so no claim on accuracy can be decided by it." if seeds < SEEDS else ""
    return [
        f"Accuracy and AP: differences of the fused networks, in points. A verdict needs {SEEDS} seeds or more, an "
        f"interval over them that leaves out 0, and for accuracy p < {1 - LEVEL:.2f} over the validation images "
        f"(exact sign test, with one seed McNemar's; adjusted by Holm's method for the comparisons of a claim).{few}",
        "The published figures are of ImageNet and COCO; where the study has other data their size is not comparable, "
        "only their sign. Where a published difference is negative, the paper's own table is against the sentence.",
        f"Parameters and FLOPs are counts. Latency: the interval is that of medians of interleaved rounds (from "
        f"their quartiles); up to {MARGIN:.0%} above the published ratio counts as equal.",
    ]


def _more_accurate(study: Study, what: str, row: str, than: str, published: float) -> Comparison:
    pairs = _pairs(study.runs(row), study.runs(than))
    differences = [a["fused"]["top1"] - b["fused"]["top1"] for a, b in pairs]
    return _compared(what, published, differences, pairs, _sign_test(pairs))


def _precision(study: Study, paper: Path) -> Claim:
    lines = {row: line for row, line in detection_rows(paper) if "ap" in line}
    compared = []
    for row, line in lines.items():
        plain = f"{row.split('-')[0]}-resnet50"
        if row != plain:
            pairs = _pairs(study.detectors(row), study.detectors(plain))
            differences = [a["fused"]["ap"] - b["fused"]["ap"] for a, b in pairs]
            what = f"{line['detector']}: {line['backbone']} − {lines[plain]['backbone']}"
            compared.append(_compared(what, float(line["ap"]) - float(lines[plain]["ap"]), differences, pairs, None))
    return Claim("A PD backbone lifts a detector's AP.", "AP", 1, compared)


def _compared(what: str, published: float, differences: list[float], pairs: list, p: float | None) -> Comparison:
    if not differences:
        return Comparison(what, published, None)
    anchors = tuple(dict.fromkeys(run["anchor"] for pair in pairs for run in pair))
    effect, interval = statistics.fmean(differences), mean_interval(differences)
    return Comparison(what, published, effect, interval, p, verdict(interval, p, len(pairs)), len(pairs), anchors)


def _pairs(runs: list[dict], others: list[dict]) -> list[tuple[dict, dict]]:
    """The runs of both rows with a seed that both have."""
    by_seed = {run["folder"].name: run for run in others}
    return [(run, by_seed[run["folder"].name]) for run in runs if run["folder"].name in by_seed]


def mean_interval(values: list[float]) -> tuple[float, float] | None:
    """Student's confidence interval of the mean; None for a single value."""
    if len(values) < 2:
        return None
    mean, error = statistics.fmean(values), statistics.stdev(values) / math.sqrt(len(values))
    reach = stats.t.ppf((1 + LEVEL) / 2, len(values) - 1) * error
    return mean - reach, mean + reach


def verdict(interval: tuple[float, float] | None, p: float | None, seeds: int) -> str:
    if seeds < SEEDS or (p is not None and p >= 1 - LEVEL) or interval[0] <= 0 <= interval[1]:
        return OPEN
    return SUPPORTED if interval[0] > 0 else REFUTED


def _sign_test(pairs: list[tuple[dict, dict]]) -> float | None:
    """p of the sign test over images, by how many seeds of each row were right; None without predictions."""
    difference = None
    for pair in pairs:
        hits = [_hits(run["folder"], run["files"].get("predictions.csv")) for run in pair]
        if any(hit is None for hit in hits) or not hits[0].index.equals(hits[1].index):
            return None
        of_seed = hits[0].astype(int) - hits[1].astype(int)
        difference = of_seed if difference is None else difference + of_seed
    return None if difference is None else sign_test(int((difference > 0).sum()), int((difference < 0).sum()))


def sign_test(better: int, worse: int) -> float:
    """p of no difference, two-sided, exact; McNemar's exact test where the counts are the discordant images'."""
    return stats.binomtest(better, better + worse).pvalue if better + worse else 1.0


@cache
def _hits(folder: Path, recorded: str | None) -> pd.Series | None:
    """Whether the fused network was right, by image; None where the predictions are not those of the record."""
    path = folder / "predictions.csv"
    if recorded is None or not path.is_file() or sha256(path) != recorded:
        return None
    predictions = pd.read_csv(path, index_col="image")
    return predictions["fused_1"] == predictions["label"]


def _holm(comparisons: list[Comparison]) -> list[Comparison]:
    """With the p of all comparisons adjusted together, and the verdicts that follow."""
    known = [comparison.p for comparison in comparisons if comparison.p is not None]
    adjusted = dict(zip(known, holm(known)))
    return [
        replace(old, p=adjusted[old.p], verdict=verdict(old.interval, adjusted[old.p], old.seeds))
        if old.p is not None
        else old
        for old in comparisons
    ]


def holm(values: list[float]) -> list[float]:
    """Holm's step-down adjustment of p values, in their order."""
    order = sorted(range(len(values)), key=values.__getitem__)
    adjusted, largest = [0.0] * len(values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(values) - rank) * values[index]))
        adjusted[index] = largest
    return adjusted


def _costs(study: Study, published: dict) -> list[Claim]:
    counted = study.complexity["rows"]

    def counts(sentence: str, unit: str, key: str, column: str) -> Claim:
        compared = []
        for depth in (18, 50):
            for kind in ("a", "b"):
                row, plain = f"pd_{kind}_resnet{depth}", f"resnet{depth}"
                claimed = float(published[row][column]) - float(published[plain][column])
                what = f"{published[row]['model']} − {published[plain]['model']}"
                if row not in counted or plain not in counted:
                    compared.append(Comparison(what, claimed, None))
                    continue
                effect = (counted[row][key] - counted[plain][key]) / UNITS[unit]
                # Both published figures are rounded to three places.
                same = abs(effect - claimed) <= 0.001 + 1e-9
                anchors = ("profile-complexity",)
                compared.append(
                    Comparison(what, claimed, effect, verdict=SUPPORTED if same else REFUTED, anchors=anchors)
                )
        return Claim(sentence, unit, 3, compared)

    return [
        counts("Parameters at inference are the plain network's, and for PD-B the gate's.", "M", "params", "params_m"),
        counts("FLOPs at inference are the plain network's.", "G", "flops", "flops_g"),
        counts("What a fused network keeps in memory is what the paper counts.", "M", "deploy_params", "params_m"),
    ]


def _latency(study: Study, published: dict) -> Claim:
    rows, rounds = study.latency["rows"], study.latency.get("rounds")
    compared = []
    for depth in (18, 50):
        for kind in ("a", "b"):
            row, plain = f"pd_{kind}_resnet{depth}", f"resnet{depth}"
            claimed = float(published[row]["latency_cpu_ms"]) / float(published[plain]["latency_cpu_ms"])
            what = f"{published[row]['model']} ÷ {published[plain]['model']}"
            if row not in rows or plain not in rows:
                compared.append(Comparison(what, claimed, None))
                continue
            ratio, low, high = ratio_of_medians(rows[row], rows[plain], rounds)
            bound = claimed + MARGIN
            said = SUPPORTED if high <= bound else REFUTED if low > bound else OPEN
            compared.append(Comparison(what, claimed, ratio, (low, high), verdict=said, anchors=("profile-latency",)))
    return Claim("Latency at inference is the plain network's (PD-A), or little more (PD-B).", RATIO, 3, compared)


def ratio_of_medians(timed: dict, plain: dict, rounds: int) -> tuple[float, float, float]:
    """Ratio of two medians of so many rounds, with its confidence interval.

    A median's standard error is 1.253 σ / √rounds, σ the quartiles' distance / 1.349, as for a normal distribution; the
    relative errors of both add in quadrature.
    """
    ratio = timed["median_ms"] / plain["median_ms"]
    errors = [
        1.253 * (row["quartiles_ms"][1] - row["quartiles_ms"][0]) / 1.349 / math.sqrt(rounds) / row["median_ms"]
        for row in (timed, plain)
    ]
    reach = stats.norm.ppf((1 + LEVEL) / 2) * ratio * math.hypot(*errors)
    return ratio, ratio - reach, ratio + reach
