"""pull: what is published of the studies here, never over what was changed here since."""

from contextlib import suppress
from pathlib import Path

from dvc.exceptions import DownloadError, DvcException
from dvc.repo import Repo
from dvc_data.hashfile.checkout import checkout
from dvc_data.hashfile.hash_info import HashInfo
from dvc_data.hashfile.tree import Tree

from paradise.errors import UserError
from paradise.study.preset import Preset
from paradise.study.sharing import STUDY, WEIGHTS
from paradise.study.sharing.repo import SharedStudy, described, hash_infos, in_words, open_repo, say
from paradise.study.stale import Survey
from paradise.study.terminal.summary import describe_stale


def pull() -> None:
    """Fetches what `dvc.lock` records, and says what of it today's preset, data and code would make otherwise.

    Files with changes that DVC does not hold are left as they are.

    Raises:
        UserError: The remote cannot be read, or another pull or push is at work.
    """
    with open_repo() as repo:
        study = SharedStudy(repo, described())
        missing = _fetch(study, STUDY)
        if missing and (reason := study.unreachable(STUDY)):
            raise UserError(f"the remote '{STUDY}' {reason}; nothing was changed")
        _fetch(study, WEIGHTS)
        _checkout(study)
        _report(study, missing)
        for file in sorted(Path("results").glob("*.dvc")):
            _pull_folder(repo, file)


def _fetch(study: SharedStudy, remote: str) -> list[str]:
    """Brings into DVC's cache what a remote has of its files; returns the paths of those that the cache lacks then."""
    kept = study.kept(remote)
    wanted = {md5 for md5 in kept.values() if not study.in_cache(md5)}
    if wanted and not study.unreachable(remote):
        study.repo.cloud.pull(hash_infos(wanted), remote=remote)
    lacking = {md5 for md5 in wanted if not study.in_cache(md5)}
    return sorted(path for path, md5 in kept.items() if md5 in lacking)


def _checkout(study: SharedStudy) -> None:
    """Puts the cache's files into the workspace, but never over changes that the cache does not hold."""
    # As one folder: DVC tries out what the disk can do once for each call.
    cache, here, wanted = study.repo.cache.local, Tree(), Tree()
    with study.repo.lock:
        for path, md5 in (study.kept(STUDY) | study.kept(WEIGHTS)).items():
            found = study.found(path)
            if found is not None and (found["md5"] == md5 or not study.in_cache(found["md5"])):
                continue
            if study.in_cache(md5):
                wanted.add(Path(path).parts, None, HashInfo("md5", md5))
                if found is not None:
                    here.add(Path(path).parts, None, HashInfo("md5", found["md5"]))
        here.digest()
        wanted.digest()
        checkout(str(Path.cwd()), cache.fs, wanted, cache, force=True, old=here)
    study.look_again()


def _report(study: SharedStudy, missing: list[str]) -> None:
    """Says how the study stands. `missing`: the files that could not be fetched."""
    survey = Survey(study.preset)
    jobs = study.jobs(survey)
    current = {name: job for name, job in jobs.items() if not survey.missing(job) and not survey.refused(job)}
    unrecorded = [str(job) for name, job in current.items() if study.files_differ(name, job)]
    say(f"{len(current) - len(unrecorded)} of {len(jobs)} stages are as recorded")
    if study.outdated:
        say(study.outdated)
    if unrecorded:
        say(f"{len(unrecorded)} were made here since, not pushed yet: {in_words(unrecorded)}")
    if missing:
        say(f"{len(missing)} files could not be fetched: a remote lacks them or holds them damaged")
        for lacking in missing:
            say(f"  {lacking}")
    if absent := [path for path in study.kept(WEIGHTS) if not Path(path).exists()]:
        why = None if study.weights_unset else study.unreachable(WEIGHTS) or "lacks them or holds them damaged"
        say(f"{len(absent)} files of weights are not here: the remote '{WEIGHTS}' {why or 'is not set'}")
    for line in describe_stale(survey):
        say(line)


def _pull_folder(repo: Repo, file: Path) -> None:
    """Fetches the study that `file` records as one folder."""
    results = file.with_suffix("")
    preset = Preset.load(Path("config", f"{results.name}.yaml"))
    (out,) = (out for out in repo.index.outs if Path(out.fs_path) == results.resolve())
    with suppress(DownloadError):
        repo.fetch([str(file)], remote=STUDY)
    if out.changed_cache():
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
