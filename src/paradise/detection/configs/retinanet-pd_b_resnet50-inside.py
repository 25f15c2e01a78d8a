# Beyond the paper. The layers that predict classes and boxes stay: their scale is what the losses act on. Begins as the
# detector with the backbone alone does, so that what follows reads what it would.
_base_ = "retinanet-pd_b_resnet50.py"
model = dict(
    type="ParaDiseDetector",
    of="RetinaNet",
    kind="pd_b",
    preserve=True,
    where=["neck.fpn_convs", "bbox_head.cls_convs", "bbox_head.reg_convs"],
)
