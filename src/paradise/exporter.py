"""A fused network as one file that runs without this package: ONNX, or a program of `torch.export`."""

import importlib.util
import io
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paradise.dynamic import DynamicConv2d
from paradise.errors import UserError
from paradise.files import replacing
from paradise.fusion import fuse, fuse_
from paradise.kernels import total
from paradise.models import create_model
from paradise.names import WIDTH
from paradise.structure import replace, slots
from paradise.weights import check, count_rows, fit, read_weights

FORMATS = (".onnx", ".pt2")
OPSETS = range(18, 24)  # what torch's exporter writes and a released onnxruntime reads
PACKAGES = ("onnx", "onnxscript", "onnxruntime")  # for .onnx
CHECKED = (1, 5)  # batch sizes
TOLERANCE = 1e-4  # of the largest logit
Convolve = Callable[[DynamicConv2d, Tensor, Tensor], Tensor]  # as `DynamicConv2d.convolve`


def load(name: str, weights: str | Path, branches: Iterable[str] | None = None) -> tuple[nn.Module, bool]:
    """The fused network of a model of the paper with trained weights.

    Args:
        name: One of `paradise.list_models()`.
        weights: A safetensors file of its trained or of its fused form.
        branches: Those of a `pd_a_` or `pd_b_` model, all four by default.

    Returns:
        The network in eval mode, and whether it was fused here.

    Raises:
        UserError: There is no such model, the file is missing or damaged, or the weights are another model's.
    """
    state = read_weights(weights)
    classes, width = count_rows(state, "fc.weight", 1000), count_rows(state, "conv1.weight", WIDTH)
    with torch.device("meta"):  # what the file claims takes no memory before it was checked
        trained = create_model(name, classes, branches, width)
        fused = fuse(trained)
    is_fused = state.keys() == fused.state_dict().keys()
    check(fused if is_fused else trained, state, weights)
    model = create_model(name, classes, branches, width)
    if is_fused:
        fuse_(model)
    fit(model, state, weights)
    return (model, False) if is_fused else (fuse_(model), True)


def check_options(output: str | Path, opset: int) -> None:
    """Refuses what `export` cannot write, before there is a network.

    Args:
        output: As `export` takes it.
        opset: As `export` takes it.

    Raises:
        UserError: The format or the opset is unknown, or a package for the format is not installed.
    """
    suffix = Path(output).suffix
    if suffix not in FORMATS:
        raise UserError(f"'{output}' should end in .onnx or .pt2 (a program of torch.export)")
    if opset not in OPSETS:
        raise UserError(f"opset {opset} is not supported; choose from {OPSETS[0]} to {OPSETS[-1]}")
    if suffix == ".onnx" and (missing := [name for name in PACKAGES if not importlib.util.find_spec(name)]):
        raise UserError(f"{', '.join(missing)} missing; run: pip install 'paradise-nn[export]'")


def export(model: nn.Module, output: str | Path, image_size: int = 224, opset: int = 20) -> dict[int, float]:
    """Writes the fused form of a network as one file, images [B, 3, image_size, image_size] → logits [B, classes].

    For any B; a PD-B keeps both its forms, one of them for B = 1. What was written is run at the batch sizes `CHECKED`
    and compared with the network before `output` appears.

    Args:
        model: The network, in its trained or fused form; it is left untouched.
        output: The file: `.onnx`, or `.pt2` for a program of `torch.export`.
        image_size: Height and width of the images, in pixels.
        opset: ONNX's version of operators, 18 to 23.

    Returns:
        Batch size → the largest difference of a logit of what was written, as a part of the largest logit.

    Raises:
        UserError: The format or the opset is unknown, a package for the format is not installed, the network cannot
            take images of that size or gives what is no number, or the outputs differ.
    """
    check_options(output, opset)
    model = fuse(model).cpu()
    write, open_ = (_write_onnx, open_onnx) if Path(output).suffix == ".onnx" else (_write_program, open_program)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's exporters, about themselves
        try:
            images = {batch: torch.rand(batch, 3, image_size, image_size) for batch in CHECKED}
            expected = {batch: model(batch_images) for batch, batch_images in images.items()}
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"the network cannot take images of {image_size}×{image_size} ({reason})") from None
        if not all(logits.isfinite().all() for logits in expected.values()):
            raise UserError("the network gives NaN or infinity, so no file can be checked; look at its weights")
        with replacing(output) as temporary:
            write(model, images[CHECKED[-1]], temporary, opset)
            run = open_(temporary)
            differences = {batch: _difference(run(images[batch]), expected[batch]) for batch in CHECKED}
            if not all(difference < TOLERANCE for difference in differences.values()):
                raise UserError(f"{output}: what was written differs from the network, by {differences} of the largest")
    return differences


def _difference(logits: Tensor, expected: Tensor) -> float:
    """The largest, as a part of the largest expected logit, which may be 0."""
    largest = expected.abs().max().clamp(min=torch.finfo(expected.dtype).tiny)
    return float((logits - expected).abs().max() / largest)


def _write_program(model: nn.Module, images: Tensor, path: Path, opset: int) -> None:
    buffer = io.BytesIO()  # torch objects to a file that is not called .pt2
    torch.export.save(_traced(model, images, DynamicConv2d.convolve), buffer)
    path.write_bytes(buffer.getvalue())


def open_program(path: Path) -> Callable[[Tensor], Tensor]:
    """A program of `torch.export`, to be run.

    Args:
        path: The file that `export` wrote.

    Returns:
        A function of images [B, 3, H, W] that gives logits [B, classes], in as many threads as torch has.
    """
    return torch.export.load(io.BytesIO(path.read_bytes())).module()


def _write_onnx(model: nn.Module, images: Tensor, path: Path, opset: int) -> None:
    program = _traced(model, images, _convolve_by_dense_kernels)
    torch.onnx.export(
        program,
        (images,),
        path,
        dynamo=True,
        opset_version=opset,
        external_data=False,
        verbose=False,
        input_names=["images"],
        output_names=["logits"],
    )


def open_onnx(path: Path, threads: int = 0) -> Callable[[Tensor], Tensor]:
    """An ONNX file, to be run by onnxruntime.

    Args:
        path: The file that `export` wrote.
        threads: Processor threads; 0 for as many as cores.

    Returns:
        A function of images [B, 3, H, W] that gives logits [B, classes].
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, threads  # of messages errors alone
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


def _traced(model: nn.Module, images: Tensor, convolve: Convolve) -> torch.export.ExportedProgram:
    """The program of `model`, which it changes, for any batch size; one image by `convolve`."""
    for block, places in slots(model).items():
        if isinstance(block, DynamicConv2d):
            replace(places, _EitherForm(block, convolve))
    batch = torch.export.Dim("batch", min=1)
    return torch.export.export(model, (images,), dynamic_shapes=({0: batch},), strict=False)


class _EitherForm(nn.Module):
    """A dynamic convolution that decides by the batch size when it is run, not when it is exported."""

    def __init__(self, block: DynamicConv2d, convolve: Convolve):
        super().__init__()
        self.block, self.convolve = block, convolve

    def forward(self, x: Tensor) -> Tensor:
        # Both must come in the same memory format; a copy also where a map of one pixel has any.
        def one(x: Tensor, weights: Tensor) -> Tensor:
            return self.convolve(self.block, x, weights[0]).clone(memory_format=torch.channels_last)

        def several(x: Tensor, weights: Tensor) -> Tensor:
            return self.block.separate(x, weights).clone(memory_format=torch.channels_last)

        return torch.cond(x.shape[0] == 1, one, several, (x, self.block.gate(x)))


def _convolve_by_dense_kernels(block: DynamicConv2d, x: Tensor, weight: Tensor) -> Tensor:
    """As `block.convolve`, in operations that ONNX has: onnxruntime computes the dense kernels once, as it loads."""
    kernels = [*block.standards.weight.chunk(block.dense), *map(_dense, block.convolutions())]
    owners = [*range(block.dense), *block.owners]
    by_branch = [total(k for k, owner in zip(kernels, owners) if owner == i) for i in range(len(block.biases))]
    kernel = (weight @ torch.stack(by_branch).flatten(1)).view(block.out_channels, -1, 3, 3)
    return F.conv2d(x, kernel, weight @ block.biases, block.standards.stride, padding=1)


def _dense(conv: nn.Conv2d) -> Tensor:
    """As `kernels.embed`, without writing into a part of a tensor."""
    rows, columns = ((3 - side) // 2 for side in conv.kernel_size)
    kernel = F.pad(conv.weight, (columns, columns, rows, rows))
    diagonal = torch.eye(conv.groups, dtype=kernel.dtype)[:, None, :, None, None, None]
    return (diagonal * kernel.unflatten(0, (conv.groups, -1))[:, :, None]).flatten(2, 3).flatten(0, 1)
