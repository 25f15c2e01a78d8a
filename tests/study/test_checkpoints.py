"""Checkpoints as the authors and torchvision publish them, written here with the keys of the method's section 6."""

import json
import math
import os
import pickle
import struct
import zipfile
from collections import OrderedDict

import pytest
import torch
from conftest import REPOSITORY, changed, run, scramble
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from paradise.errors import UserError
from paradise.models import create_model
from paradise.study.checkpoints import find_weights, import_checkpoint, read_checkpoint, translate, without_wrappers
from paradise.study.code import fingerprint
from paradise.study.evaluate import evaluate
from paradise.study.hashes import sha256
from paradise.study.rows import Row, Run
from paradise.study.runs import read_run, run_of, trained_model, write_fused

RESNET18, GATED = Run(Row.parse("resnet18"), None), Run(Row.parse("pd_b_resnet18"), None)

THEIRS = (
    (".standard1.conv", ".ori_conv"),
    (".standard1.bn", ".ori_bn"),
    (".standard2.conv", ".new_conv"),
    (".standard2.bn", ".new_bn"),
    (".skeleton.vertical.conv", ".ac_convbn.ver_conv"),
    (".skeleton.vertical.bn", ".ac_convbn.ver_bn"),
    (".skeleton.horizontal.conv", ".ac_convbn.hor_conv"),
    (".skeleton.horizontal.bn", ".ac_convbn.hor_bn"),
    (".group.conv", ".group_conv"),
    (".group.bn", ".group_bn"),
    (".gate.reduce", ".fc.0"),
    (".gate.expand", ".fc.2"),
)


def theirs(state: dict) -> dict:
    """Half precision but for the BatchNorms, each key with `module.` and the authors' names."""
    translated = OrderedDict()
    for key, value in state.items():
        name = key
        for ours, their in THEIRS:
            name = name.replace(ours, their)
        translated[f"module.{name}"] = value if "bn" in key or not value.is_floating_point() else value.half()
    return translated


@pytest.fixture
def model() -> torch.nn.Module:
    torch.manual_seed(0)
    return scramble(create_model("pd_b_resnet18", 10)).eval()


@pytest.fixture
def file(tmp_path, model):
    checkpoint = {
        "epoch": 100,
        "arch": "resnet18",
        "state_dict": theirs(model.state_dict()),
        "best_prec1": torch.tensor(72.09),
        "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]},
    }
    torch.save(checkpoint, tmp_path / "theirs.pth.tar")
    return tmp_path / "theirs.pth.tar"


def test_the_authors_network_comes_out_the_same(file, model, preset, tmp_path):
    import_checkpoint(file, GATED, preset, tmp_path / "imported")
    halved = {
        key: value.half().float() if value.is_floating_point() and "bn" not in key else value
        for key, value in model.state_dict().items()
    }
    model.load_state_dict(halved)
    x = torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(trained_model(tmp_path / "imported")(x), model(x))


def test_the_record_says_where_it_is_from(file, preset, tmp_path):
    folder, preset = tmp_path / "imported", changed(preset, training={"device_batch_size": 8})
    import_checkpoint(file, GATED, preset, folder)
    assert sorted(path.name for path in folder.iterdir()) == ["run.json", "weights.safetensors"]
    record = json.loads((folder / "run.json").read_text())
    assert set(record) == {
        *("step", "preset", "of", "settings", "inputs", "outputs", "code", "seal"),
        *("time", "commit", "versions", "machine"),
        *("num_classes", "data_folder", "data_source", "batch_size", "precision", "source", "checkpoint"),
    }
    assert (record["step"], record["preset"]) == ("import_checkpoint", "test")
    assert record["of"] == {"row": "pd_b_resnet18"}
    assert record["settings"] == {"data": preset.data.evaluated()}
    assert record["inputs"] == {"theirs.pth.tar": sha256(file)}
    assert record["outputs"] == {"weights.safetensors": sha256(folder / "weights.safetensors")}
    assert record["code"] == fingerprint("paradise.study.checkpoints", "paradise.models.pd_b")
    assert (record["num_classes"], record["batch_size"], record["precision"]) == (10, 8, "float32")
    assert (record["data_folder"], record["data_source"]) == (preset.data.folder, None)
    assert record["source"] == "authors' checkpoint"
    assert record["checkpoint"] == {
        "file": "theirs.pth.tar",
        "sha256": sha256(file),
        "entry": "state_dict",
        "arch": "resnet18",
        "epoch": 100,
        "best_prec1": pytest.approx(72.09),
    }
    assert run_of(read_run(folder)) == GATED


@pytest.mark.parametrize(
    "said", [[1], float("nan"), float("-inf"), 10**400, True, torch.ones(2), {"a": 1}, b"x", None], ids=repr
)
def test_what_a_checkpoint_says_of_itself_is_left_out_where_it_is_nonsense(file, preset, tmp_path, said):
    checkpoint = torch.load(file) | dict.fromkeys(("arch", "epoch", "best_prec1"), said)
    torch.save(checkpoint, file)
    import_checkpoint(file, GATED, preset, tmp_path / "imported")
    record = read_run(tmp_path / "imported")
    expected = {"file": file.name, "sha256": sha256(file), "entry": "state_dict"}
    assert record.checkpoint.model_dump(exclude_none=True) == expected


def test_it_is_fused_and_evaluated_like_a_run(file, preset, tmp_path):
    import_checkpoint(file, GATED, preset, tmp_path / "imported")
    write_fused(tmp_path / "imported")
    evaluate(tmp_path / "imported", 1)
    evaluation = json.loads((tmp_path / "imported" / "evaluation.json").read_text())
    assert evaluation["of"] == {"row": "pd_b_resnet18", "run": "imported"}
    assert evaluation["settings"] == {"data": preset.data.evaluated()}
    assert evaluation["images"] == 80
    assert evaluation["logits"]["relative"] < 1e-4


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_torchvisions_weights_are_taken_as_they_are(name, preset, tmp_path):
    """Those of the first releases count no batches."""
    model = scramble(create_model(name, 10)).eval()
    state = {key: value for key, value in model.state_dict().items() if "num_batches" not in key}
    torch.save(state, tmp_path / "resnet.pth")
    import_checkpoint(tmp_path / "resnet.pth", Run(Row.parse(name), None), preset, tmp_path / "imported")
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(trained_model(tmp_path / "imported")(x), model(x))


def test_weights_for_other_classes_than_the_data_are_not_evaluated(preset, tmp_path):
    torch.save(create_model("resnet18", 1000).state_dict(), tmp_path / "resnet.pth")
    import_checkpoint(tmp_path / "resnet.pth", RESNET18, preset, tmp_path / "imported")
    write_fused(tmp_path / "imported")
    with pytest.raises(UserError) as refused:
        evaluate(tmp_path / "imported", 1)
    assert str(refused.value) == (
        f"{tmp_path}/imported has weights for 1000 classes, {preset.data.folder} images of 10; "
        "evaluate it with the preset of its data"
    )


def quantised(tensor):
    return torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8)


def fill(key, value):
    return lambda state: state[key].fill_(value)


def recast(key, dtype):
    return lambda state: state.update({key: state[key].to(dtype)})


class Runs:
    def __reduce__(self):
        return os.system, ("touch executed",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"state_dict": {}, "arch": Runs()}, r"is refused: it wants to call (posix|os)\.system; only tensors"),
        ([1, 2], "is no checkpoint: it holds no dict of weights"),
        ({"state_dict": [1]}, "is no checkpoint: it holds no dict of weights"),
        ({"epoch": 3}, r"holds no weights of a ResNet \(no 'fc.weight'\)"),
        ({"fc.weight": torch.zeros(10, 512)}, r"is of another model: it lacks bn1\.bias, .* more keys"),
        (
            {"fc.weight": torch.zeros(1).expand(10**12, 512)},
            "'fc.weight' is of shape 1000000000000×512, more values than",
        ),
        (
            {"fc.weight": torch.zeros(10, 512, device="meta")},
            "'fc.weight' is of shape 10×512, more values than the file",
        ),
        (
            {"fc.weight": torch.eye(10, 512).to_sparse()},
            "'fc.weight' is a tensor of layout sparse_coo; save it by to_d",
        ),
        ({"fc.weight": torch.eye(10, 512).to_sparse_csr()}, "'fc.weight' is a tensor of layout sparse_csr"),
        (
            {"fc.weight": quantised(torch.ones(10, 512))},
            r"'fc.weight' is a quantised tensor; save it by dequantize\(\)",
        ),
        ({"fc.weight": torch.zeros(10, 512), 7: torch.zeros(1)}, "it has|7' is no name of a tensor"),
        ({"fc.weight": torch.zeros(10, 512), "a\nb": torch.zeros(1)}, r"lacks .* and has 'a\\nb'$"),
        ({"fc.weight": torch.zeros(10, 512), "ema": {"x": torch.zeros(1)}}, "'ema' is of type dict, no tensor"),
    ],
)
def test_what_is_no_checkpoint_is_refused(content, message, preset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(content, tmp_path / "bad.pth")
    with pytest.raises(UserError, match=message):
        import_checkpoint(tmp_path / "bad.pth", RESNET18, preset, tmp_path / "imported")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.pth"]


def test_a_bare_pickle_is_not_opened(preset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.pth.tar").write_bytes(pickle.dumps(Runs()))
    with pytest.raises(UserError, match=r"is refused|is damaged"):
        import_checkpoint(tmp_path / "bad.pth.tar", RESNET18, preset, tmp_path / "imported")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.pth.tar"]


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"hello"])
def test_a_damaged_file_is_refused(file, damage, preset, tmp_path):
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(UserError, match=r"is damaged or no checkpoint|is refused"):
        import_checkpoint(file, GATED, preset, tmp_path / "imported")
    assert not (tmp_path / "imported").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("module.layer1.0.conv1.ori_conv.weight"), r"it lacks layer1\.0\.conv1\.standard1"),
        (lambda state: state.update({"module.extra": torch.zeros(1)}), "it has extra"),
        (
            lambda state: state.update({"module.conv1.weight": torch.zeros(64, 3, 3, 3)}),
            r"other shapes of conv1\.weight",
        ),
        (lambda state: state.update({"module.bn1.weight": 3}), "'module.bn1.weight' is of type int, no tensor"),
        (lambda state: state.update({"bn1.weight": torch.zeros(64)}), "begin with 'module.', it has bn1.weight"),
        (
            lambda state: state.update({"module.layer1.0.conv1.standard1.conv.weight": torch.zeros(1)}),
            "twice, under two",
        ),
        (lambda state: state.update({"module.fc.weight": torch.tensor(1.0)}), r"other shapes of fc\.weight"),
        (lambda state: state.update({"module.fc.weight": torch.zeros(0, 512)}), r"other shapes of fc\.weight"),
        (lambda state: state.update({"module.fc.weight": torch.zeros(10**12, 0)}), r"other shapes of fc\.weight"),
        (lambda state: state.update({"module.fc.weight": torch.zeros(10**6, 1)}), r"other shapes of fc\.weight"),
        (
            lambda state: state.update({"module.fc.weight": torch.ones(1, 512), "module.fc.bias": torch.ones(1)}),
            "has one class; two or more can be told apart",
        ),
        (fill("module.fc.bias", math.nan), r"NaN or infinity in fc\.bias$"),
        (fill("module.bn1.running_mean", -math.inf), r"NaN or infinity in bn1\.running_mean$"),
        (fill("module.bn1.running_var", -1), r"a negative variance in bn1\.running_var$"),
        (fill("module.fc.weight", 0), "'fc.weight' is all zeros, so the network says the same of every image"),
        (fill("module.conv1.weight", 0), "'conv1.weight' is all zeros"),
        (
            lambda state: [value.fill_(math.nan) for value in state.values() if value.is_floating_point()],
            "483 more keys$",
        ),
        (recast("module.fc.bias", torch.float64), "numbers of type float64, which the model's float32 .* in fc.bias"),
        (recast("module.fc.bias", torch.int64), "numbers of type int64, which the model's float32 .* in fc.bias"),
        (recast("module.fc.bias", torch.complex64), "numbers of type complex64"),
        (recast("module.bn1.num_batches_tracked", torch.float32), "numbers of type float32, which the model's int64"),
    ],
)
def test_keys_that_do_not_fit_are_listed_and_nothing_is_written(file, change, message, preset, tmp_path):
    checkpoint = torch.load(file, weights_only=True)
    change(checkpoint["state_dict"])
    torch.save(checkpoint, file)
    with pytest.raises(UserError, match=message):
        import_checkpoint(file, GATED, preset, tmp_path / "imported")
    assert not (tmp_path / "imported").exists()


def test_a_missing_file_is_named(preset, tmp_path):
    with pytest.raises(UserError) as refused:
        import_checkpoint(tmp_path / "gone.pth", RESNET18, preset, tmp_path)
    assert str(refused.value) == f"no checkpoint at {tmp_path}/gone.pth"


def wrap(state, prefix):
    return {f"{prefix}{key}": value for key, value in state.items()}


SMALL = {
    key: torch.arange(4.0) + i for i, key in enumerate(("fc.weight", "fc.bias", "conv1.weight", "layer1.0.bn1.bias"))
}
WRAPPED = {
    "bare": lambda state: ("", state),
    "module": lambda state: ("", wrap(state, "module.")),
    "compiled": lambda state: ("", wrap(state, "_orig_mod.")),
    "both": lambda state: ("", wrap(state, "module._orig_mod.")),
    "compiled in parts": lambda state: ("", {key.replace("layer1.", "layer1._orig_mod."): state[key] for key in state}),
    "lightning": lambda state: (
        "state_dict",
        {"state_dict": wrap(state, "model."), "pytorch-lightning_version": "2.5"},
    ),
    "lightning, compiled": lambda state: ("state_dict", {"state_dict": wrap(state, "model._orig_mod."), "epoch": 3}),
    "model": lambda state: ("model", {"model": state, "optimizer": {"state": {0: {"step": torch.ones(())}}}}),
    "averaged": lambda state: ("model_ema", {"model_ema": {"n_averaged": torch.ones(())} | wrap(state, "module.")}),
    "deeper": lambda state: ("a.model.net", {"a": {"model": {"net": state}}}),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_what_is_wrapped_around_weights_is_taken_off(name):
    entry, checkpoint = WRAPPED[name](SMALL)
    found, state = find_weights(checkpoint, "x.pth")
    state = translate(without_wrappers(state, "x.pth"), "x.pth")
    assert found == entry and state.keys() == SMALL.keys()
    assert all(state[key] is SMALL[key] for key in SMALL)


@pytest.mark.parametrize(
    ("checkpoint", "message"),
    [
        (
            {"model": SMALL, "model_ema": SMALL},
            "x.pth holds weights in 'model' and 'model_ema'; save the ones that you mean",
        ),
        ({"state_dict": SMALL, "ema": {"model": SMALL}}, "holds weights in 'state_dict' and 'ema.model'"),
        (
            {"state_dict": wrap(SMALL, "model.") | wrap(SMALL, "ema.")},
            "several networks, .* begin with 'ema.', 'model.'",
        ),
        (SMALL | wrap(SMALL, "module."), "several networks, whose keys begin with '', 'module.'; keep one"),
        (wrap(SMALL, "teacher."), "its keys begin with 'teacher.', which is unknown; save it without that prefix"),
        (wrap(SMALL, "module.backbone."), "its keys begin with 'module.backbone.', which is unknown"),
        (wrap(SMALL, "model.") | {"loss.weight": torch.ones(1)}, "begin with 'model.', it has loss.weight"),
        (SMALL | {"_orig_mod.fc.bias": torch.ones(4)}, "has fc.bias twice, under two names"),
        ({"epoch": {"fc.weight": 3}}, "holds no weights of a ResNet"),
    ],
)
def test_what_could_be_other_weights_is_refused(checkpoint, message):
    with pytest.raises(UserError, match=message):
        translate(without_wrappers(find_weights(checkpoint, "x.pth")[1], "x.pth"), "x.pth")


PIECES = st.sampled_from(["module", "_orig_mod", "model", "ema", "fc", "weight", "state_dict", "layer1", "0"])
KEYS = st.one_of(st.lists(PIECES, max_size=3).map(".".join), st.text(max_size=3), st.integers(0, 3))
PREFIXES = st.lists(PIECES, max_size=3).map(lambda pieces: "".join(f"{piece}." for piece in pieces))
VALUES = st.one_of(st.none(), st.integers(), st.just(torch.ones(1)), st.just({"fc.weight": torch.ones(4)}))


@given(
    prefix=PREFIXES,
    entries=st.lists(st.text(max_size=3) | PIECES, max_size=3),
    inside=st.dictionaries(KEYS, VALUES, max_size=2),
    beside=st.dictionaries(KEYS, VALUES, max_size=2),
)
def test_of_any_checkpoint_exactly_its_weights_are_read_or_one_line_says_why_not(prefix, entries, inside, beside):
    checkpoint = inside | wrap(SMALL, prefix)
    for entry in entries:
        checkpoint = beside | {entry: checkpoint}
    try:
        state = translate(without_wrappers(find_weights(checkpoint, "x.pth")[1], "x.pth"), "x.pth")
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert all(state[key] is SMALL[key] for key in SMALL)
        assert all(isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in state.items())


def zipped(path, size, **options):
    with zipfile.ZipFile(path, "w", **options) as archive:
        archive.writestr("archive/data.pkl", b"0" * size)


def terabytes(path):
    header = json.dumps(
        {"fc.weight": {"dtype": "F32", "shape": [10**9, 512], "data_offsets": [0, 4 * 512 * 10**9]}}
    ).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(100))


def legacy_terabytes(path):
    """A checkpoint of the first PyTorch releases, whose storage claims another size than it has."""
    torch.save({"fc.weight": torch.zeros(1234)}, path, _use_new_zipfile_serialization=False)
    data, size = path.read_bytes(), struct.pack("<BH", ord("M"), 1234)
    assert size in data
    path.write_bytes(data.replace(size, b"\x8a\x06" + (10**13).to_bytes(6, "little")))


FILES = {
    "text.pth": (lambda path: path.write_text("weights\n"), "is refused|is damaged or no checkpoint"),
    "empty.pth": (lambda path: path.touch(), "is damaged or no checkpoint"),
    "folder.pth": (lambda path: path.mkdir(), "is no file"),
    "pipe.pth": (os.mkfifo, "is no file"),
    "bomb.pth": (
        lambda path: zipped(path, 10**7, compression=zipfile.ZIP_DEFLATED),
        "it unpacks to 10000000 bytes, more",
    ),
    "zip.pth": (lambda path: zipped(path, 10), "is damaged or no checkpoint"),
    "legacy.pth": (legacy_terabytes, "is damaged or no checkpoint"),
    "number.pth": (lambda path: torch.save(3, path), "it holds no dict of weights"),
    "terabytes.safetensors": (terabytes, "is damaged or no safetensors file"),
    "text.safetensors": (lambda path: path.write_text("weights\n"), "is damaged or no safetensors file"),
    "folder.safetensors": (lambda path: path.mkdir(), "is no file"),
}


@pytest.mark.parametrize("name", FILES)
def test_files_that_are_no_checkpoints(name, tmp_path):
    write, message = FILES[name]
    write(tmp_path / name)
    with pytest.raises(UserError, match=message) as refused:
        read_checkpoint(tmp_path / name)
    assert "\n" not in str(refused.value)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_in_one_line(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "any.pth"
    for start in (b"", b"\x80\x02"):
        path.write_bytes(start + data)
        try:
            read_checkpoint(path)
        except UserError as refused:
            assert "\n" not in str(refused)


def test_safetensors_and_what_torch_wrote_first_are_read(preset, tmp_path):
    model = scramble(create_model("resnet18", 10))
    save_file(model.state_dict(), tmp_path / "r.safetensors")
    torch.save(model.state_dict(), tmp_path / "r.pth", _use_new_zipfile_serialization=False)
    for file in ("r.safetensors", "r.pth"):
        import_checkpoint(tmp_path / file, RESNET18, preset, tmp_path / "imported")
        state = trained_model(tmp_path / "imported").state_dict()
        assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_what_it_says_of_itself_is_recorded_where_it_is_plain(preset, tmp_path):
    said = {"arch": [1], "epoch": 10**300, "best_prec1": torch.tensor(math.nan)}
    torch.save(said | {"state_dict": create_model("resnet18", 10).state_dict()}, tmp_path / "r.pth")
    import_checkpoint(tmp_path / "r.pth", RESNET18, preset, tmp_path / "imported")
    assert json.loads((tmp_path / "imported" / "run.json").read_text())["checkpoint"] == {
        "file": "r.pth",
        "sha256": sha256(tmp_path / "r.pth"),
        "entry": "state_dict",
    }


def test_weights_whose_outputs_are_no_numbers_are_not_evaluated(preset, tmp_path):
    """Each weight is a number; what they make of an image is none."""
    model = create_model("resnet18", 10)
    model.fc.weight.data.fill_(3e38)
    torch.save(model.state_dict(), tmp_path / "r.pth")
    import_checkpoint(tmp_path / "r.pth", RESNET18, preset, tmp_path / "imported")
    write_fused(tmp_path / "imported")
    with pytest.raises(UserError, match="evaluation: the trained form gives NaN or infinity"):
        evaluate(tmp_path / "imported", 1)
    assert sorted(path.suffix for path in (tmp_path / "imported").iterdir()) == [
        ".json",
        ".json",
        *[".safetensors"] * 2,
    ]


def test_the_command_says_it_in_one_line(tmp_path):
    (tmp_path / "bad.pth").write_text("weights")
    preset = REPOSITORY / "config" / "digits.yaml"
    done = run(
        *("paradise", "import-checkpoint", tmp_path / "bad.pth", "--model", "resnet18", "--preset", preset),
        *("--output", tmp_path / "o"),
        cwd=REPOSITORY,
        check=False,
    )
    assert done.returncode == 2 and len(done.stdout.splitlines()) == 1 and "bad.pth" in done.stdout
    assert not (tmp_path / "o").exists()
