"""Folders that `prepare` writes into: each says what it was made with, and is never made over with anything else."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paradise.errors import UserError
from paradise.study.files import locked, write_json
from paradise.study.preset import DetectionData, EvaluationData, Preset
from paradise.study.records import Damaged, Prepared, PreparedDetection, Record, read_record

MARKER = ".made-with.json"
LOCK = ".prepare.lock"
PROJECT = ("config", "src", "results", ".git", ".dvc")  # of the working folder: where no data go


@dataclass(frozen=True)
class DataFolder:
    """A folder that a preset names.

    Attributes:
        path: Where it is.
        key: The preset's key that names it: "data.folder".
        record: The name of the record that is written into it at the end.
        schema: What that record says.
        made_with: What decides what is in it.
    """

    path: Path
    key: str
    record: str
    schema: type[Record]
    made_with: dict[str, Any]

    def check(self, anew: bool = False) -> None:
        """Touches nothing.

        Args:
            anew: Whether it is to be made: then the images must lie where they did as well.

        Raises:
            UserError: It is somebody else's, or was made with other settings.
        """
        here = self.path.resolve()
        for place in (Path(name).resolve() for name in PROJECT):
            if here == place or place in here.parents or here in place.parents:
                raise UserError(
                    f"'{self.key}': {self.path} is no place for data, it has {place} in it or is a part of it"
                )
        if not here.exists():
            return
        if not here.is_dir():
            raise UserError(f"'{self.key}': {self.path} is no folder; name another")
        then, now = self._says(), self.made_with
        if then is None:
            if others := sorted(path.name for path in here.iterdir() if path.name != LOCK):
                raise UserError(
                    f"'{self.key}': {self.path} holds files that `prepare` did not write, such as {others[0]!r}; "
                    "name an empty or a new folder"
                )
        elif changed := [key for key in {**then, **now} if (anew or key != "source") and then.get(key) != now.get(key)]:
            raise UserError(
                f"{self.path} was prepared with other settings ({', '.join(changed)}), maybe for another study: name "
                f"another folder in '{self.key}', or delete {self.path} if no study needs it"
            )

    def adopt(self) -> None:
        """Lets the folder say what it was made with where its record alone does: where it was fetched."""
        if self.path.is_dir() and not (self.path / MARKER).exists() and self._recorded() is not None:
            with suppress(UserError):  # of a folder that may only be read nobody deletes the record
                write_json(self.path / MARKER, self.made_with)

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Holds the folder for one process at a time. Where nothing was made nothing stays, not even the folder.

        Raises:
            UserError: See `check`; or another process is at work in it.
        """
        self.check(anew=True)
        marker, lock, new = self.path / MARKER, self.path / LOCK, not self.path.exists()
        with locked(lock, f"another `prepare` is at work in {self.path}; wait until it ends"):
            self.check(anew=True)
            write_json(marker, self.made_with)
            try:
                yield
            except BaseException:
                if {path.name for path in self.path.iterdir()} <= {MARKER, LOCK}:
                    marker.unlink()
                    if new:
                        lock.unlink(missing_ok=True)
                        self.path.rmdir()
                raise

    def _says(self) -> dict[str, Any] | None:
        """What the folder, or its record, says that it was made with; None where neither says anything."""
        try:
            says = json.loads((self.path / MARKER).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return self._recorded()
        except (OSError, ValueError, RecursionError):
            says = None
        return says if isinstance(says, dict) else {f"{MARKER} is damaged": True}

    def _recorded(self) -> dict[str, Any] | None:
        try:
            record = read_record(self.path / self.record, self.schema)
        except Damaged:
            return None
        if record is None:
            return None
        (settings,) = record.settings.values()
        # Where the images were it does not say.
        return _made_with(record.step, settings, self.made_with["source"])


def _made_with(step: str, settings: dict[str, Any], source: str | None) -> dict[str, Any]:
    # What was to be found decides nothing once it was.
    return {"step": step, **{key: value for key, value in settings.items() if key != "expect"}, "source": source}


def data_folder(data: EvaluationData) -> DataFolder:
    """The folder of a study's images."""
    made_with = _made_with("prepare", data.prepared(), data.source)
    return DataFolder(Path(data.folder), "data.folder", "prepared.json", Prepared, made_with)


def detection_folder(section: DetectionData) -> DataFolder:
    """The folder of a study's detection data."""
    made_with = _made_with("prepare_detection", section.prepared(), section.source)
    return DataFolder(Path(section.folder), "detection.folder", "detection.json", PreparedDetection, made_with)


def check_folders(preset: Preset) -> None:
    """What must be so before Snakemake runs anything: it deletes what a job writes before the job can refuse.

    Raises:
        UserError: A folder of the preset is somebody else's, or was prepared with other settings.
    """
    folders = [data_folder(preset.data), *([detection_folder(preset.detection)] if preset.detection else [])]
    for folder in folders:
        folder.check()
    for folder in folders:
        folder.adopt()
