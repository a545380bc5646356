"""`embed`: arguments and printing of what describes images without scoring them."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from bench.cli_options import (
    WORKERS,
    AllowCode,
    Alpha,
    AlphaChoice,
    BatchSize,
    Colour,
    ColourChoice,
    Device,
    EngineChoice,
    Offline,
    Plugins,
    Strict,
    WeightsChoice,
    WeightsDir,
    Workers,
    load_plugins,
)
from bench.errors import Interrupted, UsageError


class Dtype(StrEnum):
    """Of the descriptors written."""

    float32 = "float32"
    float16 = "float16"


def embed(
    backbone: Annotated[str, typer.Option(help="One, as `run --backbones` takes it.")],
    images: Annotated[str, typer.Option(help="A folder, a dataset, a list.csv, .tar[.gz] or .parquet files.")],
    output: Annotated[Path, typer.Option(help="Folder of descriptors, as clip-retrieval lays them out.")],
    descriptor: Annotated[str, typer.Option(help="global, local or local/HxW (averaged to a grid).")] = "global",
    dtype: Annotated[Dtype, typer.Option(help="Of the descriptors written.")] = Dtype.float32,
    preprocess: Annotated[str, typer.Option(help="See `list preprocess`.")] = "official",
    alpha: Alpha = AlphaChoice.white,
    colour: Colour = ColourChoice.ignored,
    strict: Strict = False,
    device: Device = "auto",
    batch_size: BatchSize = 32,
    workers: Workers = WORKERS,
    engine: EngineChoice = "local",
    seed: Annotated[int, typer.Option(help="Seed of random weights.")] = 0,
    weights: Annotated[WeightsChoice, typer.Option(help="random: tests the harness.")] = WeightsChoice.pretrained,
    weights_dir: WeightsDir = None,
    allow_code: AllowCode = False,
    offline: Offline = False,
    plugin: Plugins = None,
) -> None:
    """Describe images and keep the descriptors; goes on where an earlier run of the same command stopped."""
    from bench import console, plugins, provenance
    from bench import embed as embedding
    from bench.data.unreadable import sentences
    from bench.describe import obtain
    from bench.descriptor import DescriptorKind
    from bench.descriptors.fill import How
    from bench.engines import Engine
    from bench.memory import keep_freed_memory
    from bench.preprocess import Mode
    from bench.records import Config
    from bench.sources import images_of
    from bench.weights import Network, WeightsStore

    keep_freed_memory()
    load_plugins(plugin)
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
        alpha=alpha.value,
        colour=colour.value,
    )
    store = WeightsStore(Network(offline), weights_dir, allow_code)
    with (
        console.counting_warnings(output, keeps=True),
        works.connected() as cluster,
        console.counting("images") as progress,
    ):
        loading = obtain(chosen[0], config, store, cluster)
        try:
            how = How(workers, lambda done: progress(done, len(source.images)), strict)
            made = embedding.embed(loading, source, output, kind, dtype.value, how)
        except KeyboardInterrupt:
            raise Interrupted("interrupted; whole shards are kept, and the same command goes on") from None
    console.out.print(f"{output} holds the {kind} descriptors of {made.n_images:,} images", soft_wrap=True)
    for line in (*sentences("images", made.left_out), *(f"written: {path}" for path in made.lists)):
        console.out.print(line, soft_wrap=True)
