"""A study as DVC sees it: `dvc.yaml`, with a stage for every job, and what each stage depends on beside files.

All of it follows from the steps' declarations. Code and settings reach DVC through `results/<preset>/settings.json`, so
that it sees the causes which `stale.Survey` sees, and no others: an edited comment changes no digest.
"""

import hashlib
import json
import re
import shlex
from pathlib import Path
from typing import Any

import yaml

from paradise.errors import UserError
from paradise.study.code import LENGTH, digest
from paradise.study.files import write_json
from paradise.study.preset import Preset
from paradise.study.schedule import check_path
from paradise.study.sharing import PIPELINE, WEIGHTS
from paradise.study.steps import Job, all_steps
from paradise.study.terminal.summary import EVIDENCE

CODE = "src/paradise"
METRICS = "metrics.json"
SETTINGS = "settings"  # the first stage, which writes what the others depend on
HEADER = """\
# Written by `paradise dvc-yaml --preset {preset}` from the preset and the steps' declarations; not to be edited.
# Snakemake computes, DVC keeps and shares: a stage that DVC finds changed is forced there.
"""


def settings_path(preset: Preset) -> Path:
    """Where the settings and the code of every stage stand, for DVC to compare."""
    return preset.results / "settings.json"


def stage_name(job: Job) -> str:
    """What the stage of `job` is called: "train-pd_b_resnet18-seed0"."""
    return str(job).replace(" ", "-")


def stage_settings(job: Job) -> dict[str, Any]:
    """What the result of `job` depends on beside its files: a digest of its code, its recipe, digests of the rest."""
    shown = {"preset": _digest(job.settings)} if job.step.view else _shortened(job.settings)
    return {"code": digest(job.code)} | shown


def staged_jobs(preset: Preset) -> list[Job]:
    """The jobs of a study that have a stage: without a section `evidence`, all but evidence.

    What is made from a run that the study has not is left out as well.
    """
    steps = [step for step in all_steps().values() if preset.evidence or step.name not in EVIDENCE]
    jobs = [job for step in steps for job in step.of(preset)]
    while True:
        made = {path for job in jobs for path in job.outputs}
        able = [
            job
            for job in jobs
            if job.step.view or all(path in made for path in job.inputs.values() if path.is_relative_to(preset.results))
        ]
        if len(able) == len(jobs):
            return jobs
        jobs = able


def write_settings(preset: Preset) -> None:
    """Writes what the stages of a study depend on, unless it says so already."""
    settings = {stage_name(job): stage_settings(job) for job in staged_jobs(preset)}
    path = settings_path(preset)
    if not path.exists() or path.read_text() != json.dumps(settings, indent=2) + "\n":
        write_json(path, settings)


def pipeline(preset: Preset) -> dict[str, Any]:
    """The content of `dvc.yaml` for a study.

    Raises:
        UserError: Something of it lies outside the project, where DVC keeps nothing, or has a name that it takes apart.
    """
    check_path(preset)
    jobs = staged_jobs(preset)
    makers = {path: job for job in jobs for path in (*job.outputs, *job.vouched.values())}
    # A report shows the evidence that has been made; as DVC sees it, all that has a stage.
    evidence = [job.record for job in jobs if job.step.name == "make_evidence"]
    stages = {SETTINGS: _settings_stage(preset)}
    for job in jobs:
        staged = [path for path in job.inputs.values() if path in makers or not path.is_relative_to(preset.results)]
        inputs = staged + (evidence if job.step.name == "report" else [])
        stages[stage_name(job)] = _stage(job, _dependencies(inputs, makers))
    return {"vars": [{"preset": str(preset.path)}], "stages": stages, "plots": _plots(jobs)}


def study_files(preset: Preset) -> dict[Path, str]:
    """What `paradise dvc-yaml` writes for a study, by path."""
    return {PIPELINE: to_text(preset, pipeline(preset)), preset.results / ".gitignore": ignored_text(preset)}


def to_text(preset: Preset, content: dict[str, Any]) -> str:
    """The content of `dvc.yaml` as it is written."""
    header = HEADER.format(preset=shlex.quote(str(preset.path)))
    body: str = yaml.dump(content, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True, width=1000)
    return header + body


def ignored_text(preset: Preset) -> str:
    """`.gitignore` of a study's folder: git keeps what people read of it, DVC the rest."""
    kept = [settings_path(preset).name]
    for step in all_steps().values():
        for pattern in step.outputs:
            if Path(pattern).name in step.in_git:
                path = Path(re.sub(r"{\w+}", "*", step.pattern(preset, pattern)))
                kept.append(path.relative_to(preset.results).as_posix())
    lines = ["# Written by `paradise dvc-yaml`: git keeps what people read, DVC the rest.", "*", "!*/", "!/.gitignore"]
    return "\n".join([*lines, *(f"!/{pattern}" for pattern in sorted(set(kept)))]) + "\n"


def _shortened(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings with a digest in place of every section but recipes, which people compare key by key."""
    short: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, dict) and "recipe" in value:
            short[key] = _shortened(value)
        elif key == "recipe" or not isinstance(value, dict | list):
            short[key] = value
        else:
            short[key] = _digest(value)
    return short


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:LENGTH]


def _settings_stage(preset: Preset) -> dict[str, Any]:
    return {
        "desc": "what each stage depends on beside files",
        "cmd": shlex.join(["paradise", "settings", "--preset", str(preset.path)]),
        "deps": [str(preset.path), CODE],
        "outs": [{str(settings_path(preset)): {"cache": False, "persist": True}}],
    }


def _stage(job: Job, dependencies: list[Path]) -> dict[str, Any]:
    command = ["snakemake", str(job.record), "--forcerun", job.step.name, "--configfile", str(job.preset.path)]
    in_git = {name.format(**job.wildcards) for name in job.step.in_git}
    outs: list[dict[str, Any]] = []
    metrics: list[dict[str, Any]] = []
    for path in _files(job):
        flags: dict[str, Any] = {"persist": True}  # a stage that fails leaves what was there
        if path.name in in_git or path not in job.outputs:
            flags["cache"] = False
        elif path.name in job.step.weights:
            flags["remote"] = WEIGHTS
        (metrics if path.name == METRICS else outs).append({str(path): flags})
    stage = {
        "desc": job.step.about,
        "cmd": shlex.join(command),
        "params": [{str(settings_path(job.preset)): [stage_name(job)]}],
        "deps": sorted(map(str, dependencies)),
        "outs": outs,
        "metrics": metrics,
    }
    return {key: value for key, value in stage.items() if value}


def _dependencies(inputs: list[Path], makers: dict[Path, Job]) -> list[Path]:
    """The files of the project that are compared for `inputs`; for one elsewhere, the record that vouches for it."""
    found: dict[Path, None] = {}
    for path in inputs:
        maker = makers.get(path)
        if maker is not None and path not in _files(maker):
            found[maker.record] = None
        elif _is_inside(path):
            found[path] = None
    return list(found)


def _files(job: Job) -> list[Path]:
    """The files of a job that DVC compares: its own, and those beside its record that this vouches for."""
    if outside := [path for path in job.outputs if not _is_inside(path)]:
        raise UserError(
            f"{outside[0]} lies outside the project, where DVC keeps nothing; give it a place in the project"
        )
    beside = (path for path in job.vouched.values() if path.is_relative_to(job.record.parent))
    return list(dict.fromkeys([*job.outputs, *beside]))


def _is_inside(path: Path) -> bool:
    return not path.is_absolute() and ".." not in path.parts


def _plots(jobs: list[Job]) -> list[dict[str, Any]]:
    """Templates are in `.dvc/plots`."""
    logs = [path for job in jobs if job.step.name == "train" for path in job.outputs if path.name == "log.csv"]
    plots: list[dict[str, Any]] = [
        {
            "training": {
                "title": "Validation accuracy while training",
                "template": "training",
                "x": "epoch",
                "x_label": "epoch",
                "y_label": "top-1 accuracy, %",
                "y": {str(path): "val_top1" for path in logs},
            }
        }
    ]
    table = next((path for job in jobs for path in job.outputs if path.match("tables/imagenet.csv")), None)
    if table:
        plots.append(
            {
                "accuracy against latency": {
                    "title": "Accuracy of the fused models against their CPU latency",
                    "template": "latency",
                    "x": {str(table): "latency_cpu_ms_measured"},
                    "x_label": "latency at 224×224, batch 1, ms",
                    "y": {str(table): "top1_measured"},
                    "y_label": "top-1 accuracy, %",
                }
            }
        )
    return plots
