"""mmcv's operators against loops over boxes and samples, and as mmcv finds them where it was not compiled."""

import importlib
import itertools
import math
import sys
import textwrap
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils._python_dispatch import TorchDispatchMode
from uncompiled import copy_mmcv, run_with

from paradise import mmcv_operators
from paradise.errors import UserError
from paradise.mmcv_operators import (
    COMPILE,
    LACKING,
    install,
    missing,
    nms,
    roi_align_backward,
    roi_align_forward,
    sigmoid_focal_loss_backward,
    sigmoid_focal_loss_forward,
)

HALVES = [torch.float16, torch.bfloat16]


def nms_by_loop(boxes, scores, threshold, offset):
    """One box after the other, in Python's numbers where float32 is exact."""
    order = scores.sort(0, descending=True).indices.tolist()
    kept = []
    for j in order:
        for i in kept:
            a, b = boxes[i].tolist(), boxes[j].tolist()
            width = max(0, min(a[2], b[2]) - max(a[0], b[0]) + offset)
            height = max(0, min(a[3], b[3]) - max(a[1], b[1]) + offset)
            areas = [(box[2] - box[0] + offset) * (box[3] - box[1] + offset) for box in (a, b)]
            union = sum(areas) - width * height
            if union != 0 and width * height / union > threshold:
                break
        else:
            kept.append(j)
    return torch.tensor(kept, dtype=torch.int64)


def some_boxes(count, spread, seed=0):
    """On whole pixels and of few scores: many overlap by just the threshold, or are as good as another."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.randint(spread, (count, 2), generator=generator)
    size = torch.randint(1, 16, (count, 2), generator=generator)
    scores = torch.randint(1 + count // 3, (count,), generator=generator)
    return torch.cat((corner, corner + size), 1).float(), scores.float()


class Largest(TorchDispatchMode):
    """Remembers how many numbers the largest new tensor had."""

    numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(tensor, torch.Tensor) and not tensor._is_view():
                self.numbers = max(self.numbers, tensor.numel())
        return result


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(0, 40),
    spread=st.integers(1, 60),
    threshold=st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]),
    offset=st.sampled_from([0, 1]),
    block=st.sampled_from([1, 3, 256]),
    seed=st.integers(0, 10**6),
)
def test_the_boxes_that_a_loop_keeps_are_kept_in_its_order(count, spread, threshold, offset, block, seed):
    boxes, scores = some_boxes(count, spread, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mmcv_operators, "BLOCK", block)
        kept = nms(boxes, scores, iou_threshold=threshold, offset=offset)
    assert torch.equal(kept, nms_by_loop(boxes, scores, threshold, offset))


@pytest.mark.parametrize("spread", [30, 1000])
def test_many_boxes_need_little_memory(spread, monkeypatch):
    """As little for thousands, by a bound that 2000 boxes come to."""
    monkeypatch.setattr(mmcv_operators, "PAIRS", 2**16)
    boxes, scores = some_boxes(2000, spread)
    with Largest() as largest:
        kept = nms(boxes, scores, 0.5, 0)
    assert largest.numbers <= 2**17
    assert len(kept) == len(kept.unique())
    # No kept box overlaps one before it, and every other box does.
    place = torch.empty(2000, dtype=torch.int64)
    place[scores.sort(0, descending=True).indices] = torch.arange(2000)
    suppressed = mmcv_operators._overlap(boxes[kept], boxes, 0.5, 0) & (place[kept][:, None] < place)
    assert torch.equal(~suppressed.any(0), torch.zeros(2000, dtype=torch.bool).index_fill(0, kept, True))


def test_a_chain_of_boxes_that_each_overlap_the_next():
    left = torch.arange(300.0)
    boxes = torch.stack((left, left * 0, left + 3, left * 0 + 1), 1)
    assert nms(boxes, 300 - left, 0.4, 0).tolist() == list(range(0, 300, 2))


@pytest.mark.parametrize("dtype", [*HALVES, torch.float64])
def test_boxes_of_other_types(dtype):
    boxes, scores = some_boxes(200, 40)
    with torch.autocast("cpu", torch.bfloat16):
        kept = nms(boxes.to(dtype), scores.to(dtype), 0.5, 0)
    assert torch.equal(boxes[kept], boxes[nms(boxes, scores.to(dtype).float(), 0.5, 0)])


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_a_box_that_is_no_number_suppresses_none_and_is_kept(broken):
    boxes, scores = some_boxes(30, 10)
    boxes[7, 2] = broken
    others = torch.tensor([i for i in range(30) if i != 7])
    scores = torch.arange(30.0)
    kept = nms(boxes, scores, 0.5, 0)
    assert kept[kept != 7].tolist() == others[nms(boxes[others], scores[others], 0.5, 0)].tolist()
    assert 7 in kept


def test_no_boxes():
    kept = nms(torch.zeros(0, 4), torch.zeros(0), 0.5, 0)
    assert kept.shape == (0,) and kept.dtype == torch.int64


def roi_align_by_loop(maps, rois, bins, spatial_scale, sampling_ratio, aligned):
    """Sample by sample, as mmcv's own does."""
    shift = 0.5 if aligned else 0.0
    images, channels, height, width = maps.shape
    worth = []  # of every cell of every map, in every bin
    for number, *corners in rois.tolist():
        left, top, right, bottom = (corner * spatial_scale - shift for corner in corners)
        size = [bottom - top, right - left] if aligned else [max(bottom - top, 1.0), max(right - left, 1.0)]
        steps = [side / count for side, count in zip(size, bins)]
        samples = [sampling_ratio or math.ceil(step) for step in steps]
        for p, q in itertools.product(*map(range, bins)):
            cells = [0.0] * (images * height * width)
            for i, j in itertools.product(*map(range, samples)):
                y = top + p * steps[0] + (i + 0.5) * steps[0] / samples[0]
                x = left + q * steps[1] + (j + 0.5) * steps[1] / samples[1]
                if -1 <= y <= height and -1 <= x <= width:
                    for row, column, weight in bilinear(y, x, height, width):
                        cells[(int(number) * height + row) * width + column] += weight / (samples[0] * samples[1])
            worth.append(cells)
    values = torch.tensor(worth, dtype=maps.dtype) @ maps.permute(0, 2, 3, 1).reshape(-1, channels)
    return values.view(len(rois), *bins, channels).permute(0, 3, 1, 2)


def bilinear(y, x, height, width):
    """The four cells around a point, and what they are worth to it."""
    y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
    up, left = int(y), int(x)
    down, right = min(up + 1, height - 1), min(left + 1, width - 1)
    a, b = y - up, x - left
    yield up, left, (1 - a) * (1 - b)
    yield up, right, (1 - a) * b
    yield down, left, a * (1 - b)
    yield down, right, a * b


# Left, top, right, bottom on maps of 7 × 9 cells of 4 pixels each.
REGIONS = {
    "inside": (3.3, 5.1, 20.7, 17.9),
    "on whole cells": (4, 8, 32, 24),
    "all of the map": (0, 0, 36, 28),
    "one cell": (9.0, 9.0, 10.5, 10.5),
    "a point": (12.2, 6.4, 12.2, 6.4),
    "a line": (2.0, 6.4, 30.0, 6.4),
    "over the left edge": (-17, 3, 11, 19),
    "over the lower right corner": (25, 17, 55, 47),
    "larger than the map": (-40, -50, 90, 70),
    "outside": (60, 70, 80, 99),
    "just outside": (-30, -30, -4.5, -4.5),
    "wide": (1, 10, 35, 12),
}
NEGATIVE = {"turned over": (20, 16, 8, 4), "turned over outside": (-20, 16, -48, 50)}
FORMS = [
    (bins, ratio, aligned)
    for bins, ratio, aligned in itertools.product(((7, 7), (2, 3), (1, 1)), (0, 1, 2), (True, False))
]


def regions(kinds, dtype=torch.float64):
    """Each of them on two of three maps."""
    corners = torch.tensor(list(kinds.values()), dtype=dtype)
    numbers = torch.arange(2 * len(corners)) % 3
    return torch.cat((numbers[:, None].to(dtype), corners.repeat(2, 1)), 1)


def align(maps, rois, bins, ratio, aligned, scale=0.25):
    """The bins, and the gradient of their sum weighted with what they are."""
    output, nothing = maps.new_full((len(rois), maps.shape[1], *bins), math.nan), maps.new_zeros(0)
    form = {
        "aligned_height": bins[0],
        "aligned_width": bins[1],
        "spatial_scale": scale,
        "sampling_ratio": ratio,
        "pool_mode": 1,
        "aligned": aligned,
    }
    roi_align_forward(maps, rois, output, nothing, nothing, **form)
    gradient = torch.zeros_like(maps)
    roi_align_backward(output.cos(), rois, nothing, nothing, gradient, **form)
    return output, gradient


@pytest.mark.parametrize(("bins", "ratio", "aligned"), FORMS)
def test_regions_are_the_means_of_their_samples(bins, ratio, aligned):
    """Value and gradient, in float64 and in float32, whatever is computed at a time."""
    maps = torch.randn(3, 2, 7, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    rois = regions(REGIONS if aligned else REGIONS | NEGATIVE)
    expected = roi_align_by_loop(maps, rois, bins, 0.25, ratio, aligned)
    (gradient,) = torch.autograd.grad(expected.sin().sum(), maps)
    for numbers, dtype, tolerance in (
        (2**20, torch.float64, 1e-12),
        (1, torch.float64, 1e-12),
        (500, torch.float32, 1e-5),
    ):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(mmcv_operators, "NUMBERS", numbers)
            found = align(maps.detach().to(dtype), rois.to(dtype), bins, ratio, aligned)
        for ours, theirs in zip(found, (expected, gradient)):
            torch.testing.assert_close(ours, theirs.detach().to(dtype), rtol=tolerance, atol=tolerance)


def test_samples_are_counted_as_mmcv_counts_them():
    """What its compiled operator gives in float32 where rounding lifts a bin's cells above 1: two samples, not one."""
    rois = torch.tensor(
        [[0, 4.9, 4.4, 60.9, 32.4], [0, 23.2, 4.4, 51.2, 32.4], [0, 1.6, 7.9, 29.6, 35.9], [0, 20.8, 4.4, 76.8, 32.4]]
    )
    maps = torch.arange(400.0).square().view(1, 1, 20, 20)
    output, _ = align(maps, rois, (7, 7), 0, True)
    compiled = [2187.200439453125, 2477.6005859375, 3808.80078125, 2566.544921875]
    assert output[:, 0, 1, 1].tolist() == pytest.approx(compiled, rel=1e-6)


def test_the_edge_is_where_mmcv_has_it():
    """What its compiled operator gives in float32 where a sample lies on the edge, but for rounding: it is outside."""
    rois = torch.tensor([[0, 4.0, 20, 160, 48], [0, 8.8, 20, 155.2, 48], [0, 17.5, 20, 198.1, 48]])
    output, _ = align(torch.arange(1.0, 401).view(1, 1, 20, 20), rois, (7, 7), 1, True)
    compiled = [
        [164.28570556640625, 169.85714721679688, 175.42857360839844, 0, 0, 0, 0],
        [165.3142852783203, 170.5428466796875, 175.77142333984375, 0, 0, 0, 0],
        [168.10000610351562, 174.5500030517578, 0, 0, 0, 0, 0],
    ]
    torch.testing.assert_close(output[:, 0, 3], torch.tensor(compiled), rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", HALVES)
def test_halves_are_computed_in_float32_also_under_autocast(dtype):
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(3, 4, 7, 9, generator=generator).to(dtype)
    rois = regions(REGIONS, dtype)
    with torch.autocast("cpu", torch.bfloat16):
        output, gradient = align(maps, rois, (7, 7), 0, True)
    assert output.dtype == gradient.dtype == dtype
    expected, _ = align(maps.float(), rois.float(), (7, 7), 0, True)
    assert torch.equal(output, expected.to(dtype))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(align(maps.float(), rois.float(), (7, 7), 0, True)[0], expected)


def test_memory_is_bounded(monkeypatch):
    """Of hundreds of regions on a map: no tensor is larger than map, results and the numbers of one part."""
    monkeypatch.setattr(mmcv_operators, "NUMBERS", 2**15)
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(300, 2, generator=generator) * 200
    sizes = torch.rand(300, 2, generator=generator) ** 4 * 200
    rois = torch.cat((torch.zeros(300, 1), corners, corners + sizes), 1)
    with Largest() as largest:
        align(torch.zeros(1, 4, 50, 50), rois, (4, 4), 0, True)
    assert largest.numbers <= 2**15


def test_maps_may_lie_in_memory_as_they_like():
    maps, rois = torch.randn(3, 4, 7, 9), regions(REGIONS, torch.float32)
    output, gradient = align(maps, rois, (2, 3), 0, True)
    for other in (maps.to(memory_format=torch.channels_last), maps.repeat(1, 1, 1, 2)[..., :9]):
        for ours, theirs in zip(align(other, rois, (2, 3), 0, True), (output, gradient)):
            torch.testing.assert_close(ours, theirs)


def test_the_gradient_is_added():
    maps, rois = torch.randn(3, 4, 7, 9), regions(REGIONS, torch.float32)
    output, gradient = align(maps, rois, (2, 3), 0, True)
    twice = gradient.clone()
    nothing = maps.new_zeros(0)
    roi_align_backward(output.cos(), rois, nothing, nothing, twice, 2, 3, 0.25, 0, 1, True)
    torch.testing.assert_close(twice, 2 * gradient)


@pytest.mark.parametrize("images", [0, 2])
def test_no_regions(images):
    output, gradient = align(torch.zeros(images, 4, 7, 9), torch.zeros(0, 5), (7, 7), 0, True)
    assert output.shape == (0, 4, 7, 7)
    assert torch.equal(gradient, torch.zeros(images, 4, 7, 9))


def test_what_is_no_number_stays_in_the_regions_that_see_it():
    maps, rois = torch.randn(3, 4, 7, 9), regions(REGIONS, torch.float32)
    expected, _ = align(maps, rois, (7, 7), 0, True)
    maps[0, :, 3, 4] = math.nan
    output, _ = align(maps, rois, (7, 7), 0, True)
    untouched = (rois[:, 0] != 0) | (rois[:, 1] > 24) | (rois[:, 3] < 12) | (rois[:, 4] < 8)
    assert untouched.any() and not untouched.all()
    torch.testing.assert_close(output[untouched], expected[untouched])
    assert output[~untouched].isnan().any()


@pytest.mark.parametrize(
    ("region", "aligned", "said"),
    [
        ((-1, 0, 0, 4, 4), True, "lies in none of 3 maps"),
        ((3, 0, 0, 4, 4), False, "lies in none of 3 maps"),
        ((0, 0, math.nan, 4, 4), True, "lies in none of 3 maps"),
        ((0, 0, 0, math.inf, 4), False, "lies in none of 3 maps"),
        ((0, 5, 0, 4, 4), True, "has a negative size"),
        ((0, 0, 5, 4, 4), True, "has a negative size"),
    ],
)
@pytest.mark.parametrize("way", ["forward", "backward"])
def test_impossible_regions_are_refused(region, aligned, said, way):
    rois = torch.tensor([(0.0, 0, 0, 4, 4), region])
    maps, bins, nothing = torch.zeros(3, 2, 7, 9), torch.zeros(2, 2, 7, 7), torch.zeros(0)
    form = (7, 7, 0.25, 0, 1, aligned)
    with pytest.raises(RuntimeError, match=rf"^RoIAlign's region 1 of 2, \[.*\], {said}$"):
        if way == "forward":
            roi_align_forward(maps, rois, bins, nothing, nothing, *form)
        else:
            roi_align_backward(bins, rois, nothing, nothing, maps, *form)


def test_the_maximum_is_refused():
    for rois in (torch.zeros(1, 5), torch.zeros(0, 5)):
        maps, bins = torch.zeros(1, 2, 7, 9), torch.zeros(len(rois), 2, 7, 7)
        with pytest.raises(NotImplementedError) as raised:
            roi_align_forward(maps, rois, bins, bins, bins, 7, 7, 0.25, 0, 0, True)
        assert str(raised.value) == f"RoIAlign's pool_mode 'max' is not in PyTorch here; {COMPILE}"


@pytest.mark.parametrize("gamma", [2.0, 1.5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, *HALVES])
def test_the_focal_loss_is_its_definition(gamma, dtype):
    generator = torch.Generator().manual_seed(0)
    x = (4 * torch.randn(60, 5, generator=generator)).to(dtype)
    x[0] = torch.tensor([-120.0, 120, 0, 80, -80])
    target = torch.arange(60) % 6  # 5 is none of the classes
    exact = x.double().requires_grad_()
    hit = torch.nn.functional.one_hot(target, 6)[:, :5].double()
    p = exact.sigmoid()
    off, share = p * (1 - hit) + (1 - p) * hit, 0.25 * hit + 0.75 * (1 - hit)
    expected = share * off**gamma * binary_cross_entropy_with_logits(exact, hit, reduction="none")
    (gradient,) = torch.autograd.grad(expected.sum(), exact)
    loss, ours = torch.full_like(x, math.nan), torch.full_like(x, math.nan)
    sigmoid_focal_loss_forward(x, target, x.new_zeros(0), loss, gamma=gamma, alpha=0.25)
    sigmoid_focal_loss_backward(x, target, x.new_zeros(0), ours, gamma=gamma, alpha=0.25)
    tolerance = {torch.float32: 1e-5, torch.float64: 1e-9, torch.float16: 2e-3, torch.bfloat16: 2e-2}[dtype]
    for found, wanted in ((loss, expected), (ours, gradient)):
        torch.testing.assert_close(found.double(), wanted.detach(), rtol=tolerance, atol=tolerance / 100)


def test_weights_of_classes_are_refused():
    x = torch.zeros(2, 3)
    with pytest.raises(
        NotImplementedError, match=r"^mmcv's focal loss with weights of classes is not in PyTorch here; "
    ):
        sigmoid_focal_loss_forward(x, torch.zeros(2, dtype=torch.int64), torch.ones(3), x, 2.0, 0.25)


def test_another_operator_is_missed_when_it_is_called():
    operator = missing("deform_conv_forward")
    with pytest.raises(NotImplementedError) as raised:
        operator(1, a=2)
    assert str(raised.value) == f"mmcv's operator 'deform_conv_forward' is not compiled here; {COMPILE}"
    with pytest.raises(AttributeError):
        missing("__path__")


@pytest.fixture(scope="module")
def uncompiled(tmp_path_factory):
    """An mmcv that was not compiled, and what `python -m paradise.mmcv_operators` says where it is."""
    mmcv = copy_mmcv(tmp_path_factory.mktemp("uncompiled"))
    before = run_with(mmcv, "-c", "import paradise.mmdetection")
    assert before.returncode == 1
    assert before.stderr.splitlines()[-1] == f"paradise.errors.UserError: {LACKING}"
    for _ in range(2):
        done = run_with(mmcv, "-m", "paradise.mmcv_operators")
        assert (done.stdout, done.stderr) == ("mmcv has operators in PyTorch now\n", "")
    return mmcv


@pytest.mark.slow
def test_mmcv_finds_the_operators(uncompiled):
    """In a process that knows nothing of this project; its own functions, and those that are compiled alone."""
    script = textwrap.dedent("""
        import sys

        import torch
        from mmcv import ops
        from mmcv.utils import collect_env

        assert "paradise.mmdetection" not in sys.modules
        maps = torch.randn(1, 2, 8, 8, requires_grad=True)
        ops.RoIAlign(2)(maps, torch.tensor([[0.0, 1, 1, 5, 6]])).sum().backward()
        assert abs(float(maps.grad.sum()) - 8) < 1e-5
        boxes = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 5], [9, 9, 12, 12]])
        scores, classes = torch.tensor([0.5, 0.9, 0.1]), torch.tensor([0, 0, 1])
        _, kept = ops.batched_nms(boxes, scores, classes, {"type": "nms", "iou_threshold": 0.5})
        assert kept.tolist() == [1, 2]
        x = torch.randn(3, 2, requires_grad=True)
        ops.sigmoid_focal_loss(x, torch.tensor([0, 1, 2]), 2.0, 0.25, None, "mean").backward()
        assert x.grad.abs().sum() > 0
        assert collect_env()["MMCV Compiler"] == "n/a"
        try:
            ops.DeformConv2d(2, 2, 3, padding=1)(maps, torch.zeros(1, 18, 8, 8))
        except NotImplementedError as error:
            print(error)
    """)
    done = run_with(uncompiled, "-c", script)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"mmcv's operator 'deform_conv_forward' is not compiled here; {COMPILE}\n"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package called mmcv, first where Python looks."""
    folder = tmp_path / "mmcv"
    folder.mkdir()
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "mmcv"]:
        monkeypatch.delitem(sys.modules, name)
    return folder


@pytest.mark.parametrize("suffix", EXTENSION_SUFFIXES)
def test_a_compiled_mmcv_goes_first(suffix, package):
    path = install()
    assert path == package / "_ext.py" and find_spec("mmcv._ext").origin == str(path)
    compiled = package / f"_ext{suffix}"
    compiled.touch()
    assert install() is None
    importlib.invalidate_caches()
    assert find_spec("mmcv._ext").origin == str(compiled)


def test_anothers_file_is_left(package):
    (package / "_ext.py").write_text("nms = None\n")
    with pytest.raises(UserError, match=r"_ext\.py is not ParaDise's; delete it if nothing needs it$"):
        install()
    assert (package / "_ext.py").read_text() == "nms = None\n"


def test_without_mmcv(package, monkeypatch):
    (package / "__init__.py").unlink()
    package.rmdir()
    monkeypatch.setattr("sys.path", [str(package.parent)])
    with pytest.raises(UserError, match=r"^no mmcv is installed here; pip install --no-deps onedl-mmcv$"):
        install()


def test_a_folder_that_cannot_be_written_to(package, monkeypatch):
    (package / "_ext.py").mkdir()
    with pytest.raises(UserError, match=r"_ext\.py cannot be written: "):
        install()
