import pickle

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file

from detaux.backbones import build_backbone
from detaux.backbones.pretrained import load_pretrained
from detaux.config.schema import MultitaskConfig
from detaux.errors import UserError
from detaux.multitask.networks.hard_sharing import HardSharingNetwork

KEY = "multitask.pretrained"


def build_donor(library, name):
    """A published model, made by the library's own constructor; its weights and batch statistics are drawn here.

    The classifier of VGG16, 500 MB, stays without values."""
    with torch.device("meta" if name.startswith("vgg") else "cpu"):
        model = torchvision.models.get_model(name, weights=None) if library == "torchvision" else None
        model = model or timm.create_model(name, pretrained=False)
    if name.startswith("vgg"):
        model.features.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)
    for value in model.state_dict().values():
        if value.is_floating_point() and not value.is_meta:
            value.copy_(0.1 * torch.rand(value.shape, generator=generator) + (0.9 if value.dim() == 1 else -0.05))
    return model.eval()


def list_weights(model):
    """Its state dict; what has no values is one zero."""
    return {name: torch.zeros(1) if value.is_meta else value for name, value in model.state_dict().items()}


def save(state, path):
    if path.suffix == ".safetensors":
        save_file({name: value.contiguous() for name, value in state.items()}, path)
    else:
        torch.save(state, path)
    return str(path)


def load(name, file, side=32):
    """A backbone with the weights of a file. VGG16, which takes seconds to draw, has NaN for weights before."""
    with torch.device("meta" if name.startswith("vgg") else "cpu"):
        backbone = build_backbone(name, side)
    if name.startswith("vgg"):
        backbone.to_empty(device="cpu")
        for parameter in backbone.parameters():
            torch.nn.init.constant_(parameter, torch.nan)
    load_pretrained(backbone, name, file, KEY)
    return backbone.eval()


@pytest.mark.parametrize(
    ("name", "library", "suffix"),
    [
        ("resnet18", "torchvision", ".pth"),
        ("resnet18", "torchvision", ".safetensors"),
        ("resnet18", "timm", ".pth"),
        ("resnet18", "timm", ".safetensors"),
        ("vgg16", "torchvision", ".pth"),
        ("vgg16", "timm", ".safetensors"),
        ("vgg16_bn", "torchvision", ".safetensors"),
        ("hrnet_w18_small_v2", "timm", ".safetensors"),
        pytest.param("hrnet_w18", "timm", ".pth", marks=pytest.mark.slow),
    ],
)
def test_backbone_with_a_published_file_gives_the_donors_maps_of_normalised_images(name, library, suffix, tmp_path):
    donor = build_donor(library, name)
    backbone = load(name, save(list_weights(donor), tmp_path / f"weights{suffix}"))
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    normalize = torchvision.transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    with torch.no_grad():
        *_, maps = backbone.iterate_maps(images)
        inputs = normalize(images)
        if name.startswith("vgg"):
            expected = donor.features(inputs)
        elif name.startswith("hrnet"):
            for layer in ("conv1", "bn1", "act1", "conv2", "bn2", "act2"):
                inputs = getattr(donor, layer)(inputs)
            *_, expected = donor.stages(inputs)
        else:
            layers = ("conv1", "bn1", "relu" if library == "torchvision" else "act1", "maxpool")
            expected = inputs
            for layer in (*layers, "layer1", "layer2", "layer3", "layer4"):
                expected = getattr(donor, layer)(expected)
    torch.testing.assert_close(maps, expected)


@pytest.mark.slow
@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_whole_published_vgg16_is_loaded(library, tmp_path):
    donor = torchvision.models.vgg16(weights=None) if library == "torchvision" else timm.create_model("vgg16")
    backbone = load("vgg16", save(donor.state_dict(), tmp_path / "weights.pth"))
    for ours, theirs in zip(backbone.parameters(), donor.features.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_file_from_before_batches_were_counted_is_loaded(tmp_path):
    state = build_donor("torchvision", "resnet18").state_dict()
    old = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    backbone = load("resnet18", save(old, tmp_path / "old.pth"))
    assert torch.equal(backbone.body.layer4[1].bn2.running_var, state["layer4.1.bn2.running_var"])


def test_small_cnn_takes_its_own_weights_and_normalises_nothing(tmp_path):
    torch.manual_seed(0)
    donor = build_backbone("small_cnn", 32).eval()
    backbone = load("small_cnn", save(donor.body.state_dict(), tmp_path / "own.safetensors"))
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(backbone(images), donor(images))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda state: state.pop("layer2.0.conv1.weight"), "it lacks layer2.0.conv1.weight"),
        (
            lambda state: state.update({"layer1.0.conv1.weight": torch.zeros(64, 64, 1, 1)}),
            r"layer1.0.conv1.weight has shape \[64, 64, 1, 1\], and \[64, 64, 3, 3\] is needed",
        ),
        (lambda state: state.update({"layer5.weight": torch.zeros(1)}), "it also holds layer5.weight"),
    ],
)
def test_file_that_does_not_fit_is_refused_with_the_first_key_that_differs(change, fault, tmp_path):
    state = dict(torchvision.models.resnet18(weights=None).state_dict())
    change(state)
    with pytest.raises(UserError, match=f"{KEY}=.*wrong.pth does not fit resnet18: {fault}"):
        load("resnet18", save(state, tmp_path / "wrong.pth"))


@pytest.mark.parametrize(
    ("name", "other", "fault"),
    [
        ("vgg16", "resnet18", "it lacks features.0.weight"),
        ("resnet18", "vgg16", "it lacks conv1.weight"),
        ("vgg16_bn", "vgg16", "it lacks features.1.weight"),
        ("resnet18", "resnet34", "it also holds layer1.2.conv1.weight"),
        ("small_cnn", "resnet18", "it lacks 0.weight"),
        ("hrnet_w18_small_v2", "resnet18", "conv1.weight has shape"),
    ],
)
def test_weights_of_another_network_are_refused(name, other, fault, tmp_path):
    file = save(list_weights(build_donor("torchvision", other)), tmp_path / "other.pth")
    with pytest.raises(UserError, match=f"does not fit {name}: {fault}"):
        load(name, file)


def test_missing_and_damaged_files_are_refused(tmp_path):
    with pytest.raises(UserError, match=f"{KEY}=.*none.pth does not exist"):
        load("small_cnn", str(tmp_path / "none.pth"))
    file = tmp_path / "cut.pth"
    save(build_backbone("small_cnn", 32).body.state_dict(), file)
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(UserError, match=r"cut.pth is no file of tensors by torch.save, or is cut short"):
        load("small_cnn", str(file))


def test_pickle_of_anything_but_tensors_is_refused_and_not_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (tmp_path / "run").touch, ()

    (tmp_path / "bomb.pth").write_bytes(pickle.dumps({"0.weight": Bomb()}, protocol=2))
    torch.save({"state_dict": {"0.weight": torch.zeros(1)}}, tmp_path / "nested.pth")
    with pytest.raises(UserError, match="bomb.pth"):
        load("small_cnn", str(tmp_path / "bomb.pth"))
    assert not (tmp_path / "run").exists()
    with pytest.raises(UserError, match="holds 'state_dict', which is no tensor"):
        load("small_cnn", str(tmp_path / "nested.pth"))


def test_network_keeps_the_normalisation_in_its_weights_and_only_when_pretrained(tmp_path):
    file = save(torchvision.models.resnet18(weights=None).state_dict(), tmp_path / "weights.pth")
    plain = HardSharingNetwork(MultitaskConfig(backbone="resnet18"), 32, [2]).state_dict()
    pretrained = HardSharingNetwork(MultitaskConfig(backbone="resnet18", pretrained=file), 32, [2]).state_dict()
    assert set(pretrained) - set(plain) == {"backbone.mean", "backbone.std"}
    assert pretrained["backbone.mean"].flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
