"""`embed`: arguments and printing of what describes images without scoring them."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from bench.errors import Interrupted, UsageError


class Dtype(StrEnum):
    """Of the descriptors written."""

    float32 = "float32"
    float16 = "float16"


class Weights(StrEnum):
    """Trained parameters, or seeded random ones for tests of the harness."""

    pretrained = "pretrained"
    random = "random"


def embed(
    backbone: Annotated[str, typer.Option(help="One, as `run --backbones` takes it.")],
    images: Annotated[str, typer.Option(help="A folder, a dataset, .tar or .parquet files.")],
    output: Annotated[Path, typer.Option(help="Folder of descriptors, as clip-retrieval lays them out.")],
    descriptor: Annotated[str, typer.Option(help="global, local or local/HxW (averaged to a grid).")] = "global",
    dtype: Annotated[Dtype, typer.Option(help="Of the descriptors written.")] = Dtype.float32,
    preprocess: Annotated[str, typer.Option(help="See `list preprocess`.")] = "official",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda[:N] or mps.")] = "auto",
    batch_size: Annotated[int, typer.Option(min=1, help="Images per forward pass.")] = 32,
    workers: Annotated[int, typer.Option(min=1, help="Threads that decode images.")] = min(4, os.cpu_count() or 1),
    engine: Annotated[str, typer.Option(help="What describes images: local, ray or ray:HOST:PORT.")] = "local",
    seed: Annotated[int, typer.Option(help="Seed of random weights.")] = 0,
    weights: Annotated[Weights, typer.Option(help="random: tests the harness.")] = Weights.pretrained,
    weights_dir: Annotated[
        Path | None, typer.Option(help="Folder of weights brought by hand, under their published names.")
    ] = None,
    allow_code: Annotated[
        bool, typer.Option("--allow-code", help="Run TorchScript weights of which no hash was published.")
    ] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Download nothing.")] = False,
    plugin: Annotated[
        list[Path] | None, typer.Option("--plugin", help="Python file that registers backbones; repeatable.")
    ] = None,
) -> None:
    """Describe images and keep the descriptors; goes on where an earlier run of the same command stopped."""
    from bench import console, plugins, provenance
    from bench import embed as embedding
    from bench.describe import obtain
    from bench.descriptor import DescriptorKind
    from bench.engines import Engine
    from bench.memory import keep_freed_memory
    from bench.preprocess import Mode
    from bench.records import Config
    from bench.sources import images_of
    from bench.weights import Network, WeightsStore

    keep_freed_memory()
    for file in plugin or []:
        plugins.load_file(file)
    works = Engine.parse(engine)
    chosen = plugins.backbones.select(backbone)
    if len(chosen) > 1:
        raise UsageError(f"'{backbone}' is {len(chosen)} backbones: name one")
    if blocked := next((place for place in (output, *output.parents) if place.is_file()), None):
        raise UsageError(f"can't write to the folder {output}: {blocked} is a file; choose another --output")
    kind, source = DescriptorKind.parse(descriptor), images_of(images)
    config = Config(
        backbones=(chosen[0].item.name,),
        datasets=(source.identity,),
        similarities=(),
        weights=weights.value,
        seed=seed,
        device=provenance.resolve_device(device),
        batch_size=batch_size,
        preprocess=str(Mode.parse(preprocess)),
    )
    store = WeightsStore(Network(offline), weights_dir, allow_code)
    with works.connected() as cluster, console.counting("images") as progress:
        loading = obtain(chosen[0], config, store, cluster)
        try:
            n_images = embedding.embed(loading, source, output, kind, dtype.value, workers, progress)
        except KeyboardInterrupt:
            raise Interrupted("interrupted; whole shards are kept, and the same command goes on") from None
    console.out.print(f"{output} holds the {kind} descriptors of {n_images:,} images", soft_wrap=True)
