"""What networks predicted, as it is kept: pandas reads it, and ten thousand images of a hundred classes take little."""

import lzma

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paradise.study.predictions import read_predictions, write_predictions
from paradise.study.records import FORMS

NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=8)
ORDERS = st.permutations(range(12)).map(lambda order: order[:5])


@given(st.dictionaries(NAMES, st.tuples(st.integers(0, 11), ORDERS, ORDERS), min_size=1, max_size=6))
def test_what_is_written_is_read(tmp_path_factory, said):
    path = tmp_path_factory.mktemp("predictions") / "predictions.csv.xz"
    labels, trained, fused = zip(*said.values())
    write_predictions(path, list(said), labels, {"trained": trained, "fused": fused})
    found = read_predictions(path)
    assert list(found) == ["image", "label", *(f"{form}_{rank}" for form in FORMS for rank in range(1, 6))]
    assert (found["image"], found["label"]) == (list(said), list(map(str, labels)))
    assert [tuple(map(int, of)) for of in zip(*(found[f"fused_{rank}"] for rank in range(1, 6)))] == list(
        map(tuple, fused)
    )


def test_pandas_reads_it_as_it_is(tmp_path):
    path = tmp_path / "predictions.csv.xz"
    best = [[1, 2, 3, 4, 0], [4, 0, 1, 2, 3]]
    write_predictions(path, ["val/a.png", "val/b.png"], [1, 2], dict.fromkeys(FORMS, best))
    table = pd.read_csv(path, index_col=0, dtype=str).T
    assert list(table.index) == ["val/a.png", "val/b.png"]
    assert (table["label"] == table["fused_1"]).tolist() == [True, False]


def test_ten_thousand_images_of_a_hundred_classes_are_at_most_60_kilobytes(tmp_path):
    generator, images, classes = np.random.default_rng(0), 10_000, 100
    labels = np.repeat(np.arange(classes), images // classes)
    likeness = generator.normal(size=(classes, 12))
    logits = (likeness @ likeness.T / 3.5)[labels] + generator.normal(0, 1.6, (images, classes))
    logits[np.arange(images), labels] += 2
    best = (-logits).argsort(1)[:, :5]
    assert 0.5 < (best[:, 0] == labels).mean() < 0.7, "as sure as such networks are"
    fused = best.copy()
    fused[::2500, :2] = best[::2500, 1::-1]  # rounding turns a few
    names = [f"test/{label}/{number:04d}.png" for number, label in enumerate(labels)]
    path = tmp_path / "predictions.csv.xz"
    write_predictions(path, names, labels.tolist(), {"trained": best.tolist(), "fused": fused.tolist()})
    assert path.stat().st_size <= 60_000


@pytest.mark.parametrize("content", [b"", b"\xfd7zXZ", b"image,a\n", lzma.compress(b"image,a,b\nlabel,1\n")])
def test_a_file_that_is_none_raises_what_is_said(tmp_path, content):
    path = tmp_path / "predictions.csv.xz"
    path.write_bytes(content)
    with pytest.raises((OSError, EOFError, lzma.LZMAError, ValueError)):
        read_predictions(path)
