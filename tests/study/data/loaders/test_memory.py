import numpy as np
import pytest
import torch
from conftest import make_data
from odd_images import SIDE, USED
from PIL import Image

from paradise.errors import UserError
from paradise.study.data.loaders import Batch
from paradise.study.data.loaders.dali import EvaluationLoader as Decoded
from paradise.study.data.loaders.dali import TrainingLoader as DecodedTraining
from paradise.study.data.loaders.memory import EvaluationLoader, TrainingLoader
from paradise.study.data.manifest import Split, read_manifest
from paradise.study.preset import Data

CPU = torch.device("cpu")
AUGMENT = {"area": [1, 1], "aspect": [1, 1], "shift": 2, "flip": False}


@pytest.fixture
def data(digits) -> Data:
    return make_data(digits)


def whole(loader) -> tuple[torch.Tensor, torch.Tensor]:
    batches = list(loader)
    return torch.cat([x for x, _ in batches]), torch.cat([labels for _, labels in batches])


def epoch(loader: TrainingLoader) -> tuple[torch.Tensor, torch.Tensor]:
    batches = [next(loader) for _ in range(loader.batches)]
    return torch.cat([x for x, _ in batches]), torch.cat([labels for _, labels in batches])


@pytest.mark.parametrize("sizes", [(32, 32), (28, 36)])
def test_evaluation_shows_what_dali_shows(digits, sizes):
    data = make_data(digits, image_size=sizes[0], resize=sizes[1])
    split = read_manifest(digits).val
    x, labels = whole(EvaluationLoader(split, data, 7, 1, CPU))
    expected, _ = whole(Decoded(split, data, 16, 1, CPU))
    assert labels.tolist() == split.labels
    assert x.shape == (80, 3, sizes[0], sizes[0]) and x.is_contiguous(memory_format=torch.channels_last)
    # One step of grey is 1 / 255 / 0.37 = 0.0106.
    assert (x - expected).abs().max() < 0.022 and (x - expected).abs().mean() < 0.004


def test_both_loaders_see_the_same_in_any_file_that_prepare_takes(tmp_path):
    for name, content in USED.items():
        (tmp_path / name).write_bytes(content)
    paths = sorted(USED)
    split = Split(tmp_path, paths, list(range(len(paths))), [""] * len(paths))
    data = make_data(tmp_path, image_size=SIDE, resize=SIDE, augment=AUGMENT | {"shift": 0})
    held, labels = whole(EvaluationLoader(split, data, 7, 1, CPU))
    training = DecodedTraining(split, data, Batch(1, 1, 1), 0, 1, CPU)
    loaders = (
        Decoded(split, data, 7, 1, CPU),
        [next(training) for _ in paths],
    )
    for loader in loaders:
        seen, order = whole(loader)
        assert sorted(order.tolist()) == labels.tolist()
        levels = (held[order] - seen).abs().mean(dim=(1, 2, 3)) * 0.37 * 255
        assert {paths[label]: level for label, level in zip(order.tolist(), levels.tolist()) if level > 1} == {}


@pytest.mark.parametrize("sizes", [[(48, 48), (48, 47)], [(40, 30)] * 2])
def test_images_that_are_not_square_and_of_one_size_are_refused(tmp_path, sizes):
    for number, size in enumerate(sizes):
        Image.new("RGB", size).save(tmp_path / f"{number}.png")
    with pytest.raises(UserError) as refused:
        EvaluationLoader(Split(tmp_path, ["0.png", "1.png"], [0, 1], ["", ""]), make_data(tmp_path), 7, 1, CPU)
    assert str(refused.value) == (
        f"the images in {tmp_path} are not square and of one size, so 'data.loader: memory' cannot hold them; "
        "take 'dali'"
    )


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_share_the_evaluation_with_every_image_once(digits, data, processes):
    split = read_manifest(digits).val
    shares = [EvaluationLoader(split, data, 7, 1, CPU, rank, processes) for rank in range(processes)]
    assert [label for share in shares for label in whole(share)[1].tolist()] == split.labels
    assert [len(share) for share in shares] == [len(list(share)) for share in shares]


@pytest.mark.parametrize("processes,passes,images", [(2, 1, 6), (1, 4, 3), (3, 2, 2)])
def test_a_step_has_the_same_images_however_it_is_shared_out(digits, processes, passes, images):
    data = make_data(digits, augment=AUGMENT | {"flip": True})
    split = read_manifest(digits).train
    one = TrainingLoader(split, data, Batch(12, 1, 12), 5, 1, CPU)
    shares = [
        TrainingLoader(split, data, Batch(12, passes, images, rank, processes), 5, 1, CPU) for rank in range(processes)
    ]
    for _ in range(2 * one.batches):
        x, labels = next(one)
        parts = [next(share) for _ in range(passes) for share in shares]
        assert torch.equal(torch.cat([part for part, _ in parts]), x)
        assert torch.equal(torch.cat([part for _, part in parts]), labels)


def test_an_epoch_has_no_image_twice_and_each_its_own_order(digits):
    data = make_data(digits, augment=AUGMENT | {"shift": 0})
    split = read_manifest(digits).train
    known, _ = whole(EvaluationLoader(split, data, 80, 1, CPU))
    orders = []
    for seed in (0, 1):
        loader = TrainingLoader(split, data, Batch(12, 1, 12), seed, 1, CPU)
        for _ in range(2):
            x, labels = epoch(loader)
            order = torch.cdist(x.flatten(1), known.flatten(1)).argmin(1).tolist()
            assert len(set(order)) == len(order) == 72
            assert labels.tolist() == [split.labels[index] for index in order]
            orders.append(tuple(order))
    assert len(set(orders)) == 4


def test_shifts_and_flips_are_those_of_the_image(digits):
    """Each image of an epoch is one of the 25 shifts of one digit, mirrored or not, with black behind it."""
    data = make_data(digits, augment=AUGMENT | {"flip": True})
    split = read_manifest(digits).train
    known, _ = whole(EvaluationLoader(split, data, 80, 1, CPU))
    padded = torch.nn.functional.pad(known, (2, 2, 2, 2), value=-0.3 / 0.37)
    moved = {(d, r): padded[:, :, d : d + 32, r : r + 32] for d in range(5) for r in range(5)}
    candidates = {(*shift, flip): x.flip(3) if flip else x for shift, x in moved.items() for flip in (False, True)}
    x, _ = epoch(TrainingLoader(split, data, Batch(80, 1, 80), 0, 1, CPU))
    seen = []
    for image in x:
        distances = {key: float((known - image).abs().amax((1, 2, 3)).min()) for key, known in candidates.items()}
        key = min(distances, key=distances.get)
        assert distances[key] < 1e-5
        seen.append(key)
    assert len({key[:2] for key in seen}) > 15
    assert 20 < sum(flip for *_, flip in seen) < 60


@pytest.mark.parametrize("taken", range(9))
def test_a_loader_goes_on_from_a_state_to_the_bit(digits, data, taken):
    split = read_manifest(digits).train
    first = TrainingLoader(split, data, Batch(20, 1, 20), 3, 1, CPU)
    for _ in range(taken):
        next(first)
    again = TrainingLoader(split, data, Batch(20, 1, 20), 3, 1, CPU, first.state())
    for _ in range(9):
        for a, b in zip(next(first), next(again)):
            assert torch.equal(a, b)


def test_the_images_are_held_as_bytes(digits, data):
    loader = TrainingLoader(read_manifest(digits).train, data, Batch(20, 1, 20), 3, 1, CPU)
    assert loader.images.dtype == torch.uint8 and loader.images.shape == (80, 32, 32, 1)
    assert np.isin(loader.labels.numpy(), range(10)).all()
