"""`generate`: small diffusion models trained, killed, resumed and sampled, and every wrong call."""

import csv
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from click.testing import Result
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pyarrow import parquet
from typer.testing import CliRunner

from bench.cli import app
from bench.errors import BenchError, DatasetError, ImageError, UsageError, told
from bench.files import sha256_file
from bench.generate import captions, checkpoint
from bench.generate.subset import DrawnImages, TrainingReading, read
from bench.interfaces import ImageFile
from bench.plugins import datasets
from bench.sources import Listing, Source, images_of
from tests.conftest import ROOT

pytest.importorskip("diffusers", reason="the extra generate is not installed")

TINY = ("--resolution", 16, "--channels", "8,16", "--batch-size", 4, "--device", "cpu")
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other make such small networks slow; processes that are started have one, too."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def generate(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["generate", *map(str, arguments)])


def refused(*arguments: object) -> str:
    """The sentence of a call that is refused."""
    ran = generate(*arguments)
    assert isinstance(ran.exception, BenchError), ran.output + str(ran.exception)
    return str(ran.exception)


@pytest.fixture(scope="module")
def photographs(photo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 tiles of a photograph, two of them in a folder of their own."""
    folder = tmp_path_factory.mktemp("photographs")
    (folder / "deep").mkdir()
    image = Image.open(photo).convert("RGB")
    for number in range(12):
        left, top = 30 * number, 10 * number
        image.crop((left, top, left + 50, top + 40)).save(folder / ("deep" if number > 9 else "") / f"{number:02d}.png")
    return folder


@pytest.fixture(scope="module")
def model(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of six of them, hardly trained."""
    folder = tmp_path_factory.mktemp("models") / "model"
    ran = generate("train", "--images", photographs, "--subset", 6, "--steps", 12, *TINY, "--output", folder)
    assert ran.exit_code == 0, ran.output + str(ran.exception)
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def pictures(folder: Path) -> dict[str, bytes]:
    return {path.name: np.asarray(Image.open(path)).tobytes() for path in sorted(folder.glob("*.png"))}


# --- subsets -------------------------------------------------------------------------------------------------------


def nested(source: Source, n: int | None, seed: int, side: int = 8) -> DrawnImages:
    """Images drawn from a source, as squares of some pixels."""
    return read(source, n, seed, TrainingReading(side, 1), lambda done, total: None)


@given(
    names=st.lists(st.text("abc/", min_size=1), min_size=1, max_size=30, unique=True),
    numbers=st.data(),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=50, deadline=None)
def test_small_subsets_are_part_of_large_ones(names: list[str], numbers: st.DataObject, seed: int, photo: Path) -> None:
    images = [ImageFile(name, photo) for name in names]
    few, many = sorted(numbers.draw(st.tuples(*[st.integers(1, len(names))] * 2)))
    drawn = [nested(Source("here", lambda: Listing(images)), n, seed, 2).images for n in (few, many, None)]
    assert [len(part) for part in drawn] == [few, many, len(names)]
    assert drawn[0] == drawn[1][:few] and drawn[1] == drawn[2][:many] and set(drawn[2]) == set(images)
    # nor does it matter in which order the images are listed
    assert nested(Source("here", lambda: Listing(images[::-1])), few, seed, 2).images == drawn[0]


def test_other_seeds_draw_other_subsets(photographs: Path) -> None:
    source = images_of(str(photographs))
    assert len({nested(source, 6, seed).images for seed in range(8)}) == 8


def test_the_list_of_a_subset_is_read_back(photographs: Path, model: Path) -> None:
    subset = nested(images_of(str(photographs)), 6, 0)
    listed = images_of(str(model / "training.csv")).images
    assert [(image.id, image.path.resolve()) for image in listed] == [
        (image.id, image.path.resolve()) for image in subset.images
    ]
    assert [row["sha256"] for row in rows(model / "training.csv")] == [sha256_file(i.path) for i in subset.images]


def test_an_audit_takes_the_list(model: Path, photographs: Path, tmp_path: Path) -> None:
    sides = ["--generated", str(photographs), "--training", str(model / "training.csv"), "--backbones", "dhash"]
    options = ["--similarities", "global", "--top-k", "1", "--threshold", "0.999", "--output", str(tmp_path / "out")]
    ran = CliRunner().invoke(app, ["audit", *sides, *options])
    assert ran.exit_code == 0, ran.output + str(ran.exception)
    (told,) = json.loads((tmp_path / "out/summary.json").read_text())["verdicts"]
    assert (told["n_training"], told["n_generated"], told["above"][0]["generated"]["k"]) == (6, 12, 6)


@pytest.mark.parametrize("form", ["flowers102:{}", "flowers102:{}/flowers-102"])
def test_flowers102_in_the_layout_of_torchvision(form: str, photographs: Path, tmp_path: Path) -> None:
    from scipy.io import savemat

    folder = tmp_path / "flowers-102"
    (folder / "jpg").mkdir(parents=True)
    for number in range(1, 7):
        Image.open(photographs / f"{number:02d}.png").save(folder / f"jpg/image_{number:05d}.jpg")
    savemat(folder / "imagelabels.mat", {"labels": np.array([[77, 77, 1, 2, 2, 1]], np.uint8)})
    found = nested(images_of(form.format(tmp_path)), 4, 0)
    assert len(found.images) == 4 and found.source == f"flowers102:{form.format(tmp_path).partition(':')[2]}"
    split = datasets.select(form.format(tmp_path))[0].item.load()
    assert [part.tolist() for part in split.ground_truth.positives] == [[1], [0], [5], [4], [3], [2]]
    (folder / "jpg/image_00003.jpg").unlink()
    with pytest.raises(DatasetError, match=r"lacks .*image_00003.jpg \(see .*imagelabels.mat, by its number\)"):
        _ = images_of(form.format(tmp_path)).images
    (folder / "imagelabels.mat").write_bytes(b"no labels")
    with pytest.raises(DatasetError, match="is no MATLAB file with labels"):
        _ = images_of(form.format(tmp_path)).images


def test_celeba_in_the_layout_of_torchvision(photographs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "celeba"
    (folder / "img_align_celeba").mkdir(parents=True)
    for number in range(1, 4):
        Image.open(photographs / f"{number:02d}.png").save(folder / f"img_align_celeba/{number:06d}.jpg")
    persons = folder / "identity_CelebA.txt"
    persons.write_text("000001.jpg 2880\n000002.jpg 5\n000003.jpg 2880\n")
    assert {image.id for image in nested(images_of(f"celeba:{tmp_path}"), 3, 0).images} == {
        f"{number:06d}.jpg" for number in range(1, 4)
    }
    split = datasets.select(f"celeba:{tmp_path}")[0].item.load()
    assert [part.tolist() for part in split.ground_truth.positives] == [[2], [], [0]]
    persons.write_text("000001.jpg\n")
    with pytest.raises(DatasetError, match="line 1: it is not an image and the number of a person"):
        _ = images_of(f"celeba:{tmp_path}").images
    persons.unlink()
    with pytest.raises(DatasetError, match="get it from https://mmlab"):
        _ = images_of(f"celeba:{tmp_path}").images


@pytest.mark.parametrize("name", ["flowers102", "celeba"])
def test_datasets_that_are_not_here_are_not_downloaded(name: str, tmp_path: Path) -> None:
    wanted = ("train", "--images", f"{name}:{tmp_path / 'nowhere'}", "--steps", 1, "--output", tmp_path / "out")
    assert f"the dataset {name} is not here: " in refused(*wanted)
    assert list(tmp_path.iterdir()) == []


def test_lists_that_are_wrong(model: Path, photographs: Path, tmp_path: Path) -> None:
    table = tmp_path / "list.csv"

    def problem(text: str, spec: str = "") -> str:
        table.write_text(text)
        with pytest.raises(BenchError) as raised:
            _ = images_of(spec or str(table)).images
        return str(raised.value)

    image = photographs / "00.png"
    assert "has no column 'path': name that of the paths as list.csv#COLUMN" in problem(f"file\n{image}\n")
    assert "has two images 'a'" in problem(f"id,path\na,{image}\na,{image}\n")
    assert "is not the one in" in problem(f"path,sha256\n{image},{'0' * 64}\n")
    assert "holds no images" in problem("path\n")
    assert "there is no such file" in problem("", str(tmp_path / "nowhere.csv"))
    table.write_text(f"file\n{image}\n")
    assert [found.path for found in images_of(f"{table}#file").images] == [image]


def test_an_image_that_cannot_be_read_makes_room_for_the_next(photographs: Path, tmp_path: Path) -> None:
    everything = nested(images_of(str(photographs)), None, 3)
    lost = everything.images[1]
    copy = tmp_path / "copy"
    shutil.copytree(photographs, copy)
    (copy / lost.id).write_bytes((copy / lost.id).read_bytes()[:60])
    left = [image.id for image in everything.images if image.id != lost.id]
    for n in (1, 2, 4, None):
        found = nested(images_of(str(copy)), n, 3)
        assert [image.id for image in found.images] == left[:n] and len(found.pixels) == len(found.images)
        assert set(found.left_out.unreadable) == (set() if n == 1 else {lost.id})
    with pytest.raises(UsageError, match=rf"but .* holds {len(left)} images that can be read"):
        nested(images_of(str(copy)), len(left) + 1, 3)
    with pytest.raises(ImageError, match=lost.id):
        read(images_of(str(copy)), 2, 3, TrainingReading(8, 1, strict=True), lambda done, total: None)


def test_pixels_are_those_of_the_scaled_centre(photographs: Path) -> None:
    image = ImageFile("a", photographs / "03.png")
    (made,) = nested(Source("one", lambda: Listing([image])), 1, 0).pixels
    whole = Image.open(image.path)
    expected = whole.resize((10, 8), Image.Resampling.BICUBIC).crop((1, 0, 9, 8))
    assert np.array_equal(made.permute(1, 2, 0).numpy(), np.asarray(expected))


# --- training ------------------------------------------------------------------------------------------------------


def test_the_folder_is_a_pipeline_of_diffusers(model: Path) -> None:
    import diffusers

    pipeline = diffusers.DDPMPipeline.from_pretrained(model, use_safetensors=True)
    assert pipeline.unet.config.sample_size == 16 and tuple(pipeline.unet.config.block_out_channels) == (8, 16)
    told = json.loads((model / "train.json").read_text())
    assert (told["subset"], told["steps"], told["warmup"], told["precision"]) == (6, 12, 1, "fp32")
    assert told["begun_by"]["packages"]["diffusers"] == diffusers.__version__
    assert not (model / "checkpoint.pt").exists() and not list(model.glob(".making*"))


def test_the_loss_falls(photographs: Path) -> None:
    from bench.generate.learner import Learner, Settings

    drawn = nested(images_of(str(photographs)), 2, 0, 16)
    wanted = Settings(16, (8, 16), 80, 8, 2e-3, "cosine", 5, True, False, 0, "cpu", "fp32")
    learner = Learner(wanted, drawn.pixels)
    losses = [learner.step(number) for number in range(80)]
    assert np.mean(losses[-20:]) < 0.5 * np.mean(losses[:10])


def test_every_step_draws_other_noise(photographs: Path) -> None:
    from bench.generate.learner import Learner, Settings

    wanted = Settings(16, (8, 16), 5, 1, 0.0, "constant", 0, False, False, 0, "cpu", "fp32")
    learner = Learner(wanted, nested(images_of(str(photographs)), 1, 0, 16).pixels)
    assert len({learner.step(number) for number in range(5)}) == 5 and learner.step(2) == learner.step(2)


def test_every_image_is_used_as_often_as_the_others() -> None:
    from bench.generate.learner import rows_of

    used = [row for number in range(7) for row in rows_of(number, 4, 7, seed=3).tolist()]
    laps = [used[first : first + 7] for first in range(0, 28, 7)]
    assert all(sorted(lap) == list(range(7)) for lap in laps) and len(set(map(tuple, laps))) > 1
    assert rows_of(0, 30, 7, seed=3).tolist()[:28] == used  # whatever the size of a batch


def test_a_killed_training_goes_on_to_the_same_weights(photographs: Path, tmp_path: Path) -> None:
    wanted = ("train", "--images", photographs, "--subset", 5, "--steps", 40, *TINY)
    wanted = (*wanted, "--checkpoint-every", 4, "--flip", "--schedule", "cosine")
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    command = [sys.executable, "-m", "bench", "generate", *map(str, (*wanted, "--output", killed))]
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"})
    seen: set[int] = set()
    while process.poll() is None and len(seen) < 3:
        seen |= {path.stat().st_mtime_ns for path in killed.glob("checkpoint.pt")}
        time.sleep(0.001)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not (killed / "model_index.json").exists()
    (killed / ".checkpoint.pt.x.tmp").write_text("half")
    time.sleep(1)  # TensorBoard reads its files in the order of the second they are named by
    ran = generate(*wanted, "--output", killed)
    assert ran.exit_code == 0 and "holds the model, trained on 5 images" in ran.output, ran.output
    assert generate(*wanted, "--output", whole).exit_code == 0
    assert (killed / WEIGHTS).read_bytes() == (whole / WEIGHTS).read_bytes()
    assert {path.name for path in killed.iterdir()} == {path.name for path in whole.iterdir()}
    assert losses(killed) == losses(whole) and [step for step, _ in losses(whole)] == list(range(1, 41))
    weights = (killed / WEIGHTS).read_bytes()
    assert "already held the model" in generate(*wanted, "--output", killed).output
    assert (killed / WEIGHTS).read_bytes() == weights


def losses(folder: Path) -> list[tuple[int, float]]:
    """As TensorBoard shows them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = EventAccumulator(str(folder / "tensorboard")).Reload()
    return [(event.step, event.value) for event in log.Scalars("loss")]


def test_average_and_weights_differ_and_follow_the_seed(model: Path, photographs: Path, tmp_path: Path) -> None:
    found = {sha256_file(model / WEIGHTS)}
    for number, options in enumerate((["--no-ema"], ["--seed", 1], ["--flip"], ["--subset", 5], [])):
        options = ["--images", photographs, "--subset", 6, "--steps", 12, *TINY, *options]
        assert generate("train", *options, "--output", tmp_path / str(number)).exit_code == 0
        found.add(sha256_file(tmp_path / str(number) / WEIGHTS))
    assert len(found) == 5


def test_another_configuration_is_refused(model: Path, photographs: Path, tmp_path: Path) -> None:
    def why(*options: object, images: Path = photographs) -> str:
        return refused("train", "--images", images, "--subset", 6, *TINY, *options, "--output", model)

    assert "belongs to another run (steps was 12, now 20; warmup was 1, now 2)" in why("--steps", 20)
    assert "batch_size was 4, now 3" in why("--steps", 12, "--batch-size", 3)
    changed = tmp_path / "changed"
    changed.mkdir()
    for path in photographs.rglob("*.png"):
        (changed / path.relative_to(photographs)).parent.mkdir(exist_ok=True)
        Image.open(path).rotate(180).save(changed / path.relative_to(photographs))
    assert "training_sha256 was" in why("--steps", 12, images=changed)


def test_wrong_trainings_are_one_sentence(photographs: Path, tmp_path: Path) -> None:
    def why(*options: object, images: object = photographs, output: Path = tmp_path / "out") -> str:
        return refused("train", "--images", images, "--steps", 5, *TINY, "--output", output, *options)

    assert "--subset is 13, but" in (sentence := why("--subset", 13))
    assert "holds 12 images that can be read: lower it" in sentence
    assert "no multiple of 4, as 3 levels of channels need" in why("--resolution", 18, "--channels", "8,8,8")
    assert "the channels 'many' are not numbers" in why("--channels", "many")
    assert "the channels '8,12' are not multiples of 8" in why("--channels", "8,12")
    assert "the precision bf16 is for a GPU, and the device is cpu" in why("--precision", "bf16")
    assert "there is no device 'cuda:7'" in why("--device", "cuda:7")
    assert "is no folder" in why(images=tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "holds no images" in why(images=tmp_path / "empty")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/a.png").write_text("no image")
    assert "bad/a.png can't be read" in why(images=tmp_path / "bad")
    assert not (tmp_path / "out").exists()
    assert "is not empty and has no train.json: choose another --output" in why(output=photographs)
    assert f"{photographs / '00.png'} is a file" in why(output=photographs / "00.png" / "deep")
    assert "the loss of step " in why("--learning-rate", 1e30)


def test_a_folder_is_written_by_one_process(photographs: Path, model: Path, tmp_path: Path) -> None:
    from filelock import FileLock

    wanted = ("train", "--images", photographs, "--subset", 6, "--steps", 12, *TINY, "--output", model)
    with FileLock(model / ".lock"):
        assert "another process is writing to" in refused(*wanted)


def test_a_damaged_checkpoint_is_told(photographs: Path, tmp_path: Path) -> None:
    wanted = ("train", "--images", photographs, "--steps", 5, *TINY, "--learning-rate", 1e30, "--output", tmp_path)
    assert "the loss of step " in refused(*wanted)
    (tmp_path / checkpoint.NAME).write_bytes(b"PK\x03\x04 half")
    sentence = refused(*wanted)
    assert "checkpoint.pt can't be read" in sentence and "delete it, and the training begins again" in sentence


def test_a_checkpoint_runs_nothing(tmp_path: Path) -> None:
    import torch

    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (tmp_path / "ran",)

    torch.save({"step": Evil()}, tmp_path / "checkpoint.pt")
    with pytest.raises(BenchError, match="can't be read"):
        checkpoint.load(tmp_path / "checkpoint.pt", {}, "cpu")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(("limit", "file"), [(60_000, "."), (30_000, "checkpoint.pt")])
def test_a_full_disk_is_told(limit: int, file: str, photographs: Path, tmp_path: Path) -> None:
    """Files can't grow above a limit, which the system tells as it tells of a full disk."""
    out = tmp_path / "out"
    every = 3 if file == "checkpoint.pt" else 9
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        ran = generate(
            "train", "--images", photographs, "--steps", 3, "--checkpoint-every", every, *TINY, "--output", out
        )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert isinstance(ran.exception, OSError)
    assert told(ran.exception) == f"File too large: {out / file}; mend this and run the same command again"
    assert {path.name for path in out.iterdir()} == {".lock", "train.json", "training.csv", "tensorboard"}


# --- sampling ------------------------------------------------------------------------------------------------------


def sampled(model: Path, output: Path, *options: object, count: int = 5) -> dict[str, bytes]:
    """The pictures that a call leaves."""
    wanted = ("--model", model, "--count", count, "--inference-steps", 4, "--device", "cpu", *options)
    ran = generate("sample", *wanted, "--output", output)
    assert ran.exit_code == 0, ran.output + str(ran.exception)
    return pictures(output)


def alike(a: dict[str, bytes], b: dict[str, bytes]) -> bool:
    """Equal but for the rounding of the last bit: sums of batches of other sizes run in another order."""
    levels = [np.frombuffer(b"".join(part.values()), np.uint8).astype(int) for part in (a, b)]
    return list(a) == list(b) and int(np.abs(levels[0] - levels[1]).max()) <= 1


@pytest.mark.parametrize("scheduler", ["ddim", "ddpm", "own"])
def test_an_image_follows_from_its_seed_alone(scheduler: str, model: Path, tmp_path: Path) -> None:
    found = sampled(model, tmp_path / "a", "--scheduler", scheduler, "--seed", 7, "--batch-size", 5)
    assert list(found) == [f"{seed:08d}.png" for seed in range(7, 12)] and len(set(found.values())) == 5
    assert alike(found, sampled(model, tmp_path / "b", "--scheduler", scheduler, "--seed", 7, "--batch-size", 2))
    later = sampled(model, tmp_path / "c", "--scheduler", scheduler, "--seed", 10, count=2)
    assert alike({name: found[name] for name in later}, later)


def test_the_manifest_tells_of_each_image(model: Path, tmp_path: Path) -> None:
    found = sampled(model, tmp_path, "--seed", 3, count=3)
    told = rows(tmp_path / "manifest.csv")
    assert [row["file"] for row in told] == list(found) and [row["seed"] for row in told] == ["3", "4", "5"]
    assert {tuple(row[name] for name in ("caption", "withheld", "scheduler", "steps", "guidance")) for row in told} == {
        ("", "False", "DDIMScheduler", "4", "")
    }
    assert {row["model"] for row in told} == {str(model)}
    assert {Image.open(tmp_path / name).size for name in found} == {(16, 16)}


def test_sampling_goes_on_after_a_kill(model: Path, tmp_path: Path) -> None:
    whole = sampled(model, tmp_path / "whole", "--batch-size", 2)
    output = tmp_path / "killed"
    wanted = ("--model", model, "--count", 5, "--inference-steps", 4, "--device", "cpu", "--batch-size", 2)
    command = [sys.executable, "-m", "bench", "generate", "sample", *map(str, (*wanted, "--output", output))]
    process = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"})
    while process.poll() is None and not (output / "00000002.png").exists():
        time.sleep(0.001)
    process.kill()
    process.wait()
    (output / ".00000003.png.x.tmp").write_bytes(b"half")
    (output / "00000001.png").unlink(missing_ok=True)
    ran = generate("sample", *wanted, "--output", output)
    assert ran.exit_code == 0 and "holds 5 images, " in ran.output
    assert pictures(output) == whole and not list(output.glob(".*.tmp"))
    assert (output / "manifest.csv").read_text() == (tmp_path / "whole/manifest.csv").read_text()
    assert "holds 5 images, 0 of them made now" in generate("sample", *wanted, "--output", output).output


def test_samples_of_another_configuration_are_refused(model: Path, photographs: Path, tmp_path: Path) -> None:
    sampled(model, tmp_path / "out", count=1)
    wanted = ("sample", "--model", model, "--count", 1, "--device", "cpu", "--output", tmp_path / "out")
    assert "(steps was 4, now 6)" in refused(*wanted, "--inference-steps", 6)
    assert "(scheduler was ddim, now ddpm)" in refused(*wanted, "--inference-steps", 4, "--scheduler", "ddpm")
    # a model that was trained otherwise since, in the same folder
    moved = model.rename(tmp_path / "moved")
    trained = ("train", "--images", photographs, "--subset", 6, "--steps", 2, *TINY, "--output", model)
    assert generate(*trained).exit_code == 0
    sentence = refused(*wanted, "--inference-steps", 4)
    shutil.rmtree(model)
    moved.rename(model)
    assert "belongs to another run (model_sha256 was" in sentence
    assert "is not empty and has no sample.json" in refused(*wanted[:-1], photographs)


@pytest.fixture(scope="module")
def of_captions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Text-to-image with random weights, in the form in which diffusers stores it."""
    return tiny_stable_diffusion(tmp_path_factory.mktemp("stable"), checker=False)


def tiny_stable_diffusion(folder: Path, checker: bool) -> Path:
    """With a safety checker, which withholds everything, or without."""
    import diffusers
    import torch
    from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(0)
    (folder / "vocab.json").write_text('{"<|startoftext|>": 0, "<|endoftext|>": 1, "a</w>": 2, "b</w>": 3}')
    (folder / "merges.txt").write_text("#version: 0.2\n")
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**sizes, "vocab_size": 4, "max_position_embeddings": 8, "bos_token_id": 0, "eos_token_id": 1}
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    safety = None
    if checker:
        vision = {**sizes, "image_size": 8, "patch_size": 4}
        safety = StableDiffusionSafetyChecker(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8))
        safety.concept_embeds_weights.fill_(-2)  # below every cosine
    pipeline = diffusers.StableDiffusionPipeline(
        vae=diffusers.AutoencoderKL(block_out_channels=(4,) * 2, norm_num_groups=2, **blocks),
        text_encoder=CLIPTextModel(CLIPTextConfig(**text)),
        tokenizer=CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=8),
        unet=diffusers.UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(8, 16),
            layers_per_block=1,
            norm_num_groups=4,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=8,
            attention_head_dim=4,
        ),
        scheduler=diffusers.PNDMScheduler(skip_prk_steps=True, steps_offset=1),
        safety_checker=safety,
        feature_extractor=CLIPImageProcessor(size={"shortest_edge": 8}, crop_size=8) if checker else None,
        requires_safety_checker=checker,
    )
    pipeline.save_pretrained(folder / "model")
    return folder / "model"


def test_images_of_captions(of_captions: Path, tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text("a\n\nb b\na b a b\n")
    pairs = ("--batch-size", 2)
    options = (*pairs, "--captions", tmp_path / "c.txt")
    found = sampled(of_captions, tmp_path / "a", *options, count=3)
    told = rows(tmp_path / "a/manifest.csv")
    assert [row["caption"] for row in told] == ["a", "b b", "a b a b"]
    assert {(row["guidance"], row["scheduler"]) for row in told} == {("7.5", "DDIMScheduler")}
    assert alike(found, sampled(of_captions, tmp_path / "b", *options, "--batch-size", 3, count=3))
    # each picture is that of its own caption, and of how far it is followed
    (tmp_path / "other.txt").write_text("a\nb\na b a b\n")
    other = sampled(
        of_captions, tmp_path / "c", *pairs, "--captions", tmp_path / "other.txt", "--guidance", 7.5, count=3
    )
    assert [found[name] != other[name] for name in found] == [False, True, False]
    stronger = sampled(of_captions, tmp_path / "d", *options, "--guidance", 30, count=3)
    assert all(found[name] != stronger[name] for name in found)
    assert {row["guidance"] for row in rows(tmp_path / "d/manifest.csv")} == {"30"}
    own = sampled(of_captions, tmp_path / "e", *options, "--scheduler", "own", count=3)
    assert {row["scheduler"] for row in rows(tmp_path / "e/manifest.csv")} == {"PNDMScheduler"} and own != found


def test_what_the_safety_checker_withholds_is_told(tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text("a\nb\n")
    (tmp_path / "stable").mkdir()
    model = tiny_stable_diffusion(tmp_path / "stable", checker=True)
    wanted = (
        "--model",
        model,
        "--count",
        2,
        "--inference-steps",
        2,
        "--captions",
        tmp_path / "c.txt",
        "--device",
        "cpu",
    )
    ran = generate("sample", *wanted, "--output", tmp_path / "out")
    assert "2 of them are black: the model's safety checker withheld them" in ran.output, ran.output
    assert [row["withheld"] for row in rows(tmp_path / "out/manifest.csv")] == ["True", "True"]
    assert not any(map(any, pictures(tmp_path / "out").values()))
    assert "2 of them are black" in generate("sample", *wanted, "--output", tmp_path / "out").output


def test_wrong_samplings_are_one_sentence(
    model: Path, of_captions: Path, photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def why(chosen: object, *options: object) -> str:
        wanted = ("sample", "--model", chosen, "--count", 2, "--inference-steps", 2, "--device", "cpu")
        return refused(*wanted, "--output", tmp_path / "out", *options)

    (tmp_path / "c.txt").write_text("a\nb\n")
    assert "takes no captions: leave out --captions" in why(model, "--captions", tmp_path / "c.txt")
    assert "makes images of captions: give it some by --captions FILE" in why(of_captions)
    assert "takes no guidance: leave out --guidance" in why(model, "--guidance", 3)
    assert "has no model_index.json, so it is no model" in why(photographs)
    assert "the precision fp16 is for a GPU" in why(model, "--precision", "fp16")
    damaged = tmp_path / "damaged"
    shutil.copytree(model, damaged)
    (damaged / WEIGHTS).write_bytes(b"half")
    assert "damaged' can't be loaded (" in why(damaged)
    (damaged / WEIGHTS).unlink()
    assert "damaged' can't be loaded (" in why(damaged)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "is no folder, and the hub does not give it (" in why("nobody/nothing")
    assert not (tmp_path / "out").exists()


def test_weights_are_read_as_safetensors_alone(model: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    shutil.copytree(model, tmp_path / "pickled")
    torch.save(load_file(model / WEIGHTS), tmp_path / "pickled/unet/diffusion_pytorch_model.bin")
    (tmp_path / "pickled" / WEIGHTS).unlink()
    sentence = refused("sample", "--model", tmp_path / "pickled", "--count", 1, "--output", tmp_path / "out")
    assert "pickled' can't be loaded (" in sentence


def test_code_that_comes_with_a_model_is_not_run(model: Path, tmp_path: Path) -> None:
    shutil.copytree(model, tmp_path / "mine")
    index = json.loads((model / "model_index.json").read_text())
    (tmp_path / "mine/model_index.json").write_text(json.dumps(index | {"unet": ["code", "UNet2DModel"]}))
    ran = tmp_path / "ran"
    code = f"open({str(ran)!r}, 'w')\nfrom diffusers import UNet2DModel\n"
    (tmp_path / "mine/unet/code.py").write_text(code)
    sentence = refused("sample", "--model", tmp_path / "mine", "--count", 1, "--output", tmp_path / "out")
    assert "carries code, which is not run: take" in sentence and "code.py out of it" in sentence
    assert not ran.exists()


def test_pipelines_of_something_else_are_refused(model: Path, tmp_path: Path) -> None:
    import diffusers

    unet = diffusers.UNet2DModel.from_pretrained(model, subfolder="unet")
    transformer = diffusers.DiTTransformer2DModel(
        num_attention_heads=1, attention_head_dim=8, in_channels=4, num_layers=1, sample_size=4, norm_num_groups=4
    )
    vae = diffusers.AutoencoderKL(block_out_channels=(4,), norm_num_groups=2)
    diffusers.DiTPipeline(transformer, vae, diffusers.DDIMScheduler()).save_pretrained(tmp_path / "dit")
    wanted = ("--count", 1, "--device", "cpu", "--output", tmp_path / "out")
    assert "is a DiTPipeline, which asks for class_labels" in refused("sample", "--model", tmp_path / "dit", *wanted)
    diffusers.DDPMPipeline(unet, diffusers.FlowMatchEulerDiscreteScheduler()).save_pretrained(tmp_path / "flow")
    sentence = refused("sample", "--model", tmp_path / "flow", *wanted)
    assert "is sampled by FlowMatchEulerDiscreteScheduler, which DDIMScheduler can't replace" in sentence


# --- captions ------------------------------------------------------------------------------------------------------

HUNDRED = [f"caption {number}" for number in range(100)]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same hundred captions in every form."""
    folder = tmp_path_factory.mktemp("captions")
    table = pa.table({"URL": ["there"] * 102, "TEXT": [*HUNDRED[:50], None, " ", *HUNDRED[50:]], "n": range(102)})
    parquet.write_table(table, folder / "laion.parquet", row_group_size=7)
    with (folder / "c.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["id", "caption"], *([n, text] for n, text in enumerate([*HUNDRED, ""]))])
    (folder / "c.txt").write_text("\n".join(["", *HUNDRED, ""]))
    return folder


@pytest.mark.parametrize("name", ["laion.parquet", "laion.parquet#TEXT", "c.csv", "c.csv#caption", "c.txt"])
def test_captions_are_drawn_by_the_seed(name: str, written: Path) -> None:
    spec = str(written / name)
    assert captions.chosen(spec, 100, 5) == HUNDRED
    drawn = captions.chosen(spec, 9, 5)
    assert len(set(drawn)) == 9 and set(drawn) < set(HUNDRED) and drawn != HUNDRED[:9]
    assert drawn == captions.chosen(str(written / "c.txt"), 9, 5) != captions.chosen(spec, 9, 6)
    assert captions.chosen(spec, 30, 5)[:9] == drawn


def test_captions_stay_as_they_are(tmp_path: Path) -> None:
    told = ["null", "NA", 'a "quoted", one', "two\nlines", "1.5", " ünï "]
    with (tmp_path / "c.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([["caption"], *([text] for text in told)])
    assert captions.chosen(str(tmp_path / "c.csv"), 6, 0) == told


def test_wrong_captions_are_one_sentence(written: Path, tmp_path: Path) -> None:
    def why(spec: Path | str, n: int = 1) -> str:
        with pytest.raises(UsageError) as raised:
            captions.chosen(str(spec), n, 0)
        return str(raised.value)

    assert "has no column 'words' of captions: name one of URL, TEXT as laion.parquet#COLUMN" in why(
        f"{written}/laion.parquet#words"
    )
    assert "has no column 'words' of captions: name one of id, caption as c.csv#COLUMN" in why(f"{written}/c.csv#words")
    assert "--count is 101, but" in (sentence := why(written / "c.txt", 101)) and "holds 100 captions" in sentence
    assert "has no columns: leave out #caption" in why(f"{written}/c.txt#caption")
    assert "there is no file of captions" in why(tmp_path / "nowhere.csv")
    (tmp_path / "c.json").write_text("[]")
    assert "are no .parquet, .csv or .txt file" in why(tmp_path / "c.json")
    parquet.write_table(pa.table({"n": [1]}), tmp_path / "n.parquet")
    assert "no column of captions with a usual name: none of its columns is text" in why(tmp_path / "n.parquet")
    for name in ("bad.parquet", "empty.csv", "latin.txt"):
        (tmp_path / name).write_bytes({"latin.txt": b"\xff\xfe\xfa"}.get(name, b""))
        assert f"{name} can't be read (" in why(tmp_path / name)


def test_without_its_packages(photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    for wanted in (("train", "--images", photographs, "--steps", 1), ("sample", "--model", "m", "--count", 1)):
        sentence = refused(*wanted, "--output", tmp_path / "out")
        assert sentence == "`generate` needs the package diffusers: pip install 'descriptor-bench[generate]'"
