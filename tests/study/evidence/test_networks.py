"""Which images the evidence looks at, and what it calls their classes."""

from pathlib import Path

import pytest
import torch
from conftest import make_preset

from paradise.study.data.manifest import Split
from paradise.study.evidence.networks import Networks, evenly_chosen


@pytest.mark.parametrize(("count", "wanted"), [(80, 20), (360, 200), (360, 359), (360, 360), (80, 10_000)])
def test_chosen_images_are_evenly_of_all_classes(count, wanted):
    labels = sorted(i % 10 for i in range(count))
    split = Split(Path(), [f"{i}.png" for i in range(count)], labels, [f"{i:x}" for i in range(count)])
    chosen = evenly_chosen(split, wanted)
    assert len(chosen) == min(wanted, count)
    assert [split.paths.index(path) for path in chosen.paths] == [int(hash_, 16) for hash_ in chosen.hashes]
    shares = [chosen.labels.count(label) for label in range(10)]
    assert max(shares) - min(shares) <= 1
    assert len(set(chosen.paths)) == len(chosen)


def test_images_are_the_validation_sets_or_those_chosen_and_classes_their_folders(digits):
    networks = Networks(make_preset(digits), 1, torch.device("cpu"))
    held_out = networks.manifest.val
    assert torch.cat([labels for _, labels in networks.images()]).tolist() == held_out.labels
    chosen = evenly_chosen(held_out, 20)
    assert torch.cat([labels for _, labels in networks.images(chosen)]).tolist() == chosen.labels
    assert networks.classes() == [f"{digit}" for digit in range(10)]
