"""A study's trained networks and its images, as the evidence looks at them."""

from pathlib import Path

import torch
from torch import Tensor, nn

from paradise import preset as presets
from paradise.block import PDABlock
from paradise.data.loaders import loader
from paradise.data.manifest import Split
from paradise.data.prepare import prepared
from paradise.kernels import embed, fold
from paradise.runs import read_run, trained_model

FOUR_BRANCHES = tuple(f"{kind}resnet{depth}" for depth in (18, 50) for kind in ("pd_a_", "pd_b_"))


class Networks:
    """The first seed's networks of a study on `device`."""

    def __init__(self, preset: dict, results: Path, threads: int, device: torch.device):
        self.preset, self.results, self.threads, self.device = preset, results, threads, device
        self.rows = presets.rows(preset)
        self.manifest = prepared(preset["data"])
        self.used: dict[str, str] = {}  # the weights' hashes by run, for the record
        torch.set_num_threads(threads)

    def trained(self, row: str) -> nn.Module:
        """The network of `row`, in eval mode. Raises UserError where it has not been trained."""
        place = f"{row}/seed{self.preset['seeds'][0]}"
        folder = self.results / place
        self.used[place] = read_run(folder)["files"]["weights.safetensors"]
        return trained_model(folder).to(self.device, memory_format=torch.channels_last)

    def images(self, split: Split | None = None):
        """Batches of images and labels, without augmentation: of the validation set, or of `split`."""
        data, recipe = self.preset["data"], self.preset["training"]
        batch = recipe.get("device_batch_size", recipe["batch_size"])
        of = split or self.manifest.val
        return loader(data["loader"]).EvaluationLoader(of, data, batch, self.threads, self.device)

    def classes(self) -> list[str]:
        """The names of the classes, which are their folders'."""
        names = {
            label: Path(path).parent.name for path, label in zip(self.manifest.val.paths, self.manifest.val.labels)
        }
        return [names.get(label, str(label)) for label in range(self.manifest.num_classes)]

    @torch.no_grad()
    def hits(self, model: nn.Module) -> Tensor:
        """Whether `model` is right, for each validation image [N]."""
        return torch.cat([model(x).argmax(1) == labels for x, labels in self.images()]).cpu()


def blocks(model: nn.Module) -> dict[str, PDABlock]:
    """The blocks of a network in training form, by the names of their places."""
    return {name: module for name, module in model.named_modules() if isinstance(module, PDABlock)}


def some(split: Split, count: int) -> Split:
    """At most `count` images of `split`, evenly from all of it, so of all classes."""
    count = min(count, len(split))
    chosen = [i * len(split) // count for i in range(count)]
    return Split(split.folder, *([of[i] for i in chosen] for of in (split.paths, split.labels, split.hashes)))


@torch.no_grad()
def branch_kernels(block: PDABlock) -> list[Tensor]:
    """Each branch as a dense 3×3 kernel [C_out, C_in, 3, 3] with its BatchNorm folded in, float64."""
    kernels = [0.0] * len(block.branch_names)
    for part, owner in zip(block.parts(), block.owners()):
        kernels[owner] = kernels[owner] + embed(fold(part.conv, part.bn)[0], part.conv.groups)
    return kernels
