"""export: a row's fused network as one file that runs without this package."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from paradise.study.rows import Row


def command(
    model: Annotated[str, typer.Argument(help="The row that the weights are of, such as pd_b_resnet18.")],
    weights: Annotated[Path, typer.Argument(help="Its weights.safetensors, or fused.safetensors.")],
    output: Annotated[Path, typer.Option(help="The file to write: .onnx, or .pt2 for torch.export's format.")],
    image_size: Annotated[int, typer.Option(min=1, help="Height and width of the images.")] = 224,
    opset: Annotated[int, typer.Option(help="ONNX's version of operators, 18 to 23.")] = 20,
) -> None:
    """Write a row's fused network as one file, for any batch size, and check it."""
    row = Row.parse(model)
    from paradise.exporter import check_options, export, load

    check_options(output, opset)
    network, fused_here = load(row.model, weights, row.branches)
    if fused_here:
        print(f"{weights} is the trained form: fused before it is exported", file=sys.stderr)
    print(f"{output}: tracing, writing and checking, which takes about a minute", file=sys.stderr)
    differences = export(network, output, image_size, opset)
    kind = f"ONNX, opset {opset}" if output.suffix == ".onnx" else "torch.export"
    listed = ", ".join(f"{difference:.0e} at batch {batch}" for batch, difference in differences.items())
    print(
        f"{output}: {kind}, images [batch, 3, {image_size}, {image_size}] to logits [batch, classes]; it differs from "
        f"the network by {listed}, of the largest logit",
        file=sys.stderr,
    )
