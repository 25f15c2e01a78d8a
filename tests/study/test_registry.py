"""Registries find what lies in their package, and import no more than what is asked for."""

import subprocess
import sys

import pytest

from paradise.errors import UserError
from paradise.study.data.dataset import Arrays, Folders
from paradise.study.data.loaders import Loader
from paradise.study.registry import DATASETS, DETECTION_SETS, DETECTORS, EVIDENCE, LOADERS, TABLES

REGISTRIES = [DATASETS, LOADERS, DETECTION_SETS, DETECTORS, TABLES, EVIDENCE]


def test_what_is_there():
    assert DATASETS.names() == ["cifar-100", "digits", "fashion-mnist", "imagenet"]
    assert LOADERS.names() == ["dali", "memory"]
    assert DETECTION_SETS.names() == ["coco", "digits"]
    assert DETECTORS.names() == ["cascade_rcnn", "retinanet"]
    assert TABLES.names() == ["ablation", "claims", "detection", "imagenet"]
    assert EVIDENCE.names() == ["diversity", "gradcam", "lottery", "perceptrons", "pruning"]


def test_a_name_with_a_dash_is_a_module_with_an_underscore():
    assert DATASETS.module("fashion-mnist") == "paradise.study.data.sets.fashion_mnist"
    with pytest.raises(UserError, match="fashion_mnist"):
        DATASETS.module("fashion_mnist")


def test_each_module_exports_what_its_registry_is_of():
    kinds = {"cifar-100": Arrays, "digits": Arrays, "fashion-mnist": Arrays, "imagenet": Folders}
    assert {name: type(dataset) for name, dataset in DATASETS.all().items()} == kinds
    assert {type(loader) for loader in LOADERS.all().values()} == {Loader}


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: registry.what)
def test_an_unknown_name_is_refused_with_those_that_there_are(registry):
    for look_up in (registry.get, registry.module):
        with pytest.raises(UserError) as refused:
            look_up("§")
        assert str(refused.value) == f"unknown {registry.what} '§'; choose from {', '.join(registry.names())}"


def test_a_misspelt_name_is_refused_with_the_right_one():
    with pytest.raises(UserError) as refused:
        LOADERS.get("memroy")
    assert str(refused.value) == "unknown loader 'memroy'; did you mean 'memory'?"


def test_names_are_known_without_importing_what_they_are_of():
    script = (
        "import sys\n"
        "from paradise.study.registry import DATASETS, LOADERS, DETECTORS\n"
        "for registry in (DATASETS, LOADERS, DETECTORS): registry.module(registry.names()[0])\n"
        "DATASETS.all()\n"
        "heavy = 'torch', 'numpy', 'scipy', 'sklearn', 'nvidia.dali', 'mmdet', 'paradise.study.data.loaders.dali'\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert said == "[]\n"
