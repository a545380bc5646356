"""The network that is trained: a UNet of the diffusers library, as large as the resolution asks for."""

from collections.abc import Sequence
from math import gcd
from typing import Any

from bench.errors import UsageError
from bench.generate.extra import diffusers

#: Channels of each level by the largest resolution they are for; each level has half the side of the one before.
CHANNELS = {16: (32, 64), 32: (32, 64, 128), 64: (64, 128, 128, 256), 128: (64, 128, 128, 256, 256)}
OF_MORE = (64, 128, 128, 256, 256, 512)
#: Channels are normalised, and attended to, in groups of the largest number up to WIDEST that divides all of them.
WIDEST, NARROWEST = 32, 8
SMALL = 32  # up to this resolution a level has one layer, so that two cores of a CPU can train it


def channels_of(text: str | None, resolution: int) -> tuple[int, ...]:
    """The channels that `64,128,...` names, or those for the resolution.

    Raises UsageError where they are no such numbers, or the resolution can't be halved so often.
    """
    default = next((found for side, found in CHANNELS.items() if resolution <= side), OF_MORE)
    channels = default if text is None else _parsed(text)
    multiple = 2 ** (len(channels) - 1)
    if resolution % multiple:
        raise UsageError(
            f"--resolution {resolution} is no multiple of {multiple}, as {len(channels)} levels of channels need: "
            "choose one, or fewer --channels"
        )
    return channels


def network(resolution: int, channels: Sequence[int]) -> Any:
    """A UNet for RGB images, with random weights; its two lowest levels, the first aside, have attention."""
    levels = len(channels)
    attends = [level >= max(1, levels - 2) for level in range(levels)]
    together = gcd(*channels, WIDEST)
    return diffusers().UNet2DModel(
        sample_size=resolution,
        layers_per_block=1 if resolution <= SMALL else 2,
        block_out_channels=tuple(channels),
        norm_num_groups=together,
        attention_head_dim=together,
        down_block_types=tuple("AttnDownBlock2D" if attend else "DownBlock2D" for attend in attends),
        up_block_types=tuple("AttnUpBlock2D" if attend else "UpBlock2D" for attend in reversed(attends)),
    )


def _parsed(text: str) -> tuple[int, ...]:
    try:
        channels = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"the channels '{text}' are not numbers with commas between: write 64,128,256") from None
    if min(channels) < 1 or gcd(*channels, WIDEST) < NARROWEST:
        raise UsageError(f"the channels '{text}' are not multiples of {NARROWEST}: correct them")
    return channels
