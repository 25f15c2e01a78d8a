"""A study's trained networks and its images, as the evidence looks at them."""

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn

from paradise.block import PDABlock
from paradise.kernels import embed, fold, total
from paradise.study.data.manifest import Split
from paradise.study.data.prepare import prepared
from paradise.study.evidence.rows import first_run
from paradise.study.preset import Preset
from paradise.study.registry import LOADERS
from paradise.study.rows import Row
from paradise.study.runs import trained_model


class Networks:
    """The first seed's networks of a study, and its images, on one device.

    Args:
        preset: The study.
        threads: Processor threads.
        device: Where they compute.

    Raises:
        UserError: The study's images were not prepared.
    """

    def __init__(self, preset: Preset, threads: int, device: torch.device):
        self.preset, self.threads, self.device = preset, threads, device
        self.manifest = prepared(preset.data)
        torch.set_num_threads(threads)

    def trained(self, row: Row) -> nn.Module:
        """The network of `row`, in eval mode. Raises UserError where it has not been trained."""
        folder = first_run(self.preset, row).folder(self.preset.results)
        model = trained_model(folder)
        model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's types leave it out
        return model

    def images(self, split: Split | None = None) -> Iterable[tuple[Tensor, Tensor]]:
        """Batches of images [B, 3, S, S] and labels [B], without augmentation.

        Args:
            split: Which images; the validation set by default.
        """
        data, recipe = self.preset.data, self.preset.training
        batch, of = recipe.device_batch_size or recipe.batch_size, split or self.manifest.val
        images: Iterable[tuple[Tensor, Tensor]] = LOADERS.get(data.loader).evaluation(
            of, data, batch, self.threads, self.device
        )
        return images

    def classes(self) -> list[str]:
        """The names of the classes, which are their folders'."""
        held_out = self.manifest.val
        names = {label: Path(path).parent.name for path, label in zip(held_out.paths, held_out.labels)}
        return [names.get(label, str(label)) for label in range(self.manifest.num_classes)]

    @torch.no_grad()
    def hits(self, model: nn.Module) -> Tensor:
        """Whether `model` is right, for each validation image [N], on the processor."""
        return torch.cat([model(x).argmax(1) == labels for x, labels in self.images()]).cpu()


def blocks(model: nn.Module) -> dict[str, PDABlock]:
    """The blocks of a network in training form, by the names of their places."""
    return {name: module for name, module in model.named_modules() if isinstance(module, PDABlock)}


def evenly_chosen(split: Split, count: int) -> Split:
    """At most `count` images of `split`, evenly from all of it, so of all classes."""
    count = min(count, len(split))
    chosen = [i * len(split) // count for i in range(count)]
    paths, labels, hashes = split.paths, split.labels, split.hashes
    return Split(split.folder, [paths[i] for i in chosen], [labels[i] for i in chosen], [hashes[i] for i in chosen])


@torch.no_grad()
def branch_kernels(block: PDABlock) -> list[Tensor]:
    """Each branch as a dense 3×3 kernel [C_out, C_in, 3, 3] with its BatchNorm folded in, float64."""
    return [
        total(embed(fold(part.conv, part.bn)[0], part.conv.groups) for part in branch.parts())
        for branch in block.branches()
    ]
