# Beyond the paper. The layers that predict classes and boxes stay: their scale is what the losses act on.
_base_ = "cascade_rcnn-pd_b_resnet50.py"
model = dict(type="ParaDiseDetector", of="CascadeRCNN", kind="pd_b", where=["neck.fpn_convs", "rpn_head.rpn_conv"])
