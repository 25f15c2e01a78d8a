import pytest
import torch

from paradise import create_model
from paradise.errors import UserError
from paradise.study.runs import fused_model, trained_model, write_fused
from paradise.weights import save_weights


@torch.no_grad()
def test_both_forms_come_back_from_the_folder(run_folder):
    x = torch.randn(3, 3, 32, 32)
    trained, fused = trained_model(run_folder), fused_model(run_folder)
    assert not trained.training and not fused.training
    torch.testing.assert_close(fused(x), trained(x), rtol=0, atol=1e-4 * float(trained(x).abs().max()))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"row": "resnet18"}'])
def test_a_damaged_record_is_named(run_folder, text):
    (run_folder / "run.json").write_text(text)
    with pytest.raises(UserError, match=r"run\.json is damaged .* train the row again"):
        write_fused(run_folder)


@pytest.mark.parametrize(
    ("name", "classes", "message"),
    [
        ("pd_b_resnet18", 10, "is of another model: it has layer1.0.conv1.group.bn.bias"),
        ("resnet50", 10, "is of another model: it lacks layer1.0.conv1.gate.expand.bias"),
        (None, 12, "has 12 classes, the model 10"),
        (None, None, "is damaged or no safetensors file"),
    ],
)
def test_weights_that_do_not_fit_the_record_are_refused(run_folder, name, classes, message):
    path = run_folder / "weights.safetensors"
    if classes is None:
        path.write_bytes(path.read_bytes()[:1000])
    elif name is None:
        save_weights(create_model("pd_b_resnet18", classes, ("standard1", "skeleton")), path)
    else:
        save_weights(create_model(name, classes), path)
    (run_folder / "fused.safetensors").unlink()
    with pytest.raises(UserError, match=message):
        write_fused(run_folder)
    assert not (run_folder / "fused.safetensors").exists()


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(UserError, match=r"no run at .*run\.json; train the row first"):
        write_fused(tmp_path)
