"""The time left, held against simulated runs of Snakemake, of which it is known when they end."""

import random
from collections import Counter

import pytest
from conftest import REPOSITORY

from paradise.study.terminal import time_left
from paradise.study.terminal.time_left import COSTS, Planned, Timed, cost_of, estimate, read_costs

CORES = 2
EXCLUSIVE = ("latency", "profile_detectors")  # rules that take all cores
SCATTER = 0.1  # of a job's seconds


@pytest.fixture
def plan(monkeypatch) -> dict[str, Planned]:
    """The published study's jobs, as the Snakefile plans them; evidence is not asked for."""
    costs = {
        job: seconds for job, seconds in read_costs(REPOSITORY).items() if "evidence" not in job and "start" not in job
    }
    planned = {}
    for job, seconds in costs.items():
        rule = job.split("/")[0]
        planned[f"{job}.log"] = Planned(rule, seconds, 1.0 if rule in EXCLUSIVE else 1 / CORES)
    monkeypatch.setattr(time_left, "PLAN", planned)
    return planned


def simulate(plan: dict[str, Planned], speed: float, seed: int) -> list[tuple[float, float | None]]:
    """Runs the jobs, longest first as far as cores are free; at the end of each, the time and what is estimated."""
    chance = random.Random(seed)
    takes = {log: job.seconds * speed * chance.lognormvariate(0, SCATTER) for log, job in plan.items()}
    waiting = sorted(plan, key=lambda log: (plan[log].rule in EXCLUSIVE, -takes[log]))
    wanted = Counter(job.rule for job in plan.values())
    now, running, ended, said = 0.0, dict[str, float](), list[Timed](), []
    while waiting or running:
        while waiting and sum(plan[log].share for log in running) + plan[waiting[0]].share <= 1:
            log = waiting.pop(0)
            running[log] = now
        first = min(running, key=lambda log: running[log] + takes[log])
        now = running.pop(first) + takes[first]
        ended.append(Timed(plan[first].rule, first, takes[first], 0.0))
        at_work = [Timed(plan[log].rule, log, now - begun, None) for log, begun in running.items()]
        said.append((now, estimate(wanted, ended, at_work)))
    return said


@pytest.mark.parametrize("speed", [0.4, 1.0, 3.0])
@pytest.mark.parametrize("seed", range(3))
def test_from_the_third_job_on_it_is_within_a_quarter_of_the_truth(plan, speed, seed):
    said = simulate(plan, speed, seed)
    end = said[-1][0]
    judged = [(end - now, left) for now, left in said[2:] if end - now > 0.1 * end]
    assert len(judged) > 30
    assert all(left == pytest.approx(truth, rel=0.25) for truth, left in judged)
    assert said[-1][1] == 0


def test_without_a_plan_it_is_what_others_of_the_rule_took(monkeypatch):
    monkeypatch.setattr(time_left, "PLAN", {})
    wanted = {"train": 10, "evaluate": 10}
    ended = [Timed("train", f"t{number}", seconds, 0.0) for number, seconds in enumerate((50, 70, 60, 60))]
    ended += [Timed("evaluate", f"e{number}", 5.0, 0.0) for number in range(2)]
    running = [Timed("train", f"r{number}", 20.0, None) for number in range(2)]
    # 4 trainings and what is left of two more, and 8 evaluations, two at a time.
    assert estimate(wanted, ended, running) == (4 * 60 + 2 * 40 + 8 * 5) / 2


def test_before_anything_is_known_nothing_is_said():
    assert estimate({"train": 2}, [], [Timed("train", "a", 5.0, None)]) is None


def test_what_a_job_says_of_itself_is_believed(monkeypatch):
    monkeypatch.setattr(time_left, "PLAN", {})
    assert estimate({"train": 3}, [], [Timed("train", "a", 10.0, 70.0)]) == 70 + 2 * 80


@pytest.mark.parametrize("seed", [0, 7])
def test_a_job_costs_what_the_first_seed_of_its_row_did(seed):
    costs = read_costs(REPOSITORY)
    log = f"results/mine/logs/train/pd_b_resnet50-seed{seed}.log"
    assert cost_of(log, "results/mine/logs", costs) == costs["train/pd_b_resnet50-seed0"] > 0
    assert cost_of("results/mine/logs/train/none-seed0.log", "results/mine/logs", costs) is None


def test_every_job_of_the_published_study_has_its_cost(digits_preset):
    from paradise.study.stale import Survey

    costs, logs = read_costs(REPOSITORY), f"{digits_preset.results}/logs"
    for job in Survey(digits_preset).jobs.values():
        log = job.step.journal(digits_preset, "logs", ".log").format(**job.wildcards)
        if job.step.name not in ("crate", "import_checkpoint"):
            assert cost_of(log, logs, costs), f"{log} is not in {COSTS}"
