"""The study of `dvc.yaml` as DVC has it: its stages, what `dvc.lock` records of their files, cache and remotes.

DVC's own reading of a pipeline takes minutes where there are thousands of stages, so this works on what the two files
say; hashes, cache and remotes are DVC's.
"""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from dvc.exceptions import DownloadError, DvcException, UploadError
from dvc.repo import Repo
from dvc.utils.serialize import parse_yaml
from dvc_data.hashfile.build import build
from dvc_data.hashfile.hash_info import HashInfo

from paradise.errors import UserError
from paradise.study.files import locked
from paradise.study.preset import Preset
from paradise.study.sharing import LOCK, PIPELINE, STUDY, WEIGHTS
from paradise.study.sharing.pipeline import pipeline, stage_name, to_text
from paradise.study.stale import Survey
from paradise.study.steps import Job

UNSET = Path(".dvc/weights")  # where the remote `weights` points until a user sets it
TAKEN = "another `paradise pull` or `push` is at work here; wait until it ends"


def say(line: str) -> None:
    """Prints a line for whoever called the command."""
    print(line, file=sys.stderr)


def described() -> Preset:
    """The preset of the study that `dvc.yaml` is of. Raises UserError where there is no such file, or it names none."""
    if not PIPELINE.is_file():
        raise UserError(f"no {PIPELINE} here; run in the project's folder")
    try:
        path = yaml.safe_load(PIPELINE.read_text().partition("\nstages:")[0])["vars"][0]["preset"]
    except (yaml.YAMLError, LookupError, TypeError):
        path = None
    if not isinstance(path, str):
        raise UserError(f"{PIPELINE} names no preset; `paradise dvc-yaml --preset FILE` writes it for one")
    return Preset.load(Path(path))


@contextmanager
def open_repo() -> Iterator[Repo]:
    """DVC in the working folder, for one process at a time; its errors become one line."""
    logging.getLogger("dvc").setLevel(logging.CRITICAL)
    logging.getLogger("dvc_data").setLevel(logging.CRITICAL)
    described()
    if LOCK.exists():
        for number, line in enumerate(LOCK.read_text().splitlines(), start=1):
            if line.startswith(("<<<<<<<", ">>>>>>>")):
                raise UserError(
                    f"{LOCK} has a merge conflict in line {number}; take one side, `git checkout --ours {LOCK}` or "
                    "`--theirs`, and pull again"
                )
    with locked(Path(".dvc/tmp/paradise.lock"), TAKEN):
        try:
            # A downloaded archive is no git repository.
            with Repo(config={"core": {"no_scm": not Path(".git").exists()}}) as repo:
                for remote in (STUDY, WEIGHTS):
                    if remote not in repo.config["remote"]:
                        raise UserError(
                            f"no remote '{remote}' in .dvc/config; `dvc remote add {remote} URL` puts it there"
                        )
                yield repo
        except (DownloadError, UploadError) as error:
            raise UserError(f"{error.amount} files could not be sent or fetched; is the remote reachable?") from None
        except DvcException as error:
            raise UserError(f"DVC: {' '.join(str(error).split())}") from None


@dataclass(frozen=True)
class SharedFile:
    """A file that a stage writes. `remote`: where DVC shares it; None where git keeps it, or nobody."""

    path: str
    remote: str | None


class SharedStudy:
    """The stages of `dvc.yaml`, with what `dvc.lock` records of each.

    Attributes:
        repo: DVC.
        preset: The study that they are of.
        outdated: That `dvc.yaml` is not what the preset makes, and what to do; None where it is.
        stages: By name, as `dvc.yaml` has them.
        lock: By name, as `dvc.lock` has them.
        weights_unset: Whether no place was set for the weights.
    """

    def __init__(self, repo: Repo, preset: Preset):
        self.repo, self.preset = repo, preset
        content, text = pipeline(preset), PIPELINE.read_text()
        self.outdated: str | None = None
        if text != to_text(preset, content):
            content = yaml.safe_load(text)
            self.outdated = (
                f"{PIPELINE} is not what {preset.path} makes; `paradise dvc-yaml --preset {preset.path}` writes it"
            )
        self.stages: dict[str, dict[str, Any]] = content["stages"]
        lock = parse_yaml(LOCK.read_text(), LOCK) if LOCK.exists() else {}
        self.lock: dict[str, dict[str, Any]] = lock.get("stages", {})
        self.weights_unset = Path(repo.config["remote"][WEIGHTS]["url"]).resolve() == UNSET.resolve()
        self._found: dict[str, dict[str, Any] | None] = {}

    def has(self, job: Job) -> bool:
        """Whether a job has a stage."""
        return stage_name(job) in self.stages

    def jobs(self, survey: Survey) -> dict[str, Job]:
        """The jobs that have a stage, by its name, and left something, here or as `dvc.lock` records."""
        staged = {stage_name(job): job for job in survey.jobs.values() if self.has(job)}
        return {name: job for name, job in staged.items() if name in self.lock or not survey.missing(job)}

    def files(self, name: str) -> list[SharedFile]:
        """The files that a stage writes."""
        stage = self.stages[name]
        entries = (item for entry in (*stage["outs"], *stage.get("metrics", ())) for item in entry.items())
        return [
            SharedFile(path, flags.get("remote", STUDY) if flags.get("cache", True) else None)
            for path, flags in entries
        ]

    def recorded(self, name: str, key: str = "outs") -> dict[str, dict[str, Any]]:
        """What `dvc.lock` says of the files of a stage, by path: of its `outs`, or its `deps`."""
        return {entry["path"]: entry for entry in self.lock.get(name, {}).get(key, ())}

    def kept(self, remote: str) -> dict[str, str]:
        """The files that a remote keeps: the MD5 of each, by path."""
        found = {}
        for name in self.stages:
            recorded = self.recorded(name)
            for file in self.files(name):
                if file.remote == remote and "md5" in recorded.get(file.path, {}):
                    found[file.path] = recorded[file.path]["md5"]
        return found

    def found(self, path: str) -> dict[str, Any] | None:
        """What `dvc.lock` would say of a file, or a folder, as it is here; None where it is not."""
        if path not in self._found:
            self._found[path] = None
            if Path(path).exists():
                cache = self.repo.cache.local
                place = str(Path(path).absolute())
                _, meta, content = build(cache, place, cache.fs, "md5", ignore=self.repo.dvcignore, dry_run=True)
                size = {"size": meta.size} | ({"nfiles": meta.nfiles} if meta.isdir else {})
                self._found[path] = {"path": path, "hash": "md5", "md5": content.hash_info.value} | size
        found = self._found[path]
        return found and dict(found)  # of its own: YAML would write one that stands in two places as a reference

    def look_again(self) -> None:
        """Forgets what was found of files, which have changed."""
        self._found.clear()

    def in_cache(self, md5: str) -> bool:
        """Whether DVC's cache holds this content, undamaged."""
        return md5 in self.repo.cache.local.oids_exist([md5])

    def files_differ(self, name: str, job: Job) -> bool:
        """Whether a stage's files are others than `dvc.lock` records; weights that are not here are no difference."""
        recorded = self.recorded(name)
        for file in self.files(name):
            found = self.found(file.path)
            may_be_absent = file.remote == WEIGHTS or (job.step.local and file.remote is None)
            if found is None and may_be_absent and recorded:
                continue
            if found is None or found["md5"] != recorded.get(file.path, {}).get("md5"):
                return True
        return False

    def unreachable(self, remote: str) -> str | None:
        """That a remote cannot be read, and why; None where it can, whatever it holds."""
        place = self.repo.cloud.get_remote(remote)
        try:
            place.fs.exists(place.path)
        except Exception as error:  # whatever its client raises
            return f"({self.repo.config['remote'][remote]['url']}) cannot be read: {' '.join(str(error).split())}"
        return None


def hash_infos(hashes: set[str]) -> set[HashInfo]:
    """MD5s as DVC's clients of remotes take them."""
    return {HashInfo("md5", md5) for md5 in hashes}


def in_words(names: list[str], between: str = ", ") -> str:
    """Names, the first three of them written out."""
    return between.join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
