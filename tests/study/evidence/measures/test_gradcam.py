"""Grad-CAM against the class activation map, which it is in a network that ends in a mean."""

import torch

from paradise.models import create_model
from paradise.study.evidence.measures.gradcam import cam, deepest_stage


def test_grad_cam_is_the_class_map_where_the_classifier_follows_the_mean():
    """There the gradients of the last stage are the classifier's weights over the positions (Zhou et al., 2016)."""
    torch.manual_seed(0)
    model = create_model("resnet18", 10, width=8).eval()
    images, labels = torch.randn(3, 3, 128, 128), torch.tensor([1, 7, 7])
    maps = cam(model, "layer4", images, labels)
    seen = []
    model.layer4.register_forward_hook(lambda module, inputs, y: seen.append(y))
    with torch.no_grad():
        model(images)
    expected = torch.einsum("bc,bchw->bhw", model.fc.weight[labels], seen[0]).relu().detach()
    expected /= expected.amax((1, 2), keepdim=True).clamp(min=1e-12)
    assert maps.shape == (3, 4, 4)
    assert torch.allclose(maps, expected, atol=1e-4)


def test_the_stage_is_the_deepest_with_a_map_to_look_at():
    model = create_model("resnet18", 10, width=8).eval()
    assert deepest_stage(model, torch.randn(1, 3, 32, 32)) == "layer2"
    assert deepest_stage(model, torch.randn(1, 3, 224, 224)) == "layer4"
