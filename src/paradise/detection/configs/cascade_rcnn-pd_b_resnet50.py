_base_ = "mmdet::cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py"
custom_imports = dict(imports=["paradise.detection.modules"])
model = dict(
    backbone=dict(
        type="ParaDiseResNet",
        kind="pd_b",
        init_cfg=dict(checkpoint="results/imagenet/pd_b_resnet50/seed0/weights.safetensors"),
    )
)
