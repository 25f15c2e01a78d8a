"""push: what was made here, recorded in `dvc.lock` and shared. What must not be shown is not recorded either."""

import re
from collections.abc import Iterable
from pathlib import Path

from dvc.dependency import ParamsDependency
from dvc.stage import PipelineStage
from dvc.stage.serialize import to_single_stage_lockfile
from dvc.utils.serialize import dump_yaml
from dvc_data.hashfile.hash_info import HashInfo
from dvc_data.hashfile.meta import Meta

from paradise.errors import UserError
from paradise.files import replacing
from paradise.study.code import digest
from paradise.study.files import write_text
from paradise.study.preset import Preset
from paradise.study.records import Record
from paradise.study.sharing import LOCK, PIPELINE, STUDY, WEIGHTS
from paradise.study.sharing.pipeline import SETTINGS, pipeline, stage_settings, write_settings
from paradise.study.sharing.repo import (
    SharedStudy,
    described,
    files_of,
    in_words,
    open_repo,
    read_pipeline,
    say,
)
from paradise.study.stale import Reason, Survey
from paradise.study.steps import Job, all_steps
from paradise.study.terminal.summary import group_reasons


def push() -> None:
    """Records in `dvc.lock` every stage that Snakemake has finished, without running any, and shares the files.

    What must not be shown, since it is of other settings or data or was edited, is named instead. What is of other code
    is recorded with that code, so that DVC tells it too.

    Raises:
        UserError: `dvc.yaml` is not what the preset makes, files cannot be sent, or another pull or push is at work.
    """
    with open_repo() as repo:
        preset = described()
        if read_pipeline() != pipeline(preset):
            raise UserError(f"{PIPELINE} is not what {preset.path} makes; `paradise dvc-yaml --preset {preset.path}` is")
        write_settings(preset)
        study, survey = SharedStudy(repo, preset), Survey(preset)
        made, before, refused = _sort(study, survey)
        _record(study, survey, made)
        say(f"{len(made)} stages recorded in {LOCK}, {before} as before")
        if marked := sum(not survey.refused(job) and bool(survey.marks(job)) for job in survey.jobs.values()):
            say(f"{marked} of these are of other code or versions, and marked; `paradise status` says which")
        if refused:
            say(f"{len(refused)} not recorded; `paradise pull` fetches them, or `snakemake` computes them:")
            for line in group_reasons(survey, (reason for reasons in refused for reason in reasons)):
                say(line)
        say(f"{_send(study)} files shared; now commit {LOCK} and what else git sees changed")
        if study.weights_unset:
            say("the weights stay on this machine: set their remote, `dvc remote modify weights url …`")


def push_folder(path: Path) -> None:
    """Shares the study of the preset in `path`, which is not `dvc.yaml`'s, as a folder without weights.

    Raises:
        UserError: It has no finished run, or results that must not be shown.
    """
    preset = Preset.load(path)
    survey, results = Survey(preset), preset.results
    measured = [job for job in survey.jobs.values() if not job.step.view and not survey.missing(job)]
    if refused := [reason for job in measured for reason in survey.refused(job)]:
        lines = [line.strip() for line in group_reasons(survey, refused)]
        raise UserError(f"{results} has results that {path} would not make ({in_words(lines, '; ')}); run snakemake")
    runs = [job for job in survey.jobs.values() if job.step.name == "evaluate"]
    finished = [job for job in runs if not survey.missing(job)]
    if not finished:
        raise UserError(f"{results} has no finished run of {path}; run snakemake")
    ignored = Path(".dvcignore")
    lines = ignored.read_text().splitlines() if ignored.exists() else []
    write_text(ignored, "\n".join([*lines, *(line for line in left_behind(preset) if line not in lines), ""]))
    with open_repo() as repo:
        repo.add(str(results))
        shared = repo.push([f"{results}.dvc"], remote=STUDY)
    say(f"{results}: {len(finished)} of {len(runs)} runs; {shared} files shared")
    say(f"now commit {results}.dvc and what else git sees changed")


def left_behind(preset: Preset) -> list[str]:
    """Patterns of what does not travel with a study's folder: the weights, and what is made of the rest in seconds."""
    patterns = [f"{preset.results}/{name}" for name in ("**/*.safetensors", "figures", "logs/*.log", "benchmarks/*.tsv")]
    for step in all_steps().values():
        if step.view:
            patterns += [step.pattern(preset, pattern) for pattern in (*step.outputs, step.record)]
            patterns += [step.journal(preset, "logs", ".log"), step.journal(preset, "benchmarks", ".tsv")]
    return [f"/{pattern}" for pattern in dict.fromkeys(re.sub(r"{\w+}", "*", pattern) for pattern in patterns)]


def _sort(study: SharedStudy, survey: Survey) -> tuple[list[tuple[Job, PipelineStage]], int, list[tuple[Reason, ...]]]:
    """The stages to record, the number of those that are recorded as they are, and why each of the others is not."""
    made, before, refused = [], 0, []
    for job, stage in study.stages(survey):
        record = survey.record(job)
        if record is None or survey.refused(job):
            refused.append(survey.refused(job))
        elif not _changed(study, job, stage, record):
            before += 1
        elif absent := _absent(study, job, stage):
            refused.append(tuple(Reason("outputs", f"{path} is not here", str(job)) for path in absent))
        else:
            made.append((job, stage))
    return made, before, refused


def _changed(study: SharedStudy, job: Job, stage: PipelineStage, record: Record) -> bool:
    """Whether `dvc.lock` says something else of a stage than what is here."""
    settings = [entry.hash_info.value for entry in stage.deps if isinstance(entry, ParamsDependency)]
    deps = (study.state(dep) for dep in files_of(stage))
    return (
        study.files_differ(job, stage)
        or stage.changed_stage()
        or settings != [_settings(job, stage, record)]
        or any(state not in (None, "deleted") for state in deps)
    )


def _absent(study: SharedStudy, job: Job, stage: PipelineStage) -> list[str]:
    """The files of a stage that are not here, and of which `dvc.lock` says nothing that holds."""
    if _record_is_as_recorded(study, job, stage):
        return []
    return [str(out) for out in stage.outs if not out.exists]


def _record_is_as_recorded(study: SharedStudy, job: Job, stage: PipelineStage) -> bool:
    """Whether `dvc.lock` has the record that is here, and so the files that came with it."""
    return any(Path(str(out)) == job.record and study.state(out) is None for out in stage.outs)


def _settings(job: Job, stage: PipelineStage, record: Record) -> dict:
    """What `dvc.lock` says of a stage's settings, with the code that made what is here."""
    return {stage.name: stage_settings(job) | {"code": digest(record.code)}}


def _record(study: SharedStudy, survey: Survey, made: list[tuple[Job, PipelineStage]]) -> None:
    """Writes `made` as they are now into `dvc.lock`, and leaves out of it what `dvc.yaml` no longer has."""
    first = study.all_stages[SETTINGS]
    with study.repo.lock:
        entries = dict(first.dvcfile.lockfile_contents.get("stages", {}))
        if any(study.state(entry) for entry in (*first.deps, *first.outs)) or first.changed_stage():
            first.save()
            entries[SETTINGS] = to_single_stage_lockfile(first)
        for job, stage in made:
            record = survey.record(job)
            known = _record_is_as_recorded(study, job, stage)
            for entry in (*files_of(stage), *stage.outs):
                if entry.exists:
                    entry.save()
                elif not known:
                    entry.hash_info, entry.meta = HashInfo(), Meta()
            for entry in stage.deps:
                if isinstance(entry, ParamsDependency):
                    entry.hash_info = HashInfo("params", _settings(job, stage, record))
            # Not relinked: what lies here stays as it is.
            stage.commit(allow_missing=True, relink=False)
            entries[stage.name] = to_single_stage_lockfile(stage)
        lock = {"schema": "2.0", "stages": {name: entries[name] for name in study.all_stages if name in entries}}
        if lock != first.dvcfile.lockfile_contents:
            with replacing(LOCK) as temporary:
                dump_yaml(str(temporary), lock)


def _send(study: SharedStudy) -> int:
    """Sends to the remotes what they lack of the stages' files; returns the number of files.

    What `dvc add` keeps, a checkpoint say, is not theirs: the remote `study` travels in git.
    """
    sent = 0
    for remote in (STUDY,) if study.weights_unset else (STUDY, WEIGHTS):
        hashes = {out.hash_info for out in study.outputs(remote) if out.hash_info}
        result = study.repo.cloud.push(hashes, remote=remote)
        if result.failed:
            raise UserError(f"{len(result.failed)} files could not be sent to the remote '{remote}'; is it reachable?")
        sent += len(result.transferred)
    return sent
