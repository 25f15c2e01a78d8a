"""Grad-CAM (Selvaraju et al., 2017) of the rows of one depth on the same images.

The map of a stage: its channels weighted by their mean gradient of the true class's logit, what is negative left out.
Of the deepest stage whose map is at least `SMALLEST` pixels wide: on small images the last stages have one or two.
"""

import base64
import io
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paradise.study.evidence.networks import Networks, evenly_chosen
from paradise.study.evidence.rows import rows_of_18_layers
from paradise.study.preset import Data

SMALLEST, SHOWN, COMPARED = 4, 8, 200
STAGES = ("layer4", "layer3", "layer2", "layer1")


def measure(networks: Networks) -> dict[str, Any]:
    """For each row its stage and figures; and in "arrays" the images shown and each row's maps (see `pack`)."""
    rows = rows_of_18_layers(networks.preset)
    split = evenly_chosen(networks.manifest.val, COMPARED)
    batches = list(networks.images(split))
    images, labels = (torch.cat(parts) for parts in zip(*batches))
    chosen = _one_a_class(labels)
    maps: dict[str, Tensor] = {}
    record: dict[str, dict[str, Any]] = {}
    for row in rows:
        model = networks.trained(row)
        stage = deepest_stage(model, images[:1])
        maps[row.id] = torch.cat([cam(model, stage, x, y) for x, y in batches])
        predicted = torch.cat([model(x).argmax(1) for x, _ in batches]).detach()
        record[row.id] = {
            "stage": stage,
            "predicted": predicted[chosen].tolist(),
            "share_above_half": float((maps[row.id] > 0.5).double().mean()),
        }
    for row in rows:
        record[row.id]["likeness_to_plain"] = _likeness(maps[row.id], maps[rows[0].id])
    arrays = {name: of_row[chosen].numpy().astype(np.float16) for name, of_row in maps.items()}
    return {
        "rows": record,
        "labels": labels[chosen].tolist(),
        "classes": networks.classes(),
        "images": len(split),
        "arrays": pack(arrays | {"images": _pixels(images[chosen], networks.preset.data)}),
    }


def pack(arrays: dict[str, np.ndarray]) -> str:
    """Arrays as text: NumPy's compressed format in base64. Images uint8 [N, S, S, 3], maps [N, s, s], largest 1."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return base64.b64encode(buffer.getvalue()).decode()


def cam(model: nn.Module, stage: str, x: Tensor, labels: Tensor) -> Tensor:
    """Maps [B, s, s] of images x for the classes `labels`, the largest of each 1, on the processor."""
    outputs: list[Tensor] = []
    hook = model.get_submodule(stage).register_forward_hook(lambda module, inputs, output: outputs.append(output))
    with torch.enable_grad():
        logits = model(x)
        (gradient,) = torch.autograd.grad(logits.gather(1, labels[:, None]).sum(), outputs[0])
    hook.remove()
    weights = gradient.mean((2, 3), keepdim=True)
    maps = F.relu((weights * outputs[0]).sum(1)).detach()
    return (maps / maps.amax((1, 2), keepdim=True).clamp(min=1e-12)).cpu()


def deepest_stage(model: nn.Module, x: Tensor) -> str:
    """The deepest stage whose map of images x is wide enough."""
    sizes: dict[str, int] = {}

    def note_size(stage: str, module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        sizes[stage] = output.shape[-1]

    hooks = [model.get_submodule(stage).register_forward_hook(partial(note_size, stage)) for stage in STAGES]
    with torch.no_grad():
        model(x)
    for hook in hooks:
        hook.remove()
    return next((stage for stage in STAGES if sizes[stage] >= SMALLEST), STAGES[-1])


def _likeness(maps: Tensor, plain: Tensor) -> float:
    """Mean over images of the correlation of the maps with the plain network's."""
    pairs = [torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1] for a, b in zip(maps, plain)]
    return float(torch.stack(pairs).nanmean())


def _one_a_class(labels: Tensor) -> list[int]:
    firsts = [int((labels == label).nonzero()[0]) for label in sorted(set(labels.tolist()))]
    return firsts[:SHOWN]


def _pixels(images: Tensor, data: Data) -> np.ndarray:
    """Normalised images as pixels again."""
    mean, std = (torch.tensor(values, device=images.device)[:, None, None] for values in (data.mean, data.std))
    pixels: np.ndarray = (255 * (images * std + mean)).round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()
    return pixels
