# The preset: config/digits.yaml unless `--configfile` names another. And what the steps' declarations say of files.

import gc
import os
import sys
import time
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from paradise.errors import UserError
from paradise.study.data.folder import check_folders
from paradise.study.preset import Preset
from paradise.study.rows import Row
from paradise.study.schedule import Schedule, check_path
from paradise.study.session import PREFIX, begin_session, claim_results
from paradise.study.stale import Survey
from paradise.study.steps import all_steps
from paradise.study.terminal import time_left
from paradise.study.terminal.summary import describe_stale

# The jobs' `paradise` is the one beside this Snakemake, also where its environment is not activated.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

# The graph of a thousand runs is millions of objects that stay; to look for garbage among them takes a quarter of the time.
gc.disable()


onstart:
    gc.enable()


shell.prefix(PREFIX)
BEGAN = time.time()

if not workflow.configfiles:

    configfile: "config/digits.yaml"


try:
    if len(workflow.configfiles) > 1:
        raise UserError("one preset is one study: give one --configfile")
    PRESET = Preset.load(Path(os.path.relpath(workflow.configfiles[0])))
    check_path(PRESET)
    if workflow.config_settings.config:
        raise UserError(f"--config would change the study under its name: copy {PRESET.path} and edit the copy")
    check_folders(PRESET)
    SURVEY = Survey(PRESET)
    if not workflow.remote_exec:
        print("".join(f"{line}\n" for line in describe_stale(SURVEY)), end="", file=sys.stderr)
except UserError as error:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(2)

AT_ONCE = 10**9  # the priority of what trainings wait for, and of what gives a number to what was trained
RESULTS = str(PRESET.results)
STEPS = all_steps()
WANTED = [job.wildcards["table"] for job in STEPS["table"].of(PRESET)]
if "detection" in WANTED and find_spec("mmdet") is None:
    WANTED.remove("detection")
    print("Table 3 is left out: it needs mmdetection, which `make setup` installs", file=sys.stderr)


wildcard_constraints:
    row="[a-z][a-z0-9_-]*",
    detector="[a-z][a-z0-9_-]*",
    run="seed[0-9]+|imported",
    seed="[0-9]+",
    start="[a-z0-9_]+",
    piece="[a-z0-9_]+",
    table="[a-z0-9_]+",


@cache
def schedule():
    """Which jobs are at work; asked when it is known what the user forces, and whether anything is to be run."""
    if workflow.is_main_process:
        try:
            dry = not workflow.execution_settings or workflow.dryrun or workflow.touch
            begin_session(SURVEY, dry)
            if not dry:
                claim_results(PRESET)
                plan_jobs()
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)
    return Schedule(SURVEY, workflow.dag_settings.forcerun, workflow.dag_settings.forceall)


def needs(step):
    """What a job of the step is made from."""

    def inputs(wildcards):
        job = SURVEY.job(step, **dict(wildcards))
        files = schedule().needs(job)
        return files if schedule().is_live(job) else [ancient(file) for file in files]

    return inputs


def made(step):
    """What a job of the step writes."""
    return [STEPS[step].pattern(PRESET, pattern) for pattern in (*STEPS[step].outputs, STEPS[step].record)]


def log_of(step):
    """Where a job of the step prints."""
    return STEPS[step].journal(PRESET, "logs", ".log")


def cost_of(step):
    """Where Snakemake keeps what a job of the step cost."""
    return STEPS[step].journal(PRESET, "benchmarks", ".tsv")


def records(step):
    """The records of all jobs of the step."""
    return [str(job.record) for job in STEPS[step].of(PRESET)]


def plan_jobs():
    """Tells what shows the time left which jobs are to be done, and what share of the machine each takes."""
    costs, logs, cores = time_left.read_costs(Path(workflow.basedir)), f"{RESULTS}/logs", workflow.cores or 1
    threads = {rule.name: rule.resources["_cores"].value for rule in workflow.rules}
    patterns = {step: log_of(step) for step in STEPS}
    for job in SURVEY.jobs.values():
        if SURVEY.missing(job) or SURVEY.refused(job):
            log = patterns[job.step.name].format(**job.wildcards)
            share = min(threads.get(job.step.name, 1), cores) / cores
            time_left.PLAN[log] = time_left.Planned(job.step.name, time_left.cost_of(log, logs, costs), share)


def urgency(wildcards, cost):
    """Seed after seed, and of one seed the longest training first, so that none is left to run alone at the end."""
    seeds = {run.seed for run in PRESET.runs if run.seed is not None}
    return 10_000 * sum(seed > int(wildcards.seed) for seed in seeds) + cost


def urgency_of_row(wildcards):
    """As all trainings', but for the first row, which comes before longer ones: soon it has a number to see."""
    row = Row.parse(wildcards.row)
    return urgency(wildcards, 9_999 if row == PRESET.classifiers[0] else PRESET.recipe(row).epochs)


def have_new_numbers(tables):
    """Whether something that the tables show was measured in this run."""
    files = [path for table in tables for path in SURVEY.job("table", table=table).inputs.values()]
    return any(path.exists() and path.stat().st_mtime >= BEGAN for path in files)


def shown(tables):
    """Tables, and what they show."""
    jobs = [SURVEY.job("table", table=table) for table in tables]
    return lambda wildcards: [file for job in jobs for file in (*schedule().made_from(job), *map(str, job.outputs))]
