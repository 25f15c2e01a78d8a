"""The study of `dvc.yaml` as DVC has it: its stages, what `dvc.lock` records of their files, and the remotes."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import sys

import yaml
from dvc.dependency import ParamsDependency
from dvc.exceptions import DownloadError, DvcException, UploadError
from dvc.output import Output
from dvc.repo import Repo
from dvc.stage import PipelineStage

from paradise.errors import UserError
from paradise.study.files import locked
from paradise.study.preset import Preset
from paradise.study.sharing import LOCK, PIPELINE, STUDY, WEIGHTS
from paradise.study.sharing.pipeline import stage_name
from paradise.study.stale import Survey
from paradise.study.steps import Job

UNSET = Path(".dvc/weights")  # where the remote `weights` points until a user sets it
TAKEN = "another `paradise pull` or `push` is at work here; wait until it ends"

say = partial(print, file=sys.stderr)


def read_pipeline() -> dict[str, Any]:
    """The content of `dvc.yaml`. Raises UserError where there is none, or it was not written for a preset."""
    if not PIPELINE.is_file():
        raise UserError(f"no {PIPELINE} here; run in the project's folder")
    try:
        content = yaml.load(PIPELINE.read_text(), Loader=yaml.CSafeLoader)
        if isinstance(content["vars"][0]["preset"], str):
            return dict(content)
    except (yaml.YAMLError, LookupError, TypeError):
        pass
    raise UserError(f"{PIPELINE} is of no preset; `paradise dvc-yaml --preset FILE` writes it for one")


def described() -> Preset:
    """The preset of the study that `dvc.yaml` is of."""
    return Preset.load(Path(read_pipeline()["vars"][0]["preset"]))


@contextmanager
def open_repo() -> Iterator[Repo]:
    """DVC in the working folder, for one process at a time; its errors become one line."""
    logging.getLogger("dvc").setLevel(logging.CRITICAL)
    logging.getLogger("dvc_data").setLevel(logging.CRITICAL)
    read_pipeline()
    if LOCK.exists():
        for number, line in enumerate(LOCK.read_text().splitlines(), start=1):
            if line.startswith(("<<<<<<<", ">>>>>>>")):
                raise UserError(
                    f"{LOCK} has a merge conflict in line {number}; take one side, `git checkout --ours {LOCK}` or "
                    "`--theirs`, and pull again"
                )
    with locked(Path(".dvc/tmp/paradise.lock"), TAKEN):
        try:
            with Repo() as repo:
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


class SharedStudy:
    """The stages of `dvc.yaml`, with what `dvc.lock` records of each.

    Args:
        repo: DVC.
        preset: The study that they are of.
    """

    def __init__(self, repo: Repo, preset: Preset):
        self.repo, self.preset = repo, preset
        self.weights_unset = Path(repo.config["remote"][WEIGHTS]["url"]).resolve() == UNSET.resolve()
        self._states: dict[tuple[type, str, str], str | None] = {}

    @cached_property
    def all_stages(self) -> dict[str, PipelineStage]:
        """By name."""
        return {stage.addressing: stage for stage in self.repo.index.stages if isinstance(stage, PipelineStage)}

    def stages(self, survey: Survey) -> list[tuple[Job, PipelineStage]]:
        """The stages of the jobs that a survey is of, each with its job."""
        named = ((job, self.all_stages.get(stage_name(job))) for job in survey.jobs.values())
        return [(job, stage) for job, stage in named if stage is not None]

    def outputs(self, remote: str) -> list[Output]:
        """The files that belong to a remote."""
        kept = (out for stage in self.all_stages.values() for out in stage.outs if out.use_cache)
        return [out for out in kept if (out.remote or STUDY) == remote]

    def state(self, entry: Output) -> str | None:
        """What DVC says of the content of a file: "new", "modified", "deleted", or None where it is as recorded."""
        key = type(entry), entry.fs_path, str(entry.hash_info)
        if key not in self._states:
            # Not `status()`: that speaks of the cache before it speaks of the file.
            self._states[key] = next(iter(entry.workspace_status().values()), None)
        return self._states[key]

    def forget_states(self) -> None:
        """Looks at the files anew from here on."""
        self._states.clear()

    def files_differ(self, job: Job, stage: PipelineStage) -> bool:
        """Whether what `job` left is something else than `dvc.lock` records; weights that are not here are no difference."""

        def differs(out: Output) -> bool:
            may_be_absent = out.remote == WEIGHTS or (job.step.local and not out.use_cache)
            return self.state(out) not in ((None, "deleted") if may_be_absent else (None,))

        return not any(out.hash_info for out in stage.outs) or any(map(differs, stage.outs))

    def unreachable(self, remote: str) -> str | None:
        """That a remote cannot be read, and why; None where it can, whatever it holds."""
        place = self.repo.cloud.get_remote(remote)
        try:
            place.fs.exists(place.path)
        except Exception as error:  # whatever its client raises
            return f"({self.repo.config['remote'][remote]['url']}) cannot be read: {' '.join(str(error).split())}"
        return None


def files_of(stage: PipelineStage) -> list[Output]:
    """The files that a stage is made from; its settings are no file of its own."""
    return [entry for entry in stage.deps if not isinstance(entry, ParamsDependency)]


def lacks(repo: Repo, outs: Iterable[Output]) -> list[Output]:
    """Those of `outs` whose recorded content DVC's cache does not hold, or holds damaged."""
    return [out for out in outs if out.use_cache and out.hash_info and out.changed_cache()]


def in_words(names: list[str], between: str = ", ") -> str:
    """Names, the first three of them written out."""
    return between.join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
