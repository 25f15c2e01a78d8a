"""The configuration of mmdetection that a row is trained and evaluated with: mmdetection's own, its blocks, the preset.

mmdetection's is for COCO by the published schedule. A row of the paper differs from it in the backbone alone. A preset
names the data, and with a `recipe` another schedule.
"""

from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.hub import get_config

import paradise.mmdetection  # noqa: F401  mmdetection then knows what the configurations name
from paradise.errors import UserError
from paradise.names import PLAIN
from paradise.study.detection.data import categories, prepared
from paradise.study.detection.detectors import Detector
from paradise.study.files import write_text
from paradise.study.preset import DetectionData, DetectionRecipe, Preset
from paradise.study.registry import DETECTION_SETS, DETECTORS
from paradise.study.rows import DetectorRow, Run


def published_config(row: DetectorRow, weights: Path | None) -> Config:
    """mmdetection's own configuration of the row's detector, for COCO, with the row's blocks in it.

    Args:
        row: Which.
        weights: Those that the backbone begins with; fresh ones without.

    Returns:
        A configuration that differs from mmdetection's in the backbone and, where all of the detector has blocks, in
        how it is built: it begins as the one with the backbone alone does, so that what follows reads what it would.
    """
    detector: Detector = DETECTORS.get(row.detector)
    config = get_config(detector.config)
    config.custom_imports = {"imports": ["paradise.mmdetection"]}
    backbone = config.model.backbone
    backbone.type = "ParaDiseResNet"
    backbone.init_cfg = {"type": "Pretrained", "checkpoint": str(weights)} if weights else None
    if row.backbone.kind != PLAIN:
        backbone.kind = row.backbone.kind
    if row.inside:
        config.model.update(
            type="ParaDiseDetector",
            of=config.model.type,
            kind=row.backbone.kind,
            preserve=True,
            where=list(detector.inside),
        )
    return config


def study_config(row: DetectorRow, section: DetectionData, weights: Path | None) -> Config:
    """As `published_config`, with the data and the recipe of a preset's section `detection`."""
    config = published_config(row, weights)
    dataset, names = DETECTION_SETS.get(section.dataset), tuple(categories(section))
    _set_all(config.model, "num_classes", len(names))
    for split, loader in (("train", config.train_dataloader), ("val", config.val_dataloader)):
        loader.dataset.update(
            data_root="",
            ann_file=str(dataset.annotations(section, split)),
            data_prefix={"img": str(dataset.images(section, split))},
            metainfo={"classes": names},
        )
    config.val_evaluator.ann_file = str(dataset.annotations(section, "val"))
    if section.recipe is None:
        config.auto_scale_lr.enable = True  # the published one is for 8 GPUs × 2 images
    else:
        _set_recipe(config, section.recipe)
        DETECTORS.get(row.detector).set_recipe(config.model, section.recipe)
    config.update(test_dataloader=config.val_dataloader, test_evaluator=config.val_evaluator)
    return config


def detector_config(row: DetectorRow, section: DetectionData, weights: Path | None) -> Config:
    """As `study_config`, without what mmdetection would do besides: its own logs, pictures, checkpoints."""
    config = study_config(row, section, weights)
    config.default_hooks = {"logger": None, "checkpoint": None}
    config.update(log_level="ERROR", visualizer={"type": "Visualizer", "vis_backends": []})
    return config


def write_config(row: DetectorRow, preset: Preset, output: Path) -> None:
    """Writes the configuration by which mmdetection's own tools train and test a row as a preset says.

    Args:
        row: One of the preset's.
        preset: It names the data, the recipe and, by its first seed, the backbone's weights.
        output: A Python file.

    Raises:
        UserError: The file has another suffix, the data were not prepared, or mmengine would read a name otherwise.
    """
    if output.suffix != ".py":
        raise UserError(f"{output} is no .py file, as mmdetection's configurations are; choose another name")
    section = preset.detection_of(row)
    prepared(section)
    weights = Run(row.backbone, preset.seeds_of(row)[0]).folder(preset.results) / "weights.safetensors"
    text = study_config(row, section, weights).pretty_text
    if "{{" in text:
        raise UserError(
            f"{output} cannot be written: mmengine takes what stands in '{{{{' for its own variables; "
            "give the category, or the folder, a name without"
        )
    write_text(output, text)


def _set_recipe(config: Config, recipe: DetectionRecipe) -> None:
    """Another schedule than the published: so many iterations on small images, held in one process."""
    iterations, warmup = recipe.iterations, recipe.warmup_iterations
    config.train_cfg = {"type": "IterBasedTrainLoop", "max_iters": iterations, "val_interval": iterations + 1}
    config.param_scheduler = [
        {"type": "LinearLR", "start_factor": 1e-3, "by_epoch": False, "begin": 0, "end": warmup},
        {
            "type": "CosineAnnealingLR",
            "by_epoch": False,
            "begin": warmup,
            "end": iterations,
            "T_max": iterations - warmup,
        },
    ]
    config.optim_wrapper = {
        "type": "OptimWrapper",
        "optimizer": {"type": "AdamW", "lr": recipe.learning_rate, "weight_decay": recipe.weight_decay},
        "clip_grad": {"max_norm": recipe.clip_gradient},
    }
    for loader in (config.train_dataloader, config.val_dataloader):
        loader.update(batch_size=recipe.batch_size, num_workers=0, persistent_workers=False)
        loader.dataset.pipeline = [step for step in loader.dataset.pipeline if step["type"] != "RandomFlip"]
        for step in loader.dataset.pipeline:
            if step["type"] == "Resize":
                step["scale"] = (recipe.image_size, recipe.image_size)
    config.model.data_preprocessor.update(mean=recipe.mean, std=recipe.std)
    config.model.backbone.update(frozen_stages=recipe.frozen_stages, norm_eval=recipe.norm_eval)
    if recipe.norm_eval:
        config.custom_hooks = [*config.get("custom_hooks", []), {"type": "KeepStatistics"}]


def _set_all(config: Any, key: str, value: object) -> None:
    """Sets every `key` in a nested configuration."""
    if isinstance(config, dict):
        if key in config:
            config[key] = value
        for part in config.values():
            _set_all(part, key, value)
    elif isinstance(config, (list, tuple)):
        for part in config:
            _set_all(part, key, value)
