"""What is read as a checkpoint and what is refused: never code, never a part, never another network's."""

import argparse
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from backbones._checkpoint import read_state
from backbones._script import output_of_script, read_script
from bench.errors import CheckpointError
from tests.checkpoints import State, backbone, batch, headless, resnet, vit_state, written

TRAINING = {
    "model": {"weight": torch.arange(3.0)},
    "args": argparse.Namespace(arch="vit_base", lr=np.float64(1.5e-4), resume=None),
    "best": np.float32(0.75),
    "epoch": np.int64(300),
    "distributed": np.bool_(True),
}


def with_numpys_old_names(path: Path) -> Path:
    """The same archive as numpy before 2.0 wrote it."""
    old = path.with_name("old.pth")
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(old, "w") as target:
        for entry in source.infolist():
            target.writestr(entry, source.read(entry).replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    return old


@pytest.mark.parametrize("form", [lambda path: path, with_numpys_old_names])
def test_settings_and_numbers_of_a_training_are_read(form: Callable[[Path], Path], tmp_path: Path) -> None:
    state = read_state(form(written(TRAINING, tmp_path / "checkpoint.pth")))
    assert torch.equal(state["model"]["weight"], torch.arange(3.0))  # type: ignore[index]
    assert {key: state[key] for key in list(TRAINING)[1:]} == {key: TRAINING[key] for key in list(TRAINING)[1:]}


class Printing:
    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("code was run",))


class Executing:
    def __reduce__(self) -> tuple[object, ...]:
        return (np.frombuffer, (b"1234",))


@pytest.mark.parametrize(("code", "called"), [(Printing(), "print"), (Executing(), "numpy.frombuffer")])
@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pickle_is_never_run(
    code: object, called: str, zipped: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "evil.pth"
    torch.save({"conv1.weight": code, "args": TRAINING["args"]}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=rf"evil.pth is not a checkpoint without code \(it calls {called}\)"):
        backbone("vicregl").load("cpu", path)
    assert "code was run" not in capsys.readouterr().out


WEB_PAGE = b"\n<!DOCTYPE html>\n<html><title>404: not found</title></html>"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", ""),
        (WEB_PAGE, "it is a web page"),
        (b"<HTML><body>Sign in</body></HTML>", "it is a web page"),
        (b"PK\x03\x04 cut short", "it is cut short"),
        (b"\x10\x00\x00\x00\x00\x00\x00\x00{", ""),
    ],
)
@pytest.mark.parametrize("name", ["file.pth", "file.safetensors"])
def test_what_is_no_checkpoint_is_refused(content: bytes, told: str, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"{name} is not a .*{told}.*: download it again$") as error:
        backbone("vicregl").load("cpu", tmp_path / name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors"])
@pytest.mark.parametrize("kept", [0.02, 0.6, 0.999])
def test_a_part_of_a_file_is_refused(form: str, kept: float, tmp_path: Path) -> None:
    state = {f"layer{number}.weight": torch.ones(40, 40) for number in range(9)}
    path = tmp_path / ("file.safetensors" if form == "safetensors" else "file.pth")
    if form == "legacy":
        torch.save(state, path, _use_new_zipfile_serialization=False)
    else:
        written(state, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(CheckpointError, match=path.name):
        read_state(path)


def test_other_contents_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"list.pth holds a list, not parameters by name"):
        read_state(written([torch.ones(1)], tmp_path / "list.pth"))
    torch.jit.script(nn.Linear(1, 1)).save(tmp_path / "program.pth")
    with pytest.raises(CheckpointError, match=r"program.pth is not .*it is a TorchScript program"):
        read_state(tmp_path / "program.pth")


def resnet_state() -> State:
    return dict(headless(resnet()[1]))


def vit_s() -> State:
    return dict(headless(vit_state("vit_small_patch16_224")))


@pytest.mark.parametrize(
    ("name", "checkpoint", "file", "told"),
    [
        ("vicregl", lambda: {**resnet_state(), "extra": torch.ones(1)}, "a.pth", "it has unknown extra$"),
        (
            "vicregl",
            lambda: {**resnet_state(), "bn1.bias": torch.ones(3)},
            "a.safetensors",
            r"has of another shape bn1.bias \(3, not 64\)$",
        ),
        (
            "vicregl",
            lambda: {k: v for k, v in resnet_state().items() if not k.startswith("layer4.2.conv")},
            "a.safetensors",
            "it lacks layer4.2.conv1.weight, layer4.2.conv2.weight, layer4.2.conv3.weight$",
        ),
        ("vicregl", lambda: {"epoch": 3, "state_dict": resnet_state()}, "a.pth", "has unknown epoch, state_dict$"),
        ("resnet50", vit_s, "a.pth", "lacks conv1.weight.* has unknown cls_token"),
        ("swin", resnet_state, "a.pth", "lacks patch_embed.proj.weight.* has unknown conv1.weight"),
        ("sscd", resnet_state, "a.pth", "lacks projection.weight, projection.bias$"),
        ("multigrain", resnet_state, "a.pth", "is not the checkpoint of multigrain from http.*no 'model_state', but"),
        ("mocov3:vits", vit_s, "a.pth", "is not the checkpoint of mocov3:vits from http.*no 'state_dict', but"),
        ("mocov3:vits", lambda: {"state_dict": vit_s()}, "a.pth", "lacks cls_token, .* and 145 more$"),
        # another patch: nothing is resampled to fit
        ("dino:vits8", vit_s, "a.safetensors", r"of another shape pos_embed \(1 x 197 x 384, not 1 x 785 x 384\)"),
        ("clip:vitb32", vit_s, "pytorch_model.bin", "no 'visual.class_embedding', but cls_token"),
    ],
)
def test_another_networks_checkpoint_is_refused(
    name: str, checkpoint: Callable[[], State], file: str, told: str, tmp_path: Path
) -> None:
    path = written(checkpoint(), tmp_path / file)
    with pytest.raises(CheckpointError, match=told) as error:
        backbone(name).load("cpu", path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


# --- programs


class Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


class Labels(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1).argmax(1)


@pytest.mark.parametrize(
    ("program", "told"),
    [
        (Pair(), r"gave a tuple, not one tensor \[images, D\]"),
        (Labels(), r"gave torch.int64 of shape \[2\] for 2 images"),
        (nn.Conv2d(3, 4, 3), r"gave torch.float32 of shape \[2, 4, 6, 6\] for 2 images"),
        (nn.Flatten(0, 2), r"of shape \[48, 8\] for 2 images"),
    ],
)
def test_programs_that_describe_no_images_are_refused(program: nn.Module, told: str, tmp_path: Path) -> None:
    torch.jit.script(program).save(tmp_path / "program.pt")
    with pytest.raises(CheckpointError, match=told):
        output_of_script(read_script(tmp_path / "program.pt"), batch(8))


@pytest.mark.parametrize("content", [b"", WEB_PAGE, b"PK\x03\x04 cut short"])
def test_what_is_no_program_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "sscd_disc_large.torchscript.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"torchscript.pt is not a TorchScript archive .* or download it again$"):
        backbone("sscd:disc_large").load("cpu", path)
    written({"weight": torch.ones(1)}, path)
    with pytest.raises(CheckpointError, match=r"torchscript.pt is not a TorchScript archive"):
        backbone("sscd:disc_large").load("cpu", path)
