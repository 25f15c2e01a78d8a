# Beyond the paper. The layers that predict classes and boxes stay: their scale is what the losses act on.
_base_ = "retinanet-pd_b_resnet50.py"
model = dict(
    type="ParaDiseDetector",
    of="RetinaNet",
    kind="pd_b",
    where=["neck.fpn_convs", "bbox_head.cls_convs", "bbox_head.reg_convs"],
)
