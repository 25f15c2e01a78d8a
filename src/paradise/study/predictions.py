"""What both forms of a run's network predict for each validation image: a CSV with a column for each image, packed.

Lying on its side it packs well: each form's classes of one rank are one line, and the two forms nearly agree.
pandas reads it as it is: `pandas.read_csv("predictions.csv.xz", index_col=0, dtype=str).T`.
"""

import csv
import lzma
from collections.abc import Mapping, Sequence
from pathlib import Path

from paradise.files import replacing
from paradise.study.records import FORMS

PACKING = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 2**20}]  # a megabyte is more than a study's images take


def write_predictions(
    path: Path, images: Sequence[str], labels: Sequence[int], best: Mapping[str, Sequence[Sequence[int]]]
) -> None:
    """Writes what was predicted.

    Args:
        path: The file.
        images: Their names.
        labels: Their classes.
        best: Form → for each image its best classes, the best first.
    """
    with (
        replacing(path) as temporary,
        lzma.open(temporary, "wt", filters=PACKING, encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["image", *images])
        writer.writerow(["label", *labels])
        for form in FORMS:
            for rank, classes in enumerate(zip(*best[form]), start=1):
                writer.writerow([f"{form}_{rank}", *classes])


def read_predictions(path: Path) -> dict[str, list[str]]:
    """What was predicted: "image", "label", "trained_1" … "fused_5" → what each image has of it.

    Raises:
        OSError, EOFError, lzma.LZMAError, csv.Error, ValueError: It cannot be read.
    """
    with lzma.open(path, "rt", encoding="utf-8", newline="") as file:
        lines = {line[0]: line[1:] for line in csv.reader(file, strict=True) if line}
    if len({len(values) for values in lines.values()}) > 1:
        raise ValueError("its lines are not of one length")
    return lines
