"""Those of mmcv's compiled operators that RetinaNet and Cascade R-CNN call, in PyTorch: detection without a compiler.

`pip install --no-deps onedl-mmcv` compiles nothing, since its build does not see torch, and `import mmcv.ops` then
fails for want of `mmcv._ext`. `python -m paradise.mmcv_operators` puts a file of that name into mmcv's folder, which
takes the operators from here. A file, because mmdetection's `tools/test.py`, a spawned worker of a data loader and a
script that begins with `import mmdet.apis` need the operators before they read a configuration, if they read one: what
that imports comes too late. A hook at the start of every Python process would concern all who never use mmdetection.
Python takes a compiled extension before a file of the same name: mmcv's own operators are used wherever they are.

The functions are called as mmcv calls the compiled ones. Float16 and bfloat16 are computed in float32, autocast or not,
and rounded once; mmcv's own compute float16 in itself and refuse bfloat16. Sums aside, whose order differs, float32
is computed as there: the same comparisons keep the same boxes, the same samples lie inside.
"""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from paradise.errors import UserError
from paradise.files import replacing

COMPILE = (
    "compile mmcv: pip install 'setuptools<80' wheel ninja psutil packaging, then "
    "pip install --no-build-isolation --no-deps --no-cache-dir --force-reinstall onedl-mmcv"
)
LACKING = (
    "mmcv is here without its operators; run `python -m paradise.mmcv_operators`, which puts those of RetinaNet and "
    f"Cascade R-CNN beside it, or {COMPILE}"
)
EXTENSION = '''\
"""mmcv's operators in PyTorch. `python -m paradise.mmcv_operators` wrote this where mmcv was not compiled.

Python takes a compiled mmcv/_ext before this file. To be rid of it, delete it.
"""

from paradise.mmcv_operators import (
    get_compiler_version,
    get_compiling_cuda_version,
    nms,
    roi_align_backward,
    roi_align_forward,
    sigmoid_focal_loss_backward,
    sigmoid_focal_loss_forward,
)
from paradise.mmcv_operators import missing as __getattr__
'''
# What is computed at a time: pairs of boxes, and numbers of the windows of the maps that RoIs lie in.
PAIRS = 2**20
BLOCK = 256
NUMBERS = 2**20


@torch.no_grad()
def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Non-maximum suppression: of boxes that overlap by more than a threshold, the one of the highest score is kept.

    Args:
        boxes: [N, 4], in pixels: left, top, right, bottom.
        scores: [N].
        iou_threshold: The intersection over the union above which a box is suppressed.
        offset: 1 where right and bottom are the last pixels of a box, else 0.

    Returns:
        [kept], int64: the boxes that are kept, from the highest score to the lowest.
    """
    if not len(boxes):
        return torch.empty(0, dtype=torch.int64, device=boxes.device)
    # As mmcv sorts: what comes first of equal scores must be what comes first there.
    rest = scores.sort(0, descending=True).indices
    boxes = boxes.to(torch.promote_types(boxes.dtype, torch.float32))
    kept = []
    while len(rest):
        size = min(BLOCK, PAIRS // len(rest) + 1)
        block, rest = rest[:size], rest[size:]
        block = block[_unsuppressed(_overlap(boxes[block], boxes[block], iou_threshold, offset))]
        kept.append(block)
        rest = rest[~_overlap(boxes[block], boxes[rest], iou_threshold, offset).any(0)]
    return torch.cat(kept)


def _overlap(a: Tensor, b: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Which boxes of `a` and `b` overlap by more than the threshold: [len(a), len(b)], bool."""
    left, top, right, bottom = a.T[:, :, None]
    area = (right - left + offset) * (bottom - top + offset)
    others = (b[:, 2] - b[:, 0] + offset) * (b[:, 3] - b[:, 1] + offset)
    width = (torch.minimum(right, b[:, 2]).sub_(torch.maximum(left, b[:, 0]))).add_(offset).clamp_(min=0)
    height = (torch.minimum(bottom, b[:, 3]).sub_(torch.maximum(top, b[:, 1]))).add_(offset).clamp_(min=0)
    common = width.mul_(height)
    return common / (area + others).sub_(common) > iou_threshold


def _unsuppressed(overlap: Tensor) -> Tensor:
    """Which of N boxes in the order of their scores no kept one before suppresses.

    Whether a box is kept depends on those before it alone: once the first n are right, the next step makes n + 1 right,
    and what a step leaves as it was is right altogether. Few steps do, where few boxes overlap in a chain.

    Args:
        overlap: [N, N], bool.
    """
    suppresses = overlap.triu(1)
    keep = ~suppresses.any(0)
    while not torch.equal(keep, keep := ~(suppresses & keep[:, None]).any(0)):
        pass
    return keep


@torch.no_grad()
def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """RoIAlign (He et al., 2017): the mean of bilinear samples in each bin of each region of interest.

    The samples of a region form a grid, and a bilinear weight is a product of one for each direction, so that the bins
    of a region are `rows @ window @ columns.T`, where `window` is the part of the map that it lies in.

    Args:
        input: [B, C, H, W], the maps.
        rois: [R, 5]: the number of a map; left, top, right, bottom.
        output: [R, C, aligned_height, aligned_width], which is overwritten.
        argmax_y: Of the maximum alone, as `argmax_x` is.
        argmax_x: See there.
        aligned_height: Bins of a region from top to bottom.
        aligned_width: Bins from left to right.
        spatial_scale: Cells of a map for one unit of `rois`.
        sampling_ratio: Samples of a bin in each direction; 0 for as many as it has cells, rounded up.
        pool_mode: 1, the mean.
        aligned: Whether the middle of the first cell is at 0.5; else it is at 0, and a region has one cell or more.

    Raises:
        NotImplementedError: `pool_mode` is 0, the maximum.
        RuntimeError: A region lies in none of the maps, is no number or, with `aligned`, has a negative size.
    """
    bins = (aligned_height, aligned_width)
    regions = Regions(rois, input, bins, spatial_scale, sampling_ratio, pool_mode, aligned)
    if not len(rois):
        return
    channels = input.shape[1]
    cells = input.permute(0, 2, 3, 1).reshape(-1, channels).to(regions.dtype)
    with torch.autocast(input.device.type, enabled=False):
        for window in regions.windows(channels):
            values = cells[window.cells.flatten()].view(*window.cells.shape[:2], -1)
            binned = (window.rows @ values).unflatten(2, (-1, channels))
            output[window.rois] = (window.columns[:, None] @ binned).permute(0, 3, 1, 2).to(output.dtype)


@torch.no_grad()
def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """The gradient of `roi_align_forward` by its `input`.

    Args:
        grad_output: [R, C, aligned_height, aligned_width].
        rois: See `roi_align_forward`, as for all that follow but `grad_input`.
        argmax_y: See there.
        argmax_x: See there.
        grad_input: [B, C, H, W]; the gradient is added to it.
        aligned_height: See there.
        aligned_width: See there.
        spatial_scale: See there.
        sampling_ratio: See there.
        pool_mode: See there.
        aligned: See there.

    Raises:
        NotImplementedError: As there.
        RuntimeError: As there.
    """
    bins = (aligned_height, aligned_width)
    regions = Regions(rois, grad_input, bins, spatial_scale, sampling_ratio, pool_mode, aligned)
    if not len(rois):
        return
    images, channels, height, width = grad_input.shape
    cells = torch.zeros(images * height * width, channels, dtype=regions.dtype, device=grad_input.device)
    with torch.autocast(grad_input.device.type, enabled=False):
        for window in regions.windows(channels):
            binned = grad_output[window.rois].to(regions.dtype).permute(0, 2, 3, 1)
            values = window.rows.mT @ (window.columns.mT[:, None] @ binned).flatten(2)
            cells.index_add_(0, window.cells.flatten(), values.view(-1, channels))
    grad_input += cells.view(images, height, width, channels).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Window:
    """The parts of the maps, h × w cells, that P of the regions lie in.

    Attributes:
        rois: [P], int64, which regions.
        cells: [P, h, w], int64, the numbers of the cells among those of all maps. Where a region needs fewer, its last
            row and column are there again, and worth nothing.
        rows: [P, bins, h], what each row is worth in each bin.
        columns: [P, bins, w], the same of the columns.
    """

    rois: Tensor
    cells: Tensor
    rows: Tensor
    columns: Tensor


class Regions:
    """R regions of interest on maps.

    Args:
        rois: [R, 5], as for `roi_align_forward`.
        maps: [B, C, H, W].
        bins: In each region, from top to bottom and from left to right.
        spatial_scale: See `roi_align_forward`, as for all that follow.
        sampling_ratio: See there.
        pool_mode: See there.
        aligned: See there.

    Attributes:
        dtype: The type to compute in.
    """

    def __init__(
        self,
        rois: Tensor,
        maps: Tensor,
        bins: tuple[int, int],
        spatial_scale: float,
        sampling_ratio: int,
        pool_mode: int,
        aligned: bool,
    ):
        if pool_mode != 1:
            raise NotImplementedError(f"RoIAlign's pool_mode 'max' is not in PyTorch here; {COMPILE}")
        self.dtype = torch.promote_types(torch.promote_types(maps.dtype, rois.dtype), torch.float32)
        images, _, self.height, self.width = maps.shape
        self.map = rois[:, 0].long()
        scale = torch.tensor(spatial_scale, dtype=torch.float32)  # as mmcv takes it, also for float64
        edges = rois[:, 1:].to(self.dtype) * scale - (0.5 if aligned else 0)
        left, top, right, bottom = edges.unbind(1)
        self.rows = Axis(top, bottom, bins[0], self.height, sampling_ratio, aligned)
        self.columns = Axis(left, right, bins[1], self.width, sampling_ratio, aligned)
        nowhere = ~rois.isfinite().all(1) | (self.map < 0) | (self.map >= images)
        negative = (self.rows.size < 0) | (self.columns.size < 0)
        for wrong, what in ((nowhere, f"lies in none of {images} maps"), (negative, "has a negative size")):
            if wrong.any():
                first = int(wrong.nonzero()[0])
                raise RuntimeError(f"RoIAlign's region {first} of {len(rois)}, {rois[first].tolist()}, {what}")

    def windows(self, channels: int) -> Iterator[Window]:
        """The windows of all regions, so many at a time that they have about `NUMBERS` numbers in all `channels`."""
        for rois, height, width in self._alike(channels):
            rows, columns = self.rows.cells(rois, height), self.columns.cells(rois, width)
            cells = (self.map[rois, None, None] * self.height + rows[:, :, None]) * self.width + columns[:, None]
            yield Window(rois, cells, self.rows.weights(rois, height), self.columns.weights(rois, width))

    def _alike(self, channels: int) -> Iterator[tuple[Tensor, int, int]]:
        """Regions of like size, and the height and width of a window that each of them fits into, until all were."""
        rows, columns = self.rows, self.columns
        height, width = rows.last - rows.first + 1, columns.last - columns.first + 1
        order = (height * width).argsort()
        needs = torch.stack((height, width, rows.samples.long(), columns.samples.long()), 1)[order].tolist()
        begin, most = 0, needs[0]
        for end, need in enumerate(needs):
            more = list(map(max, most, need))
            high, wide, down, across = more
            numbers = max(high, rows.bins) * max(wide, columns.bins) * channels
            numbers += rows.bins * down * high + columns.bins * across * wide
            if begin < end and (end + 1 - begin) * numbers > NUMBERS:
                yield order[begin:end], most[0], most[1]
                begin, more = end, need
            most = more
        yield order[begin:], most[0], most[1]


class Axis:
    """R regions in one direction of their maps, in cells.

    Args:
        start: [R], where they begin.
        end: [R].
        bins: Of a region.
        length: Of a map.
        sampling_ratio: See `roi_align_forward`, as for `aligned`.
        aligned: See there.

    Attributes:
        size: [R], from start to end.
        samples: [R], how many a bin has.
        first: [R], int64, the first cell that is worth something.
        last: [R], int64, the last.
    """

    def __init__(self, start: Tensor, end: Tensor, bins: int, length: int, sampling_ratio: int, aligned: bool):
        self.start, self.bins, self.length = start, bins, length
        self.size = end - start if aligned else (end - start).clamp(min=1)
        # By a tensor: on a GPU a number's inverse would be multiplied with, and 21 / 7 be above 3.
        self.bin_size = self.size / self.size.new_tensor(bins)
        cells = self.bin_size.float().ceil().to(start.dtype)
        self.samples = torch.full_like(cells, sampling_ratio) if sampling_ratio > 0 else cells
        self.first = start.clamp(0, length - 1).floor().long()
        self.last = ((start + self.size).clamp(0, length - 1).floor().long() + 1).clamp(max=length - 1)

    def cells(self, rois: Tensor, window: int) -> Tensor:
        """The cells of these regions' windows, [P, window], int64."""
        first, last = self.first[rois, None], self.last[rois, None]
        return torch.minimum(first + torch.arange(window, device=first.device), last)

    def weights(self, rois: Tensor, window: int) -> Tensor:
        """What the cells of these regions' windows are worth in each bin, [P, bins, window].

        A sample is worth 1 less its distance to a cell. One that is more than a cell outside of the map counts as zero.
        """
        start, bin_size, samples = (of[rois, None, None] for of in (self.start, self.bin_size, self.samples))
        counted = samples.clamp(min=1)
        bins = torch.arange(self.bins, dtype=start.dtype, device=start.device)[:, None]
        sample = torch.arange(int(counted.max()), dtype=start.dtype, device=start.device)
        # The order of mmcv's own sum: what it rounds to the inside of the map is inside here.
        at = start + bins * bin_size + (sample + 0.5) * bin_size / counted
        inside = (sample < samples) & (at >= -1) & (at <= self.length)
        cells = self.first[rois, None] + torch.arange(window, device=start.device)
        distance = (at.clamp(0, self.length - 1)[..., None] - cells[:, None, None]).abs_()
        worth = distance.neg_().add_(1).clamp_(min=0).mul_(inside[..., None])
        return worth.sum(2) / counted


@torch.no_grad()
def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """The focal loss (Lin et al., 2017) of each class, which mmdetection leaves to mmcv on a GPU alone.

    Args:
        input: [N, C], logits.
        target: [N], int64, classes; C for none of them.
        weight: Empty.
        output: [N, C], which is overwritten.
        gamma: The exponent by which easy examples count less.
        alpha: The share of the class itself; the other classes have 1 less it.

    Raises:
        NotImplementedError: The classes have weights.
    """
    p, q, hit, log_p, log_q = _focal(input, target, weight)
    output.copy_(torch.where(hit, -alpha * q**gamma * log_p, (alpha - 1) * p**gamma * log_q))


@torch.no_grad()
def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """The derivative of `sigmoid_focal_loss_forward` by its `input`.

    Args:
        input: See there, as for all that follow but `grad_input`.
        target: See there.
        weight: See there.
        grad_input: [N, C], which is overwritten.
        gamma: See there.
        alpha: See there.

    Raises:
        NotImplementedError: As there.
    """
    p, q, hit, log_p, log_q = _focal(input, target, weight)
    of_hit = -alpha * q**gamma * (q - gamma * p * log_p)
    grad_input.copy_(torch.where(hit, of_hit, (alpha - 1) * p**gamma * (gamma * q * log_q - p)))


def _focal(input: Tensor, target: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Of each class its probability p, q = 1 - p, whether it is the target, log(p) and log(q)."""
    if weight.numel():
        raise NotImplementedError(f"mmcv's focal loss with weights of classes is not in PyTorch here; {COMPILE}")
    x = input.to(torch.promote_types(input.dtype, torch.float32))
    hit = target[:, None] == torch.arange(input.shape[1], device=input.device)
    return x.sigmoid(), (-x).sigmoid(), hit, logsigmoid(x), logsigmoid(-x)


def get_compiler_version() -> str:
    """What mmcv says of itself in a log, as it does where it cannot tell."""
    return "n/a"


def get_compiling_cuda_version() -> str:
    """The same of CUDA."""
    return "n/a"


def missing(name: str) -> Callable[..., NoReturn]:
    """Another operator of mmcv's, which is looked for when mmcv is imported, and is missed when it is called.

    Raises:
        AttributeError: The name is one of Python's own.
    """
    if name.startswith("__"):
        raise AttributeError(name)

    def operator(*args: Any, **settings: Any) -> NoReturn:
        raise NotImplementedError(f"mmcv's operator '{name}' is not compiled here; {COMPILE}")

    return operator


def install() -> Path | None:
    """Puts the file by which `mmcv.ops` finds these operators into mmcv's folder.

    Returns:
        The file; None where mmcv has compiled operators, which are left alone.

    Raises:
        UserError: There is no mmcv, its folder cannot be written to, or there is such a file of another's.
    """
    mmcv = importlib.util.find_spec("mmcv")
    if mmcv is None or mmcv.origin is None:
        raise UserError("no mmcv is installed here; pip install --no-deps onedl-mmcv")
    path = Path(mmcv.origin).with_name("_ext.py")
    if any(path.with_name(f"_ext{suffix}").exists() for suffix in EXTENSION_SUFFIXES):
        return None
    if path.is_file() and "paradise.mmcv_operators" not in path.read_text():
        raise UserError(f"{path} is not ParaDise's; delete it if nothing needs it")
    with replacing(path) as temporary:
        temporary.write_text(EXTENSION)
    return path


def name_operators() -> str:
    """Whose operators mmcv computes with here: "compiled" or "ParaDise's"."""
    extension = importlib.import_module("mmcv._ext")
    return "ParaDise's" if str(extension.__file__).endswith(".py") else "compiled"


def main() -> None:
    """Says what `install` did."""
    try:
        path = install()
    except UserError as error:
        sys.exit(f"error: {error}")
    print("mmcv has operators in PyTorch now" if path else "mmcv has compiled operators: nothing to do")


if __name__ == "__main__":
    main()
