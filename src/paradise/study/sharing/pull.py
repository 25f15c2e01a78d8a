"""pull: what is published of the studies here, never over what was changed here since."""

from contextlib import suppress
from pathlib import Path

from dvc.exceptions import DownloadError, DvcException
from dvc.output import Output
from dvc.repo import Repo

from paradise.errors import UserError
from paradise.study.preset import Preset
from paradise.study.sharing import LOCK, PIPELINE, STUDY, WEIGHTS
from paradise.study.sharing.pipeline import staged_jobs
from paradise.study.sharing.repo import SharedStudy, described, in_words, lacks, open_repo, say
from paradise.study.stale import Survey
from paradise.study.terminal.summary import describe_missing, describe_stale


def pull() -> None:
    """Fetches what `dvc.lock` records, and says what of it today's preset, data and code would make otherwise.

    Files with changes that DVC does not hold are left as they are.

    Raises:
        UserError: The remote cannot be read, or another pull or push is at work.
    """
    with open_repo() as repo:
        study = SharedStudy(repo, described())
        _fetch(study, STUDY)
        missing = sorted(str(out) for out in lacks(repo, study.outputs(STUDY)))
        if missing and (reason := study.unreachable(STUDY)):
            raise UserError(f"the remote '{STUDY}' {reason}; nothing was changed")
        _fetch(study, WEIGHTS)
        _checkout(study)
        _report(study, missing)
        for file in sorted(Path("results").glob("*.dvc")):
            _pull_folder(repo, file)


def _fetch(study: SharedStudy, remote: str) -> None:
    """Brings into DVC's cache what a remote has of its files; what it lacks, the cache lacks then too."""
    wanted = {out.hash_info for out in lacks(study.repo, study.outputs(remote))}
    if wanted and not study.unreachable(remote):
        study.repo.cloud.pull(wanted, remote=remote)


def _checkout(study: SharedStudy) -> None:
    """Puts the cache's files into the workspace, but never over changes that the cache does not hold."""

    def saved(out: Output) -> bool:
        return bool(study.repo.cache.local.exists(out.get_hash().value))

    with study.repo.lock:
        for out in (*study.outputs(STUDY), *study.outputs(WEIGHTS)):
            state = study.state(out)
            if not out.hash_info or not (state == "deleted" or (state == "modified" and saved(out))):
                continue
            if not lacks(study.repo, [out]):
                out.checkout(force=True)
    study.forget_states()


def _report(study: SharedStudy, missing: list[str]) -> None:
    """Says how the study stands. `missing`: the files that could not be fetched."""
    survey = Survey(study.preset)
    shared = study.stages(survey)
    current = [(job, stage) for job, stage in shared if not survey.missing(job) and not survey.refused(job)]
    unrecorded = [str(job) for job, stage in current if study.files_differ(job, stage)]
    say(f"{len(current) - len(unrecorded)} of {len(shared)} stages are as recorded")
    if len(shared) < (wanted := len(staged_jobs(study.preset))):
        say(f"{PIPELINE} has stages for {len(shared)} of {wanted} results; `paradise dvc-yaml` writes all")
    if unrecorded:
        say(f"{len(unrecorded)} were made here since, not pushed yet: {in_words(unrecorded)}")
    if missing:
        say(f"{len(missing)} files could not be fetched: a remote lacks them or holds them damaged")
        for path in missing:
            say(f"  {path}")
    absent = [out for out in study.outputs(WEIGHTS) if not out.exists]
    if absent:
        if study.weights_unset:
            why = "is not set"
        else:
            why = study.unreachable(WEIGHTS) or "lacks them or holds them damaged"
        say(f"{len(absent)} files of weights are not here: the remote '{WEIGHTS}' {why}")
    for line in (*describe_missing(survey), *describe_stale(survey)):
        say(line)


def _pull_folder(repo: Repo, file: Path) -> None:
    """Fetches the study that `file` records as one folder."""
    results = file.with_suffix("")
    preset = Preset.load(Path("config", f"{results.name}.yaml"))
    (out,) = (out for out in repo.index.outs if Path(out.fs_path) == results.resolve())
    with suppress(DownloadError):
        repo.fetch([str(file)], remote=STUDY)
    if lacks(repo, [out]):
        say(f"{results} could not be fetched: the remote lacks some of it or holds it damaged")
        return
    try:
        repo.checkout([str(file)])
    except DvcException:  # it would remove what its cache does not hold
        say(f"{results} was changed here, and is left as it is")
        return
    survey = Survey(preset)
    runs = [job for job in survey.jobs.values() if job.step.name == "evaluate"]
    say(f"{results}: {sum(not survey.missing(job) for job in runs)} of {len(runs)} runs are here")
    for line in describe_stale(survey):
        say(line)
