"""How long Snakemake's jobs will take together: by what each took in the published study, and how fast this run is."""

import csv
import re
import statistics
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

COSTS = Path("workflow/costs.csv")  # of the published study's jobs, by the place of their logs
ENOUGH = 4  # jobs of a rule, by which alone others of the rule are judged
SEED = re.compile(r"seed\d+")


@dataclass(frozen=True)
class Planned:
    """A job that is to be done.

    Attributes:
        rule: Its rule.
        seconds: What it took in the published study; None where there was none like it.
        share: Of the machine, which it takes while it runs.
    """

    rule: str
    seconds: float | None
    share: float


PLAN: dict[str, Planned] = {}  # the jobs of this run, by their logs; the Snakefile fills it


@dataclass(frozen=True)
class Timed:
    """A job that has ended, or is at work.

    Attributes:
        rule: Its rule.
        log: The place of its log.
        elapsed: Seconds that it has taken so far.
        left: Seconds that it will still take; None where it has not said.
    """

    rule: str
    log: str
    elapsed: float
    left: float | None

    @property
    def seconds(self) -> float:
        """How long it will have taken, if it has said."""
        return self.elapsed + (self.left or 0.0)


def read_costs(folder: Path) -> dict[str, float]:
    """What the jobs of the first seed of the published study took, in seconds, by the place of their logs.

    `folder`: where the Snakefile is.
    """
    with (folder / COSTS).open(newline="", encoding="utf-8") as file:
        return {line["job"]: float(line["seconds"]) for line in csv.DictReader(file)}


def cost_of(log: str, logs: str, costs: Mapping[str, float]) -> float | None:
    """The published study's cost of the job with this log, in the folder `logs` of its study."""
    return costs.get(SEED.sub("seed0", log.removeprefix(f"{logs}/").removesuffix(".log")))


def estimate(wanted: Mapping[str, int], ended: Collection[Timed], running: Collection[Timed]) -> float | None:
    """Seconds until all jobs are done; None where nothing is known yet.

    Args:
        wanted: The number of jobs, by rule.
        ended: Those that have ended.
        running: Those at work.
    """
    known = [job for job in (*ended, *running) if job.left is not None]
    if not known:
        return None
    logs = {job.log for job in (*ended, *running)}
    alone = 1 / max(len(running), 1)  # the share of a job that is not planned
    total = longest = 0.0
    for job in running:
        planned = PLAN.get(job.log)
        expected = _expected(job.rule, [planned] if planned else [], known)
        left = max(expected - job.elapsed, 0.0) if job.left is None else job.left
        total, longest = total + left * (planned.share if planned else alone), max(longest, left)
    for rule, count in wanted.items():
        waiting = [planned for log, planned in PLAN.items() if planned.rule == rule and log not in logs]
        begun = sum(job.rule == rule for job in (*ended, *running))
        total += (count - begun) * _expected(rule, waiting, known) * (waiting[0].share if waiting else alone)
    return max(total, longest)  # the last job may be alone


def _expected(rule: str, planned: Collection[Planned], known: Collection[Timed]) -> float:
    """Seconds of one of the planned jobs of a rule, by their costs, or else by what others of the rule have taken."""
    alike = [job for job in known if job.rule == rule]
    costs = [job.seconds for job in planned if job.seconds is not None]
    if costs:
        return statistics.fmean(costs) * _scale(alike if len(alike) >= ENOUGH else known)
    return statistics.fmean(job.seconds for job in alike) if alike else 0.0


def _scale(known: Collection[Timed]) -> float:
    """How much longer jobs take here than they took in the published study."""
    pairs = [(job.seconds, cost) for job in known if (cost := PLAN[job.log].seconds if job.log in PLAN else None)]
    return sum(seconds for seconds, _ in pairs) / sum(cost for _, cost in pairs) if pairs else 1.0
