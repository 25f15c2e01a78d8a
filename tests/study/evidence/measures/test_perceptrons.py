"""Perceptrons: fused they are what they were, and the control is as large as the summed one in training."""

import pytest
import torch
from conftest import changed, make_preset

from paradise.study.evidence.measures import perceptrons
from paradise.study.evidence.networks import Networks


@pytest.mark.parametrize("kind", perceptrons.PERCEPTRONS)
def test_a_fused_perceptron_computes_what_the_trained_one_does(kind):
    torch.manual_seed(0)
    model = perceptrons.create_perceptron(kind, 256, 10).double()
    x = torch.randn(40, 256, dtype=torch.float64)
    for _ in range(3):
        model(x + 1)  # moves the running statistics
    for layer in (model[0], model[2]):
        for norm in layer.norms:
            norm.weight.data.uniform_(0.5, 2)
            norm.bias.data.normal_()
    model.eval()
    assert torch.allclose(perceptrons.fuse_perceptron(model)(x), model(x), atol=1e-10)


def test_sizes_in_training_and_fused():
    models = {kind: perceptrons.create_perceptron(kind, 256, 10) for kind in perceptrons.PERCEPTRONS}
    trained = {kind: perceptrons.count_params(model) for kind, model in models.items()}
    fused = {kind: perceptrons.count_params(perceptrons.fuse_perceptron(model)) for kind, model in models.items()}
    assert trained["summed"] == 4 * trained["plain"]
    assert trained["wide"] == pytest.approx(trained["summed"], rel=0.01)
    assert fused["summed"] == fused["plain"] == 256 * 64 + 64 + 64 * 10 + 10
    assert fused["wide"] > 3 * fused["plain"]


def test_every_kind_learns_and_a_seed_fixes_it(digits, monkeypatch):
    monkeypatch.setattr(perceptrons, "EPOCHS", 6)
    preset = changed(make_preset(digits), evidence={"seeds": [0]})
    made = [perceptrons.measure(Networks(preset, 1, torch.device("cpu"))) for _ in range(2)]
    assert made[0] == made[1]
    assert list(made[0]["kinds"]) == ["plain", "summed", "gated", "wide"]
    for of in made[0]["kinds"].values():
        assert list(of["runs"]) == ["0"]
        run = of["runs"]["0"]
        assert len(run["accuracy"]) == 6
        assert run["fused_accuracy"] == pytest.approx(run["accuracy"][-1], abs=2)
        assert run["fused_accuracy"] > 40
        assert run["difference"] < 1e-4
