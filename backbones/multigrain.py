"""MultiGrain (Berman et al. 2019): one embedding for classes and instances."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from backbones._checkpoint import State, nested, under
from backbones._torch import Describe, TorchBackbone, cells_of_map, gem, gem_of_map, named, timm_module
from bench.interfaces import Backbone, Descriptors, Preprocess, Weights
from bench.plugins import register_backbone

if TYPE_CHECKING:
    from torch import Tensor, nn

INITIAL_P = 3.0
NORM_EPS = 1e-6


def _build() -> "nn.Module":
    import torch

    module = timm_module("resnet50")()
    module.register_buffer("gem_p", torch.tensor(INITIAL_P))
    return module


def _build_whitened() -> "nn.Module":
    import torch

    module = _build()
    module.register_buffer("pca_m", torch.zeros(2049))
    module.register_buffer("pca_P", torch.eye(2049))
    return module


def _convert(state: State, module: Any) -> State:
    # {"model_state": ...} with features.*, pool.p and a classifier that is not used here
    trained = nested(state, "model_state")
    return {**under(trained, "features."), "gem_p": trained["pool.p"].reshape(())}


def _convert_whitened(state: State, module: Any) -> State:
    pca = under(nested(state, "model_state"), "whitening.pca.")
    if not pca:
        raise KeyError(
            "it has no whitening.pca.*, as none of the published weights has: the authors' scripts/whiten.py adds it"
        )
    return {**_convert(state, module), **pca}


def _trained(module: Any, batch: "Tensor") -> Descriptors:
    """The generalised mean over the last map with the trained exponent; local: the cells of the map."""
    return gem_of_map(float(module.gem_p))(module, batch)


def _whiten(module: Any, pooled: "Tensor") -> "Tensor":
    """([x, 1] / |[x, 1]| - m) P: the bias channel, norm and whitening of the authors' networks, 2049-d."""
    from torch.nn.functional import pad

    extended = pad(pooled, (0, 1), value=1.0)
    normed = extended / (extended.norm(dim=1, keepdim=True) + NORM_EPS)
    whitened: Tensor = (normed - module.pca_m) @ module.pca_P
    return whitened


def _trained_whitened(module: Any, batch: "Tensor") -> Descriptors:
    return _whitened(float(module.gem_p))(module, batch)


def _whitened(p: float) -> Describe:
    def describe(module: Any, batch: "Tensor") -> Descriptors:
        cells = cells_of_map(module, batch)
        return Descriptors(_whiten(module, gem(cells, p)), cells)

    return describe


def _plain(name: str, weights: Weights) -> Backbone:
    return TorchBackbone(
        name=name,
        arch="resnet50",
        embed_dim=2048,
        preprocess=Preprocess(interpolation="bilinear"),
        weights=weights,
        build=_build,
        convert=_convert,
        describe=_trained,
        pooled=gem_of_map,
        channels_last=True,
    )


def _with_whitening(name: str, weights: Weights) -> Backbone:
    return TorchBackbone(
        name=name,
        arch="resnet50",
        embed_dim=2049,
        preprocess=Preprocess(size=571, crop=500, interpolation="bilinear"),
        weights=weights,
        build=_build_whitened,
        convert=_convert_whitened,
        describe=_trained_whitened,
        pooled=_whitened,
        channels_last=True,
    )


@dataclass(frozen=True)
class Trained:
    """A training, where its file is from and about how large that is, and the backbone that is made of it."""

    source: str
    megabytes: float | None = 102.4
    make: Callable[[str, Weights], Backbone] = _plain


_PUBLISHED = "https://dl.fbaipublicfiles.com/multigrain/multigrain_models"
_TRAINED = {
    "": Trained(f"{_PUBLISHED}/joint_3B_0.5.pth"),
    "joint_3BAA_0.5": Trained(f"{_PUBLISHED}/joint_3BAA_0.5.pth"),
    "whitened": Trained("file:joint_3B_0.5_whitened.pth", None, _with_whitening),
}


@register_backbone(groups=("candidates",), variants=tuple(filter(None, _TRAINED)))
def multigrain(variant: str = "") -> Backbone:
    """MultiGrain ResNet-50, lambda 0.5, GeM with the trained exponent, not whitened, 2048-d.

    joint_3BAA_0.5 was trained with AutoAugment. whitened, 2049-d, is what the paper retrieves with, at 500 pixels; the
    authors publish no whitening, but their code makes one from images that one has:
    `python scripts/whiten.py --resume-from joint_3B_0.5.pth --input-size 500 --input-crop square --expdir EXPDIR`.
    Its checkpoint_0.pth is to be called joint_3B_0.5_whitened.pth.
    """
    trained = _TRAINED[variant]
    weights = Weights(
        trained.source,
        licence="CC-BY-NC-4.0",
        pretraining="ImageNet-1k, labels and instances",
        citation="Berman et al. 2019, arXiv:1902.05509",
        megabytes=trained.megabytes,
    )
    return trained.make(named("multigrain", variant), weights)
