"""Sharing a study through DVC, so that Snakemake agrees with what was fetched.

Snakemake goes by the files' times, which a checkout makes meaningless; DVC goes by their content. `pull` asks DVC which
stages of `dvc.yaml` are as `dvc.lock` records them, tells Snakemake that these are done, and marks the others as to be
computed again. `push` records in `dvc.lock` what Snakemake made; what today's preset or code would not make is refused.

`dvc.yaml` describes one study. Any other, made on a machine where its weights stay, is shared as one folder: all of it
but the weights, and what is made of the rest in seconds.
"""

import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import networkx
import yaml
from dvc.exceptions import DownloadError, DvcException, UploadError
from dvc.output import Output
from dvc.repo import Repo
from dvc.stage import PipelineStage
from snakemake.persistence.file import FilePersistence

from paradise.study import preset as presets
from paradise.study import results as records
from paradise.study.causes import write_recipes
from paradise.study.data.manifest import other_images, read_manifest
from paradise.errors import UserError
from paradise.study.files import locked, write_text
from paradise.study.verify import unmade

STUDY, WEIGHTS = "study", "weights"  # DVC's remotes
UNSET = Path(".dvc/weights")  # where the remote `weights` points until a user sets it
LOCK = Path("dvc.lock")
# Of a folder. Logs and costs of rows lie deeper than those of tables and report.
LEFT_BEHIND = (
    *("**/*.safetensors", "tables", "figures", "report.html", "study.crate.zip"),
    *("logs/*.log", "benchmarks/*.tsv"),
)

_say = partial(print, file=sys.stderr)


def pull() -> None:
    """Fetches what `dvc.lock` records and makes Snakemake agree with it, by content.

    A stage is done where its command, dependencies and outputs are as recorded; weights that are not here are no
    difference. Where they are not, but its results are what today's preset and code make, it was made here since and is
    done as well. Any other stage, and what depends on it, is named and marked for Snakemake to compute again. Files
    with changes that DVC does not hold are left as they are. Raises UserError where the remote cannot be read, or
    another pull or push is at work.
    """
    with _study() as study:
        missing = study.fetch()
        if missing and (reason := study.unreachable(STUDY)):
            raise UserError(f"the remote '{STUDY}' {reason}; nothing was changed")
        study.checkout()
        unrecorded, stale = study.compare()
        study.tell_snakemake(stale)
        done = len(study.stages) - len(unrecorded) - len(stale)
        _say(f"{done} of {len(study.stages)} stages are as recorded")
        if unrecorded:
            _say(f"{len(unrecorded)} were made here since, not pushed yet: {_listed(unrecorded)}")
        if missing:
            _say(f"{len(missing)} files could not be fetched: a remote lacks them or holds them damaged")
            for path in missing:
                _say(f"  {path}")
        absent = [out for out in study.weights() if not out.exists]
        if absent:
            if study.weights_unset:
                why = "is not set"
            else:
                why = study.unreachable(WEIGHTS) or "lacks them or holds them damaged"
            _say(f"{len(absent)} files of weights are not here: the remote '{WEIGHTS}' {why}")
        _list("to be computed again, by `snakemake`", stale)
        for file in sorted(Path("results").glob("*.dvc")):
            _pull_folder(study.repo, file)


def push() -> None:
    """Records in `dvc.lock` every stage that Snakemake has finished, without running any, and shares the files.

    A stage whose results today's preset or code would not make, or that were changed by hand, is named instead.
    """
    with _study() as study:
        made, refused = [], {}
        for name, stage in study.stages.items():
            if study.changes(stage):
                if reason := study.unmade(stage):
                    refused[name] = reason
                else:
                    made.append(stage)
        study.record(made)
        before = len(study.stages) - len(made) - len(refused)
        _say(f"{len(made)} stages recorded in {LOCK}, {before} as before")
        _list("not recorded; `paradise pull` fetches them, or `snakemake` computes them", refused)
        shared = study.share()
        _say(f"{shared} files shared; now commit {LOCK} and what else git sees changed")
        if study.weights_unset:
            _say("the weights stay on this machine: set their remote, `dvc remote modify weights url …`")


def push_folder(path: Path) -> None:
    """Shares the study of the preset in `path`, which is not `dvc.yaml`'s, as a folder without weights.

    Raises UserError where it has no finished run, a damaged record, or runs of other settings than the preset's.
    """
    preset, results = presets.load(path), Path("results", path.stem)
    study, rows = records.Study(preset, results), presets.rows(preset)
    runs = sum(len(study.runs(row)) for row in rows)
    if study.stale:
        raise UserError(f"{results} has runs of other settings than {path}'s ({_listed(study.stale)}); run snakemake")
    if not runs:
        raise UserError(f"{results} has no finished run of {path}; run snakemake")
    ignored = Path(".dvcignore")
    lines = ignored.read_text().splitlines() if ignored.exists() else []
    more = [f"/{results}/{name}" for name in LEFT_BEHIND if f"/{results}/{name}" not in lines]
    write_text(ignored, "\n".join([*lines, *more, ""]))
    with _repo() as repo:
        repo.add(str(results))
        shared = repo.push([f"{results}.dvc"], remote=STUDY)
    _say(f"{results}: {runs} of {len(rows) * len(preset['seeds'])} runs; {shared} files shared")
    _say(f"now commit {results}.dvc and what else git sees changed")


def _pull_folder(repo: Repo, file: Path) -> None:
    """Fetches the study that `file` records and tells Snakemake that what is there is done."""
    results = file.with_suffix("")
    path = Path("config", f"{results.name}.yaml")
    preset = presets.load(path)
    (out,) = (out for out in repo.index.outs if Path(out.fs_path) == results.resolve())
    with suppress(DownloadError):
        repo.fetch([str(file)], remote=STUDY)
    if _lacking(out):
        _say(f"{results} could not be fetched: the remote lacks some of it or holds it damaged")
        return
    try:
        repo.checkout([str(file)])
    except DvcException:  # it would remove what its cache does not hold
        _say(f"{results} was changed here, and is left as it is")
        return
    runs = [results / row / f"seed{seed}" for row in presets.rows(preset) for seed in preset["seeds"]]
    finished = [evaluation for run in runs if (evaluation := run / "evaluation.json").exists()]
    _touch([str(file) for file in (*finished, *results.glob("profile/*.json"), *results.glob("evidence/*.json"))], path)
    _say(f"{results}: {len(finished)} of {len(runs)} runs are here")


class Study:
    """The stages of `dvc.yaml`, all of one preset."""

    def __init__(self, repo: Repo, preset: Path):
        self.repo, self.preset_path, self.preset = repo, preset, presets.load(preset)
        self.data = Path(self.preset["data"]["folder"])
        # Compared by DVC key by key, where the preset's own keys speak of many rows at once.
        write_recipes(self.preset, Path("results", preset.stem))
        for remote in (STUDY, WEIGHTS):
            if remote not in repo.config["remote"]:
                raise UserError(f"no remote '{remote}' in .dvc/config; `dvc remote add {remote} URL` puts it there")
        self.weights_unset = Path(repo.config["remote"][WEIGHTS]["url"]).resolve() == UNSET.resolve()
        self._states: dict[tuple, str | dict | None] = {}

    @property
    def stages(self) -> dict[str, PipelineStage]:
        """By name, as they are now: what is committed or fetched makes DVC read them again."""
        return {stage.addressing: stage for stage in self.repo.index.stages if isinstance(stage, PipelineStage)}

    def outputs(self) -> list[Output]:
        return [out for stage in self.stages.values() for out in stage.outs]

    def weights(self) -> list[Output]:
        return [out for out in self.outputs() if out.remote == WEIGHTS]

    def state(self, entry: Output) -> str | dict | None:
        """What DVC says of the content of a dependency or output: "new", "modified", "deleted", or None as recorded."""
        key = type(entry), entry.fs_path, str(entry.hash_info)
        if key not in self._states:
            # Not `status()`: that speaks of the cache before it speaks of the file.
            self._states[key] = next(iter(entry.workspace_status().values()), None)
        return self._states[key]

    def changes(self, stage: PipelineStage) -> list[str]:
        """How `stage` differs from its record in `dvc.lock`, in words."""
        if not any(out.hash_info for out in stage.outs):
            return ["never recorded"]
        may_be_absent = {out.fs_path for out in self.weights()}
        words = ["its command changed"] if stage.changed_stage() else []
        if stage.name == "prepare" and not self.state(stage.outs[0]):
            # The images are in no lock file; the manifest, which is, lists what they hash to.
            words += [f"{path} is not the image that was prepared" for path in other_images(read_manifest(self.data))]
        for entry in (*stage.deps, *stage.outs):
            state = self.state(entry)
            if isinstance(state, dict):
                words.append(f"{', '.join(state)} changed")
            elif state and not (state == "deleted" and entry.fs_path in may_be_absent):
                words.append(f"{entry} is {state}")
        return words

    def unmade(self, stage: PipelineStage) -> str | None:
        """Why the results of `stage` are not what today's preset and code would make; None if they are."""
        absent = [str(out) for out in stage.outs if not out.exists]
        step, folder = stage.addressing.partition("@")[0], Path(str(stage.outs[0])).parent
        return f"{absent[0]} is not here" if absent else unmade(step, folder, self.preset)

    def compare(self) -> tuple[list[str], dict[str, str]]:
        """Stages that were made here and not recorded yet; and those to be computed again, with why."""
        unrecorded, stale = [], {}
        for name, stage in self.stages.items():
            # `recipes` was written a moment ago; the rows that it changes say so themselves.
            if name != "recipes" and (words := self.changes(stage)):
                if self.unmade(stage) is None:
                    unrecorded.append(name)
                else:
                    stale[name] = _listed(words)
        for name in list(stale):
            for later in networkx.ancestors(self.repo.index.graph, self.stages[name]):
                stale.setdefault(later.addressing, f"after {name}")
        return (
            [name for name in unrecorded if name not in stale],
            {name: stale[name] for name in self.stages if name in stale},
        )

    def fetch(self) -> list[str]:
        """Brings into DVC's cache what the remotes have; returns the paths, weights apart, of what they lack."""
        weights = self.weights()
        rest = [out for out in self.outputs() if out not in weights]
        for remote, outs in ((STUDY, rest), (WEIGHTS, weights)):
            if any(map(_lacking, outs)):
                # Some of them may fail; which, the cache knows.
                with suppress(DownloadError):
                    self.repo.fetch(remote=remote)
        return sorted(str(out) for out in rest if _lacking(out))

    def unreachable(self, remote: str) -> str | None:
        """That the remote cannot be read, and why; None where it can, whatever it holds."""
        place = self.repo.cloud.get_remote(remote)
        try:
            place.fs.exists(place.path)
        except Exception as error:  # whatever its client raises
            return f"({self.repo.config['remote'][remote]['url']}) cannot be read: {' '.join(str(error).split())}"
        return None

    def checkout(self) -> None:
        """Puts the cache's files into the workspace, but never over changes that the cache does not hold."""

        def saved(out: Output) -> bool:
            return self.repo.cache.local.exists(out.get_hash().value)

        with self.repo.lock:
            for out in self.outputs():
                state = self.state(out)
                recorded = out.use_cache and out.hash_info and not _lacking(out)
                if recorded and (state == "deleted" or (state == "modified" and saved(out))):
                    out.checkout(force=True)
        self._states.clear()

    def tell_snakemake(self, stale: dict[str, str]) -> None:
        """Marks the outputs of `stale` stages as incomplete, and all others as made just now, in their order."""
        if done := sorted(path for name in self.stages.keys() - stale.keys() for path in self._files(name)):
            _touch(done, self.preset_path)
        records = FilePersistence(nolock=True, path=Path(".snakemake"))
        for name in stale:
            for path in self._files(name):
                records._mark_incomplete(path, None)

    def _files(self, name: str) -> list[str]:
        """Paths of the outputs of a stage that are here, as Snakemake knows them."""
        return [str(out) for out in self.stages[name].outs if out.exists]

    def record(self, made: list[PipelineStage]) -> None:
        """Writes `made` as they are now into `dvc.lock`, at once: `dvc commit` reads and writes it for each."""
        with self.repo.lock:
            for stage in made:
                stage.save()
                # Not relinked: a copy from the cache would be newer than what was made of it.
                stage.commit(relink=False)
            if made:
                made[0].dvcfile.dump_stages(made, update_pipeline=False)

    def share(self) -> int:
        """Sends to the remotes what they lack of the stages' outputs; returns the number of files.

        What `dvc add` keeps, a checkpoint say, is not theirs: the remote `study` travels in git.
        """
        # By their file: given a hundred stages by name, DVC reads the project again for each.
        return self.repo.push(["dvc.yaml"], remote=STUDY if self.weights_unset else None)


def _touch(paths: list[str], preset: Path) -> None:
    """Tells Snakemake that `paths`, and what they were made from, were made just now, in their order."""
    command = [sys.executable, "-m", "snakemake", *paths, "--touch", "--forceall", "--quiet", "all"]
    told = subprocess.run([*command, "--configfile", preset], capture_output=True, text=True)
    if "LockException" in told.stderr:
        raise UserError("Snakemake is at work here; pull again when it has ended")
    if told.returncode:
        raise UserError(f"Snakemake would not take the files: {' '.join(told.stderr.split())[-300:]}")


def _lacking(out: Output) -> bool:
    """Whether DVC's cache lacks what `dvc.lock` records of `out`."""
    return bool(out.use_cache and out.hash_info and out.changed_cache())


def _listed(words: list[str]) -> str:
    return ", ".join(words[:3]) + (f" and {len(words) - 3} more" if len(words) > 3 else "")


def _list(what: str, reasons: dict[str, str]) -> None:
    if reasons:
        _say(f"{len(reasons)} {what}:")
    for name, reason in reasons.items():
        _say(f"  {name}: {reason}")


@contextmanager
def _study() -> Iterator[Study]:
    """The study of `dvc.yaml` in the working folder."""
    with _repo() as repo:
        yield Study(repo, described())


def described() -> Path:
    """The preset of the study that `dvc.yaml` describes."""
    if not Path("dvc.yaml").is_file():
        raise UserError("no dvc.yaml here; run in the project's folder")
    try:
        return Path("config", f"{yaml.safe_load(Path('dvc.yaml').read_text())['vars'][0]['preset']}.yaml")
    except (yaml.YAMLError, LookupError, TypeError):
        raise UserError("dvc.yaml names no preset; its `vars` begin with `preset: NAME`") from None


@contextmanager
def _repo() -> Iterator[Repo]:
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
    with locked(
        Path(".dvc/tmp/paradise.lock"), "another `paradise pull` or `push` is at work here; wait until it ends"
    ):
        try:
            with Repo() as repo:
                yield repo
        except (DownloadError, UploadError) as error:
            raise UserError(f"{error.amount} files could not be sent or fetched; is the remote reachable?") from None
        except DvcException as error:
            raise UserError(f"DVC: {' '.join(str(error).split())}") from None
