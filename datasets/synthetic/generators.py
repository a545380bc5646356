"""The five kinds of synthetic copies, for `make synthetic --kind`; how each is composed stands in `_kinds`."""

from bench.interfaces import Generator
from bench.plugins import register_generator
from datasets.synthetic import _kinds
from datasets.synthetic._make import Synthetic

PAINTING = frozenset({"painter"})


@register_generator(groups=())
def cutmix() -> Generator:
    """A box of the original in another image."""
    return Synthetic("cutmix", "a random box of an original in another image", _kinds.cutmix, frozenset())


@register_generator(groups=())
def segmix() -> Generator:
    """The original's object in another image."""
    uses = frozenset({"masks", "level"})
    return Synthetic("segmix", "an original's object, cut out by its mask, in another image", _kinds.segmix, uses)


@register_generator(groups=())
def outpaint_diagonal() -> Generator:
    """The half above a diagonal."""
    told = "the half of an original above a diagonal, the rest painted anew"
    return Synthetic("outpaint_diagonal", told, _kinds.outpaint_diagonal, PAINTING)


@register_generator(groups=())
def outpaint_patch() -> Generator:
    """A patch of the original."""
    told = "a patch of an original, the rest painted anew"
    return Synthetic("outpaint_patch", told, _kinds.outpaint_patch, PAINTING)


@register_generator(groups=())
def inpaint() -> Generator:
    """All of the original but a region."""
    return Synthetic("inpaint", "an original with a region painted anew", _kinds.inpaint, PAINTING)
