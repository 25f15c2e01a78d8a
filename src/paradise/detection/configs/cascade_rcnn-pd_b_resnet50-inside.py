# Beyond the paper. The layers that predict classes and boxes stay: their scale is what the losses act on. Begins as the
# detector with the backbone alone does, so that what follows reads what it would.
_base_ = "cascade_rcnn-pd_b_resnet50.py"
model = dict(
    type="ParaDiseDetector", of="CascadeRCNN", kind="pd_b", preserve=True, where=["neck.fpn_convs", "rpn_head.rpn_conv"]
)
