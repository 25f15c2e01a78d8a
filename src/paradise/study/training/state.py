"""What a run that was ended goes on from: its latest states, in `state/` beside its results.

A state is written whole or not at all, the one before it stays, and each begins with its own checksum. None of it is an
output of the pipeline: Snakemake deletes the outputs of a job that was killed.
"""

import hashlib
import io
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from paradise.errors import UserError
from paradise.files import megabytes, replacing

KEPT = 2
# What a state cannot do without: with other data, batches or processes it would go on from a place that is not there.
NEEDED = ("row", "seed", "manifest", "processes", "images in a pass", "training.batch_size", "data.", "nvidia-dali")


class States:
    """The states in `folder` of the run that `fingerprint`, plain values by name, describes; `command` makes it."""

    def __init__(self, folder: Path, fingerprint: dict[str, Any], command: str):
        self.folder, self.fingerprint, self.command = folder, fingerprint, command

    def save(self, step: int, state: dict[str, Any]) -> Path:
        """Writes `state`, of tensors and plain values, as that of `step`; keeps it and the one before.

        Raises UserError where it cannot be written; what was saved before is as it was.
        """
        buffer = io.BytesIO()
        torch.save({"fingerprint": self.fingerprint, "state": state}, buffer)
        path = self.folder / f"step-{step:08d}.pt"
        with self.kept(), replacing(path, buffer.getbuffer().nbytes) as temporary, temporary.open("wb") as file:
            file.write(hashlib.sha256(buffer.getbuffer()).digest())
            file.write(buffer.getbuffer())
        for old in self._paths()[KEPT:]:
            old.unlink()
        return path

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Adds to a UserError of its block what the run goes on from."""
        try:
            yield
        except UserError as error:
            raise UserError(f"{error}; the same command goes on from {self.newest() or 'the beginning'}") from None

    def require_room(self, model: nn.Module, moments: int) -> None:
        """Raises UserError where the disk has no room for what a run writes: the states that are kept, and the weights.

        Args:
            model: What is trained.
            moments: How many values the optimizer keeps of each trained parameter.
        """
        weights = sum(value.nbytes for value in model.state_dict().values())
        trained = sum(parameter.nbytes for parameter in model.parameters() if parameter.requires_grad)
        state = weights + moments * trained
        needed = KEPT * state + weights - sum(path.stat().st_size for path in self._paths())
        free = shutil.disk_usage(self.folder).free
        if needed > free:
            raise UserError(
                f"{self.folder.parent}: the disk is too full for this training, whose states and weights take "
                f"{megabytes(needed)} more, and {megabytes(free)} are free; make room, or choose another --output"
            )

    def load(self, accept: bool = False) -> tuple[dict[str, Any] | None, list[Path], str]:
        """The newest state that is whole, None without one, the newer ones that are damaged, and what is accepted.

        Raises UserError, naming what differs, where it is of another run; with `accept` only where it cannot be gone on
        from as this one.
        """
        damaged = []
        for path in self.folder.glob(".step-*.part"):  # a run was killed while it wrote
            path.unlink()
        for path in self._paths():
            data = path.read_bytes()
            checksum, content = data[:32], data[32:]
            if hashlib.sha256(content).digest() != checksum:
                damaged.append(path)
                continue
            saved = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
            changed = _differences(saved["fingerprint"], self.fingerprint)
            needed = [key for key in changed if key.startswith(NEEDED)]
            if needed or (changed and not accept):
                ways = [f"`{self.command} --restart` deletes it and begins anew"]
                if not needed:
                    ways.append("`--accept-changes` goes on all the same")
                raise UserError(f"{path} is of another run: {', '.join(changed.values())}; {', '.join(ways)}")
            return saved["state"], damaged, ", ".join(changed.values())
        return None, damaged, ""

    def newest(self) -> Path | None:
        return next(iter(self._paths()), None)

    def clear(self) -> None:
        for path in reversed(self._paths()):
            path.unlink()

    def remove(self) -> None:
        """Removes the folder, the newest state last: one who is killed meanwhile goes on from that."""
        self.clear()
        shutil.rmtree(self.folder)

    def _paths(self) -> list[Path]:
        return sorted(self.folder.glob("step-*.pt"), reverse=True)


def _differences(then: dict[str, Any], now: dict[str, Any]) -> dict[str, str]:
    """Of what differs, by name: `"learning_rate was 0.1 and is 0.2"`."""
    changed = [key for key in then | now if then.get(key) != now.get(key)]
    return {key: f"{key} was {then.get(key)} and is {now.get(key)}" for key in changed}
