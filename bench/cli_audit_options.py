"""Options of an audit, which several commands share."""

from typing import Annotated

import typer

Backbones = Annotated[str, typer.Option(help="As `run` takes them; of no use for descriptors.")]
Similarities = Annotated[str, typer.Option(help="Several; see `list similarities`.")]
TopK = Annotated[int, typer.Option("--top-k", min=1, help="Training images kept of each generated one.")]
Thresholds = Annotated[
    str, typer.Option(help="What counts as a copy: above a NUMBER, fpr:RATE or precision:SHARE; commas between.")
]
Background = Annotated[int, typer.Option(min=2, help="Training images compared with their nearest other one.")]

#: Of the paper's candidates those that won, and its two similarities.
BACKBONES, SIMILARITIES = "sscd,dino,swin", "global,chunked@16"
