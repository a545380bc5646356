"""`datasets`: arguments and printing of what looks after datasets."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Look after datasets.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _several() -> None:
    """Look after datasets."""


@app.command()
def verify(
    names: Annotated[str, typer.Argument(help="Names, groups, globs, as `run --datasets` takes them.")],
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    plugin: Annotated[
        list[Path] | None, typer.Option("--plugin", help="Python file that registers datasets; repeatable.")
    ] = None,
) -> None:
    """Count and hash what is here, and name what is missing or not as published."""
    from bench import console, plugins
    from bench import verify as verifying

    for file in plugin or []:
        plugins.load_file(file)
    found = [verifying.verify(chosen.item) for chosen in plugins.datasets.select(names)]
    if as_json:
        print(json.dumps([asdict(result) for result in found], indent=2))
    else:
        console.print_verified(found)
    if any(result.state != "complete" for result in found):
        raise typer.Exit(3)
