import os
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import make_data
from PIL import Image
from sklearn.datasets import load_sample_images

from paradise.errors import UserError
from paradise.study.data.loaders import Batch
from paradise.study.data.loaders.dali import EvaluationLoader, TrainingLoader
from paradise.study.data.manifest import Split, read_manifest, write_manifest
from paradise.study.hashes import sha256
from paradise.study.preset import Data

CPU = torch.device("cpu")
AUGMENT = {"area": [1, 1], "aspect": [1, 1], "shift": 2, "flip": False}


@pytest.fixture
def data(digits) -> Data:
    return make_data(digits)


def training_loader(split: Split, data: Data, batch_size: int, seed: int, threads: int = 1) -> TrainingLoader:
    return TrainingLoader(split, data, Batch(batch_size, 1, batch_size), seed, threads, CPU)


def epoch(loader) -> tuple[torch.Tensor, torch.Tensor]:
    if isinstance(loader, TrainingLoader):
        batches = [next(loader) for _ in range(loader.batches)]
    else:
        batches = list(loader)
        assert len(batches) == len(loader)
    return torch.cat([x for x, _ in batches]), torch.cat([labels for _, labels in batches])


def identities(split: Split, data: Data) -> torch.Tensor:
    """The evaluation image of every file, in the manifest's order."""
    return epoch(EvaluationLoader(split, data, 16, 1, CPU))[0]


@pytest.mark.parametrize("batch_size", [1, 7, 16, 80, 100])
def test_evaluation_sees_every_image_once_in_order_in_every_epoch(digits, data, batch_size):
    split = read_manifest(digits).val
    loader = EvaluationLoader(split, data, batch_size, 1, CPU)
    first, labels = epoch(loader)
    assert labels.tolist() == split.labels
    for _ in range(2):
        again, labels = epoch(loader)
        assert labels.tolist() == split.labels
        assert torch.equal(again, first)


def test_training_sees_every_image_at_most_once_an_epoch(digits):
    data = make_data(digits, augment=AUGMENT | {"shift": 0})
    split = read_manifest(digits).train
    known = identities(split, data).flatten(1)
    loader = training_loader(split, data, 12, 3, 1)
    orders = []
    for _ in range(4):
        x, labels = epoch(loader)
        assert len(x) == 80 // 12 * 12
        order = torch.cdist(x.flatten(1), known).argmin(1)
        assert len(set(order.tolist())) == len(order)
        assert labels.tolist() == [split.labels[index] for index in order]
        orders.append(order.tolist())
    assert len({tuple(order) for order in orders}) == 4


def test_a_seed_fixes_order_and_shifts(digits, data):
    split = read_manifest(digits).train

    def two_epochs(seed: int, threads: int) -> torch.Tensor:
        loader = training_loader(split, data, 16, seed, threads)
        return torch.cat([epoch(loader)[0], epoch(loader)[0]])

    assert torch.equal(two_epochs(0, 1), two_epochs(0, 2))
    assert not torch.equal(two_epochs(0, 1), two_epochs(1, 1))


def test_the_order_is_the_seeds_own_from_the_first_epoch(digits):
    data = make_data(digits, augment=AUGMENT | {"shift": 0})
    split = read_manifest(digits).train
    known = identities(split, data).flatten(1)

    def orders(seed: int) -> list[list[int]]:
        loader = training_loader(split, data, 80, seed, 1)
        return [torch.cdist(epoch(loader)[0].flatten(1), known).argmin(1).tolist() for _ in range(2)]

    a, b = orders(0), orders(1)
    assert orders(0) == a
    assert len({tuple(order) for order in (*a, *b, range(80))}) == 5


def test_shifts_move_the_image_and_fill_with_black(digits, data):
    split = read_manifest(digits).train
    known = identities(split, data)
    x, _ = epoch(training_loader(split, data, 80, 0, 1))
    black = -0.3 / 0.37
    padded = torch.nn.functional.pad(known, (2, 2, 2, 2), value=black)
    shifts = [(down, right) for down in range(5) for right in range(5)]
    candidates = torch.stack([padded[:, :, down : down + 32, right : right + 32] for down, right in shifts])
    seen = set()
    for image in x:
        distance = (candidates - image).abs().amax((2, 3, 4))
        assert distance.min() < 1e-5
        seen.add(shifts[int(distance.min(1).values.argmin())])
    assert len(seen) > 15


def test_batches_are_channels_last_and_normalised(digits, data):
    x, labels = next(iter(EvaluationLoader(read_manifest(digits).val, data, 80, 1, CPU)))
    assert x.shape == (80, 3, 32, 32) and x.dtype == torch.float32
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert labels.dtype == torch.int64
    assert abs(x.mean()) < 0.1 and 0.7 < x.std() < 1.1


@pytest.fixture
def photographs(tmp_path) -> tuple[Split, Data]:
    """scikit-learn's two photographs as JPEG, in a data set of two classes."""
    images = []
    for label, pixels in enumerate(load_sample_images().images):
        path = f"train/{label}/photograph.jpg"
        (tmp_path / path).parent.mkdir(parents=True)
        Image.fromarray(pixels).save(tmp_path / path, quality=95)
        images.append((path, label, sha256(tmp_path / path)))
    write_manifest(tmp_path, {"train": images, "val": images})
    data = make_data(
        tmp_path,
        image_size=224,
        resize=256,
        mean=[0.485, 0.456, 0.406],
        std=[0.229, 0.224, 0.225],
        augment={"area": [0.1, 1.0], "aspect": [0.8, 1.25], "shift": 0, "flip": True},
    )
    return read_manifest(tmp_path).val, data


def test_evaluation_resizes_and_crops_as_pillow_does(photographs):
    split, data = photographs
    x, _ = epoch(EvaluationLoader(split, data, 2, 1, CPU))
    for image, path in zip(x, split.files()):
        photograph = Image.open(path)
        scale = 256 / min(photograph.size)
        resized = photograph.resize([round(side * scale) for side in photograph.size], Image.Resampling.BILINEAR)
        left, top = ((side - 224) / 2 for side in resized.size)
        expected = np.asarray(resized.crop((left, top, left + 224, top + 224))) / 255
        shown = image.permute(1, 2, 0).numpy() * data.std + data.mean
        assert np.abs(shown - expected).mean() < 0.01


def test_training_crops_and_flips_photographs(photographs):
    split, data = photographs
    loader = training_loader(split, data, 2, 0, 1)
    x = torch.cat([epoch(loader)[0] for _ in range(4)])
    assert x.shape == (8, 3, 224, 224)
    assert len({tuple(image[0, 0, :5].tolist()) for image in x}) == 8


def test_without_dali_one_line_says_how_to_install_it():
    script = (
        "import sys; sys.modules['nvidia.dali'] = None\n"
        "from paradise.errors import UserError\n"
        "try: import paradise.study.data.loaders.dali\n"
        "except UserError as error: print(error)"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert said == "NVIDIA DALI is not installed; run `pip install -c constraints.txt -e '.[study]'`\n"


def damaged(digits, tmp_path, damage) -> tuple[Split, str]:
    folder = tmp_path / "digits"
    shutil.copytree(digits, folder)
    split = read_manifest(folder).val
    path = split.files()[17]
    damage(path)
    return split, path


def truncate(path):
    with open(path, "r+b") as file:
        file.truncate(60)


def replace_by_text(path):
    with open(path, "w") as file:
        file.write("no image")


@pytest.mark.parametrize("damage", [truncate, replace_by_text])
@pytest.mark.parametrize("make", ["training", "evaluation"])
def test_an_image_that_cannot_be_read_is_named(digits, tmp_path, data, damage, make):
    split, path = damaged(digits, tmp_path, damage)
    with pytest.raises(UserError, match=f"the image {path} cannot be read"):
        if make == "training":
            epoch(training_loader(split, data, 16, 0, 1))
        else:
            epoch(EvaluationLoader(split, data, 16, 1, CPU))


def test_a_truncated_jpeg_is_named(photographs):
    split, data = photographs
    path = split.files()[1]
    with open(path, "r+b") as file:
        file.truncate(20000)
    with pytest.raises(UserError, match=f"the image {path} cannot be read"):
        epoch(EvaluationLoader(split, data, 2, 1, CPU))


def test_a_missing_image_is_named(digits, tmp_path, data):
    split, path = damaged(digits, tmp_path, os.remove)
    with pytest.raises(UserError, match=f"the image {path} is missing"):
        epoch(EvaluationLoader(split, data, 16, 1, CPU))


UNEVEN = [(1, 1, 16), (3, 1, 8), (3, 2, 5), (2, 4, 3)]


def shares(digits, data: Data, processes: int, passes: int, images: int, state=None) -> list[TrainingLoader]:
    """A loader for each process, over images whose labels are their numbers."""
    split = read_manifest(digits).train
    split = replace(split, labels=list(range(len(split))))
    size = processes * passes * images
    return [
        TrainingLoader(split, data, Batch(size, passes, images, rank, processes), 7, 1, CPU, state and state[rank])
        for rank in range(processes)
    ]


@pytest.mark.parametrize("processes,passes,images", UNEVEN)
def test_processes_share_an_epoch_without_an_image_twice(digits, data, processes, passes, images):
    loaders = shares(digits, data, processes, passes, images)
    for _ in range(4):
        seen = [label for loader in loaders for label in epoch(loader)[1].tolist()]
        assert len(seen) == len(set(seen)) == 80 // (processes * passes * images) * processes * passes * images


def test_processes_draw_other_crops(photographs):
    split, data = photographs
    a, b = (TrainingLoader(split, data, Batch(2, 1, 1, rank, 2), 0, 1, CPU) for rank in range(2))
    images = {label: [] for label in range(2)}
    for loader in (a, b):
        for _ in range(4):
            x, labels = next(loader)
            images[int(labels)].append(tuple(x[0, 0, :5, 0].tolist()))
    assert all(len(set(seen)) == len(seen) for seen in images.values())


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_processes_share_the_evaluation_with_every_image_once(digits, data, processes):
    split = read_manifest(digits).val
    split = replace(split, paths=split.paths[:-1], labels=list(range(79)), hashes=split.hashes[:-1])
    for _ in range(2):
        loaders = [EvaluationLoader(split, data, 8, 1, CPU, rank, processes) for rank in range(processes)]
        for _ in range(2):
            assert [label for loader in loaders for label in epoch(loader)[1].tolist()] == list(range(79))


@pytest.mark.parametrize("taken", range(9))
@pytest.mark.parametrize("processes,passes,images", [(1, 1, 16), (3, 1, 7)])
def test_a_loader_goes_on_from_a_state_to_the_bit(digits, processes, passes, images, taken):
    """In the first epoch, at its end, in the second; and from the state of one that went on itself."""
    data = make_data(digits, augment=AUGMENT | {"area": [0.5, 1], "flip": True})
    loaders = shares(digits, data, processes, passes, images)
    for loader in loaders:
        for _ in range(taken):
            next(loader)
    again = shares(digits, data, processes, passes, images, [loader.state() for loader in loaders])
    for _ in range(2):
        for first, second in zip(loaders, again):
            for _ in range(3):
                for a, b in zip(next(first), next(second)):
                    assert torch.equal(a, b)
        again = shares(digits, data, processes, passes, images, [loader.state() for loader in again])


ODD = {
    "cmyk.JPEG": lambda image: image.convert("CMYK"),
    "grey.JPEG": lambda image: image.convert("L"),
    "palette.png": lambda image: image.quantize(256),
    "alpha.png": lambda image: image.convert("RGBA"),
    "deep.png": lambda image: Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257),
    "one_pixel.png": lambda image: image.resize((1, 1), Image.Resampling.BOX),
}


@pytest.mark.parametrize("name", ODD)
def test_images_of_other_kinds_are_shown_as_rgb(photographs, tmp_path, name):
    """Their mean colour is that of the photograph they were made from; without colours, its grey."""
    _, data = photographs
    with Image.open(tmp_path / "train" / "0" / "photograph.jpg") as photograph:
        square = photograph.resize((256, 256))
    path = tmp_path / "train" / "0" / name
    ODD[name](square).save(path, format="jpeg" if name.endswith("JPEG") else "png")
    split = Split(tmp_path, [f"train/0/{name}"], [0], [sha256(path)])
    data = data.model_copy(update={"resize": data.image_size})
    x, _ = epoch(EvaluationLoader(split, data, 1, 1, CPU))
    shown = x[0].permute(1, 2, 0).numpy() * data.std + data.mean
    expected = np.asarray(square, float).mean((0, 1)) / 255
    if name.startswith(("grey", "deep")):
        expected = np.full(3, np.asarray(square.convert("L"), float).mean() / 255)
    np.testing.assert_allclose(shown.mean((0, 1)), expected, atol=0.01)
    x, _ = epoch(training_loader(split, data, 1, 0))
    assert x.shape == (1, 3, 224, 224) and x.isfinite().all()
