"""Sharing a study through DVC, so that Snakemake agrees with what was fetched.

Snakemake goes by the files' times, which a checkout makes meaningless; DVC goes by their content. `pull` asks DVC which
stages of `dvc.yaml` are as `dvc.lock` records them, tells Snakemake that these are done, and marks the others as to be
computed again. `push` records in `dvc.lock` what Snakemake made; what today's preset or code would not make is refused.
"""

import fcntl
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import networkx
import yaml
from dvc.exceptions import DownloadError, DvcException, UploadError
from dvc.output import Output
from dvc.repo import Repo
from dvc.stage import PipelineStage
from rich.console import Console
from safetensors import safe_open
from snakemake.persistence.file import FilePersistence

from paradise import preset as presets
from paradise.causes import code, hashes, other_settings, write_recipes
from paradise.data.manifest import other_images, read_manifest
from paradise.errors import UserError
from paradise.names import imagenet_rows
from paradise.tables import TABLES, render

STUDY, WEIGHTS = "study", "weights"  # DVC's remotes
UNSET = Path(".dvc/weights")  # where the remote `weights` points until a user sets it
LOCK = Path("dvc.lock")

console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


def pull() -> None:
    """Fetches what `dvc.lock` records and makes Snakemake agree with it, by content.

    A stage is done where its command, dependencies and outputs are as recorded; weights and data that are not here are
    no difference. Any other stage, and what depends on it, is named and marked for Snakemake to compute again. Files
    with changes that DVC does not hold are left as they are. Raises UserError where there is nothing to pull, the
    remote cannot be read, or another pull or push is at work.
    """
    with _study() as study:
        missing = study.fetch()
        if missing and (reason := study.unreachable(STUDY)):
            raise UserError(f"the remote '{STUDY}' {reason}; nothing was changed")
        study.checkout()
        stale = study.stale()
        study.tell_snakemake(stale)
        done = len(study.stages) - len(stale)
        console.print(f"{done} of {len(study.stages)} stages are as recorded")
        if missing:
            console.print(f"{len(missing)} files could not be fetched: a remote lacks them or holds them damaged")
            for path in missing:
                console.print(f"  {path}")
        absent = [out for out in study.weights() if not out.exists]
        if absent:
            if study.weights_unset:
                why = "is not set"
            else:
                why = study.unreachable(WEIGHTS) or "lacks them or holds them damaged"
            console.print(f"{len(absent)} files of weights are not here: the remote '{WEIGHTS}' {why}")
        _list("to be computed again, by `snakemake`", stale)


def push() -> None:
    """Records in `dvc.lock` every stage that Snakemake has finished, without running any, and shares the files.

    A stage whose results today's preset or code would not make, or that were changed by hand, is named instead.
    """
    with _study() as study:
        made, refused = [], {}
        for name, stage in study.stages.items():
            if study.changes(stage):
                if reason := study.unmade(name):
                    refused[name] = reason
                else:
                    made.append(stage)
        study.record(made)
        before = len(study.stages) - len(made) - len(refused)
        console.print(f"{len(made)} stages recorded in {LOCK}, {before} as before")
        _list("not recorded; `snakemake` computes them", refused)
        shared = study.share()
        console.print(f"{shared} files shared; now commit {LOCK} and what else git sees changed")
        if study.weights_unset:
            console.print("the weights stay on this machine: set their remote, `dvc remote modify weights url …`")


class Study:
    """The stages of `dvc.yaml`, all of one preset."""

    def __init__(self, repo: Repo, preset: Path):
        self.repo, self.preset_path, self.preset = repo, preset, presets.load(preset)
        self.name, self.results = preset.stem, Path("results", preset.stem)
        # Compared by DVC key by key, where the preset's own keys speak of many rows at once.
        write_recipes(self.preset, self.results)
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
        if stage.name == "prepare" and (wrong := self._other_images()):
            words.append(f"{wrong[0]} is not the image that was prepared")
        for entry in (*stage.deps, *stage.outs):
            state = self.state(entry)
            if isinstance(state, dict):
                words.append(f"{', '.join(state)} changed")
            elif state and not (state == "deleted" and entry.fs_path in may_be_absent):
                words.append(f"{entry} is {state}")
        return words

    def stale(self) -> dict[str, str]:
        """Stages that are not as recorded, or depend on one that is not, and why."""
        graph = self.repo.index.graph
        # `recipes` was written a moment ago; the rows that it changes say so themselves.
        changes = {name: self.changes(stage) for name, stage in self.stages.items() if name != "recipes"}
        reasons = {name: _listed(words) for name, words in changes.items() if words}
        for name in list(reasons):
            for later in networkx.ancestors(graph, self.stages[name]):
                reasons.setdefault(later.addressing, f"after {name}")
        return {name: reasons[name] for name in self.stages if name in reasons}

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
        """Outputs of stages in `stale` are marked as incomplete, all others as made just now in their order."""
        done = [path for name in self.stages.keys() - stale.keys() for path in self._files(name)]
        if done:
            command = [sys.executable, "-m", "snakemake", *sorted(done), "--touch", "--forceall", "--quiet", "all"]
            command += ["--configfile", str(self.preset_path)]
            told = subprocess.run(command, capture_output=True, text=True)
            if told.returncode:
                raise UserError(f"Snakemake would not take the files: {told.stderr.strip().splitlines()[-1]}")
        records = FilePersistence(nolock=True, path=Path(".snakemake"))
        for name in stale:
            for path in self._files(name):
                records._mark_incomplete(path, None)

    def _files(self, name: str) -> list[str]:
        """Paths of the outputs of a stage that are here, as Snakemake knows them."""
        return [str(out) for out in self.stages[name].outs if out.exists]

    def unmade(self, name: str) -> str | None:
        """Why the results of the stage `name` are not what today's preset and code would make; None if they are."""
        absent = [str(out) for out in self.stages[name].outs if not out.exists]
        if absent:
            return f"{absent[0]} is not here"
        step, folder = name.partition("@")[0], Path(str(self.stages[name].outs[0])).parent
        try:
            return getattr(self, f"_unmade_{step}")(folder)
        except (KeyError, TypeError, ValueError, OSError) as error:
            return f"a record in {folder} is damaged ({error!r})"

    def _other_images(self) -> list[str]:
        folder = Path(self.preset["data"]["folder"])
        return other_images(read_manifest(folder)) if (folder / "manifest.csv").exists() else []

    def _unmade_prepare(self, folder: Path) -> str | None:
        made = json.loads((folder / "prepared.json").read_text())
        if wrong := self._other_images():
            return f"{wrong[0]} is not the image that was prepared"
        changed = [key for key in ("dataset", "per_class") if made[key] != self.preset["data"].get(key)]
        return f"{', '.join(changed)} changed" if changed else _other_code(made, "prepare")

    def _unmade_recipes(self, _) -> None:
        return None

    def _unmade_train(self, folder: Path) -> str | None:
        run = json.loads((folder / "run.json").read_text())
        return other_settings(run, self.preset) or _other_code(run, "train") or _other_files(run, folder)

    def _unmade_fuse(self, folder: Path) -> str | None:
        with safe_open(folder / "fused.safetensors", "np") as file:
            made = file.metadata()
        if made["weights"] != json.loads((folder / "run.json").read_text())["files"]["weights.safetensors"]:
            return "fused from other weights"
        return _other_code(made, "fuse")

    def _unmade_evaluate(self, folder: Path) -> str | None:
        evaluation = json.loads((folder / "evaluation.json").read_text())
        return _other_code(evaluation, "evaluate") or _other_files(evaluation, folder)

    def _unmade_complexity(self, folder: Path) -> str | None:
        return self._unmade_profile(json.loads((folder / "complexity.json").read_text()), "complexity")

    def _unmade_latency(self, folder: Path) -> str | None:
        made, wanted = json.loads((folder / "latency.json").read_text()), self.preset["latency"]
        if (made["rounds"], made["machine"]["threads"]) != (wanted["rounds"], wanted["threads"]):
            return "rounds or threads changed"
        return self._unmade_profile(made, "latency")

    def _unmade_profile(self, made: dict, step: str) -> str | None:
        rows = [row for row, _ in imagenet_rows(presets.PAPER) if row in presets.rows(self.preset)]
        return _other_code(made, step) if list(made["rows"]) == rows else "its rows changed"

    def _unmade_tables(self, folder: Path) -> str | None:
        for table in TABLES:
            for file, text in render(table, self.preset, self.name, self.results).items():
                if (folder / file).read_text() != text:
                    return f"{folder / file} does not show the results as they are"
        return None

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
        """Sends to the remotes what they lack; returns the number of files."""
        return self.repo.push(remote=STUDY if self.weights_unset else None)


def _lacking(out: Output) -> bool:
    """Whether DVC's cache lacks what `dvc.lock` records of `out`."""
    return bool(out.use_cache and out.hash_info and out.changed_cache())


def _other_code(record: dict, step: str) -> str | None:
    return None if record["code"] == code(step) else "made by other code than today's"


def _other_files(record: dict, folder: Path) -> str | None:
    now = hashes(folder, *record["files"])
    changed = [name for name in now if now[name] != record["files"][name]]
    return f"{', '.join(changed)} changed since" if changed else None


def _listed(words: list[str]) -> str:
    return ", ".join(words[:3]) + (f" and {len(words) - 3} more" if len(words) > 3 else "")


def _list(what: str, reasons: dict[str, str]) -> None:
    if reasons:
        console.print(f"{len(reasons)} {what}:")
    for name, reason in reasons.items():
        console.print(f"  {name}: {reason}")


@contextmanager
def _study() -> Iterator[Study]:
    """The study in the working folder, for one process at a time; DVC's errors become one line."""
    logging.getLogger("dvc").setLevel(logging.CRITICAL)
    logging.getLogger("dvc_data").setLevel(logging.CRITICAL)
    if not Path("dvc.yaml").is_file():
        raise UserError("no dvc.yaml here; run in the project's folder")
    if LOCK.exists():
        for number, line in enumerate(LOCK.read_text().splitlines(), start=1):
            if line.startswith(("<<<<<<<", ">>>>>>>")):
                raise UserError(
                    f"{LOCK} has a merge conflict in line {number}; take one side, `git checkout --ours {LOCK}` or "
                    "`--theirs`, and pull again"
                )
    Path(".dvc/tmp").mkdir(exist_ok=True)
    with Path(".dvc/tmp/paradise.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError("another `paradise pull` or `push` is at work here; wait until it ends") from None
        try:
            preset = yaml.safe_load(Path("dvc.yaml").read_text())["vars"][0]["preset"]
            with Repo() as repo:
                yield Study(repo, Path("config", f"{preset}.yaml"))
        except (DownloadError, UploadError) as error:
            raise UserError(f"{error.amount} files could not be sent or fetched; is the remote reachable?") from None
        except DvcException as error:
            raise UserError(f"DVC: {' '.join(str(error).split())}") from None
