"""The configuration of mmdetection that a row is trained and evaluated with: its own in `configs/`, then the preset's.

The files in `configs/` are for COCO by the published schedule and differ from mmdetection's in the backbone's lines
alone. A preset names the data, and with a `recipe` another schedule.
"""

from pathlib import Path

from mmengine.config import Config

from paradise.detection.data import annotation_file, categories, image_root

CONFIGS = Path(__file__).with_name("configs")


def detector_config(row: str, detection: dict, weights: Path | None) -> Config:
    """The configuration of `row` under the preset's section `detection`, its backbone from `weights`."""
    config = Config.fromfile(CONFIGS / f"{row}.py")
    config.model.backbone.init_cfg = {"type": "Pretrained", "checkpoint": str(weights)} if weights else None
    names = tuple(categories(detection))
    _set(config.model, "num_classes", len(names))
    for split, loader in (("train", config.train_dataloader), ("val", config.val_dataloader)):
        loader.dataset.update(
            data_root="",
            ann_file=str(annotation_file(detection, split)),
            data_prefix={"img": str(image_root(detection, split))},
            metainfo={"classes": names},
        )
    if "recipe" in detection:
        _apply(config, detection["recipe"])
    else:
        config.auto_scale_lr.enable = True  # the published one is for 8 GPUs × 2 images
    # What mmdetection would do besides: its own logs, pictures, checkpoints.
    config.default_hooks = {"logger": None, "checkpoint": None}
    config.update(log_level="ERROR", visualizer={"type": "Visualizer", "vis_backends": []})
    return config


def _apply(config: Config, recipe: dict) -> None:
    """Another schedule than the published: so many iterations on small images, held in one process."""
    iterations, warmup = recipe["iterations"], recipe["warmup_iterations"]
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
        "optimizer": {"type": "AdamW", "lr": recipe["learning_rate"], "weight_decay": recipe["weight_decay"]},
        "clip_grad": {"max_norm": recipe["clip_gradient"]},
    }
    side = recipe["image_size"]
    for loader in (config.train_dataloader, config.val_dataloader):
        loader.update(batch_size=recipe["batch_size"], num_workers=0, persistent_workers=False)
        loader.dataset.pipeline = [step for step in loader.dataset.pipeline if step["type"] != "RandomFlip"]
        for step in loader.dataset.pipeline:
            if step["type"] == "Resize":
                step["scale"] = (side, side)
    config.model.data_preprocessor.update(mean=recipe["mean"], std=recipe["std"])
    config.model.backbone.update(frozen_stages=recipe["frozen_stages"], norm_eval=recipe["norm_eval"])
    for head in ("bbox_head", "rpn_head"):
        if head in config.model:
            anchors = config.model[head]["anchor_generator"]
            key = "octave_base_scale" if "octave_base_scale" in anchors else "scales"
            anchors[key] = recipe["anchor_scale"] if key == "octave_base_scale" else [2 * recipe["anchor_scale"]]
    if "rpn_head" in config.model:
        for part in (config.model.train_cfg.rpn_proposal, config.model.test_cfg.rpn):
            part.update(nms_pre=2 * recipe["proposals"], max_per_img=recipe["proposals"])
        for stage in config.model.train_cfg.rcnn:
            stage.sampler.num = recipe["rois"]


def _set(config, key: str, value) -> None:
    """Sets every `key` in nested `config`."""
    if isinstance(config, dict):
        if key in config:
            config[key] = value
        for part in config.values():
            _set(part, key, value)
    elif isinstance(config, (list, tuple)):
        for part in config:
            _set(part, key, value)
