"""push: what was made here, recorded in `dvc.lock` and shared. What must not be shown is not recorded either."""

import re
from pathlib import Path
from typing import Any

from dvc.utils.serialize import dump_yaml

from paradise.errors import UserError
from paradise.files import replacing
from paradise.study.code import digest
from paradise.study.files import write_text
from paradise.study.preset import Preset
from paradise.study.sharing import LOCK, PIPELINE, STUDY, WEIGHTS
from paradise.study.sharing.pipeline import SETTINGS, settings_path, stage_settings, write_settings
from paradise.study.sharing.repo import SharedStudy, described, hash_infos, in_words, open_repo, say
from paradise.study.stale import Reason, Survey
from paradise.study.steps import all_steps
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
        study = SharedStudy(repo, preset)
        if study.outdated:
            raise UserError(study.outdated)
        write_settings(preset)
        survey = Survey(preset)
        lock, refused = _record(study, survey)
        made = [name for name, entry in lock.items() if entry != study.lock.get(name) and name != SETTINGS]
        _write(study, lock)
        say(f"{len(made)} stages recorded in {LOCK}, {len(lock) - len(made) - 1} as before")
        if marked := sum(not survey.refused(job) and bool(survey.marks(job)) for job in survey.jobs.values()):
            say(f"{marked} of all are of other code or versions, and marked; `paradise status` says which")
        if unstaged := [str(job) for job in survey.jobs.values() if not survey.missing(job) and not study.has(job)]:
            say(f"{len(unstaged)} not shared, as {PIPELINE} has no stage for them: {in_words(unstaged)}")
        if refused:
            say(f"{len(refused)} not recorded; `paradise pull` fetches them, or `snakemake` computes them:")
            for line in group_reasons(survey, refused):
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
    if refused := [reasons for job in measured if (reasons := survey.refused(job))]:
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
    beside = "**/*.safetensors", "figures", "logs/*.log", "benchmarks/*.tsv"
    patterns = [f"{preset.results}/{name}" for name in beside]
    for step in all_steps().values():
        if step.view:
            patterns += [step.pattern(preset, pattern) for pattern in (*step.outputs, step.record)]
            patterns += [step.journal(preset, "logs", ".log"), step.journal(preset, "benchmarks", ".tsv")]
    return [f"/{pattern}" for pattern in dict.fromkeys(re.sub(r"{\w+}", "*", pattern) for pattern in patterns)]


def _record(study: SharedStudy, survey: Survey) -> tuple[dict[str, dict[str, Any]], list[tuple[Reason, ...]]]:
    """What `dvc.lock` is to say of each stage, and why it says nothing new of some."""
    lock, refused = {SETTINGS: _entry(study, SETTINGS)}, []
    for name, job in study.jobs(survey).items():
        record = survey.record(job)
        if record is None or survey.refused(job):
            refused.append(survey.refused(job))
            continue
        recorded = study.recorded(name).get(str(job.record))
        # Where `dvc.lock` has the record that is here, it has the files that came with it, wherever they are now.
        known = recorded is not None and recorded == study.found(str(job.record))
        settings = stage_settings(job) | {"code": digest(record.code)}  # the code that made what is here
        entry = _entry(study, name, known, {str(settings_path(job.preset)): {name: settings}})
        if absent := [out["path"] for out in entry["outs"] if "md5" not in out]:
            refused.append(tuple(Reason("outputs", f"{path} is not here", str(job)) for path in absent))
            continue
        lock[name] = entry
    return lock, refused


def _entry(study: SharedStudy, name: str, known: bool = False, params: dict[str, Any] | None = None) -> dict[str, Any]:
    """What `dvc.lock` is to say of a stage. `known`: whether it is right as to files that are not here."""

    def files(key: str, paths: list[str]) -> list[dict[str, Any]]:
        recorded = study.recorded(name, key) if known else {}
        return [study.found(path) or recorded.get(path) or {"path": path, "hash": "md5"} for path in sorted(paths)]

    stage = study.stages[name]
    sections = {
        "cmd": stage["cmd"],
        "deps": files("deps", stage.get("deps", [])),
        "params": params,
        "outs": files("outs", [file.path for file in study.files(name)]),
    }
    return {key: value for key, value in sections.items() if value}


def _write(study: SharedStudy, lock: dict[str, dict[str, Any]]) -> None:
    """Writes `dvc.lock`, with what it said of the stages that `lock` lacks, and puts the files into DVC's cache."""
    cache = study.repo.cache.local
    with study.repo.lock:
        wanted = {}
        for name in lock:
            for file in study.files(name):
                found = study.found(file.path)
                if file.remote is not None and found is not None and not study.in_cache(found["md5"]):
                    wanted[found["md5"]] = str(Path(file.path).absolute())
        cache.add(list(wanted.values()), cache.fs, list(wanted))
        merged = study.lock | lock
        stages = {name: merged[name] for name in study.stages if name in merged}
        if stages != study.lock:
            with replacing(LOCK) as temporary:
                dump_yaml(str(temporary), {"schema": "2.0", "stages": stages})
        study.lock = stages


def _send(study: SharedStudy) -> int:
    """Sends to the remotes what they lack of the stages' files; returns the number of files.

    What `dvc add` keeps, a checkpoint say, is not theirs: the remote `study` travels in git.
    """
    sent = 0
    for remote in (STUDY,) if study.weights_unset else (STUDY, WEIGHTS):
        result = study.repo.cloud.push(hash_infos(set(study.kept(remote).values())), remote=remote)
        if result.failed:
            raise UserError(f"{len(result.failed)} files could not be sent to the remote '{remote}'; is it reachable?")
        sent += len(result.transferred)
    return sent
