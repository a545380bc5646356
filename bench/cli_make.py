"""`make`: arguments and printing of what makes data sets."""

import os
from pathlib import Path
from typing import Annotated

import typer

from bench.cli_options import Strict
from bench.errors import Interrupted, UsageError

app = typer.Typer(help="Make a data set of images.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _several() -> None:
    """Make a data set of images."""


@app.command()
def synthetic(
    source: Annotated[str, typer.Option(help="Images to copy: a folder, a dataset, .tar or .parquet files.")],
    kind: Annotated[str, typer.Option(help="See `list generators`.")],
    output: Annotated[Path, typer.Option(help="New folder; read it by `run --datasets pairs:DIR`.")],
    backgrounds: Annotated[
        str | None, typer.Option(help="Other images to paste into.  [default: some of the source, not in the database]")
    ] = None,
    queries: Annotated[
        int | None, typer.Option(min=2, help="For each area, with and without a match.  [default: one an original]")
    ] = None,
    distractors: Annotated[
        int | None, typer.Option(min=1, help="Database images that no query copies.  [default: what is left]")
    ] = None,
    unmatched: Annotated[float, typer.Option(help="Share of the queries that have no match.")] = 0.2,
    size: Annotated[int, typer.Option(min=16, max=8192, help="Long side of every image, in pixels.")] = 512,
    seed: Annotated[int, typer.Option(help="Seed of every choice.")] = 0,
    painter: Annotated[
        str | None, typer.Option(help="opencv, opencv:ns, blend or diffusion:MODEL.  [default: opencv]")
    ] = None,
    masks: Annotated[
        str | None, typer.Option(help="Of objects: a folder, a Pascal VOC folder, a COCO .json file, or alpha.")
    ] = None,
    level: Annotated[str | None, typer.Option(help="hard: the pasted object is changed as well.")] = None,
    area: Annotated[str, typer.Option(help="Shares of the query that are copied, such as 0.1,0.5,0.9.")] = "",
    feather: Annotated[int, typer.Option(min=0, help="Width of the ramp at a seam, in pixels.")] = 0,
    jpeg: Annotated[int, typer.Option(min=1, max=100, help="Quality of every image written.")] = 90,
    workers: Annotated[int, typer.Option(min=1, help="Threads.")] = os.cpu_count() or 1,
    strict: Strict = False,
    plugin: Annotated[
        list[Path] | None, typer.Option("--plugin", help="Python file that registers kinds; repeatable.")
    ] = None,
) -> None:
    """Copies of a part of each image, with distractors and queries without a match."""
    from bench import console, plugins
    from bench.data.readable import readable
    from bench.data.unreadable import LeftOut, sentences, write_left_out
    from bench.files import whole_folder
    from bench.interfaces import Recipe
    from bench.sources import images_of

    for file in plugin or []:
        plugins.load_file(file)
    chosen = plugins.generators.select(kind)
    if len(chosen) > 1:
        raise UsageError(f"'{kind}' is {len(chosen)} kinds of synthetic copies: name one")
    if output.exists():
        raise UsageError(f"there is already {output}: name a new folder, or delete it")
    if blocked := next((place for place in output.parents if place.is_file()), None):
        raise UsageError(f"can't make the folder {output}: {blocked} is a file; name another --output")
    recipe = Recipe(
        queries, distractors, unmatched, size, seed, painter, masks, level, _areas(area), feather, jpeg, workers
    )
    sources = {"source": images_of(source), **({"backgrounds": images_of(backgrounds)} if backgrounds else {})}
    with console.counting_warnings(output), console.counting("images") as progress:
        try:
            read = {name: readable(of, size, workers, strict, progress) for name, of in sources.items()}
            left_out = {name: LeftOut(of.unreadable, {}, of.skipped) for name, of in read.items()}
            with whole_folder(output) as folder:
                chosen[0].item.make(read["source"], read.get("backgrounds"), folder, recipe, progress)
                write_left_out(folder, left_out)
        except KeyboardInterrupt:
            raise Interrupted("interrupted; nothing was kept") from None
    for line in (line for side, of in left_out.items() for line in sentences(side, of)):
        console.out.print(line, soft_wrap=True)
    console.out.print(f"written: {output}; `run --datasets pairs:{output}` scores backbones on it", soft_wrap=True)


def _areas(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise UsageError(f"the areas '{text}' are not numbers between 0 and 1 with commas between") from None
