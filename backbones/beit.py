"""BEiT (Bao et al., ICLR 2022): masked images whose visual tokens are predicted, then fine-tuned with labels."""

from functools import partial
from typing import TYPE_CHECKING, Any

from backbones._checkpoint import State, without
from backbones._torch import TorchBackbone, gem_of_local, named, timm_module
from bench.errors import UsageError
from bench.interfaces import Backbone, Descriptors, Preprocess, Weights
from bench.plugins import register_backbone

if TYPE_CHECKING:
    from torch import Tensor

HALF = (0.5, 0.5, 0.5)
RELEASE = "https://github.com/addf400/files/releases/download/v1.0/beit_base_patch16_224_pt22k"

# variant -> end of timm's tag, end of the authors' file, the labels, 1e6 bytes
_TRAINED = {
    "": ("ft_in22k", "ft22k.pth", "ImageNet-22k", 414),
    "in1k": ("ft_in22k_in1k", "ft22kto1k.pth", "ImageNet-22k, then 1k", 350),
}


def _convert(state: State, module: Any) -> State:
    """From timm's checkpoint or the authors', whose names are the same, without its classifier and its constants."""
    trained: Any = state.get("model", state)
    kept = without(trained, "head.")
    return {key: value for key, value in kept.items() if not key.endswith("relative_position_index")}


def _describe(module: Any, batch: "Tensor") -> Descriptors:
    """The normalised mean of the patch tokens; local: the tokens, which this architecture does not normalise."""
    height, width = batch.shape[2:]
    if (height, width) != module.patch_embed.img_size:
        raise UsageError(
            f"BEiT reads images of 224 x 224, for which its table of relative positions is made, not {width} x "
            f"{height}: leave it out of this run, or use its official preprocessing without multiscale"
        )
    tokens = module.forward_features(batch)
    return Descriptors(module.forward_head(tokens), tokens[:, module.num_prefix_tokens :])


@register_backbone(groups=("extras",), variants=tuple(filter(None, _TRAINED)))
def beit(variant: str = "") -> Backbone:
    """BEiT ViT-B/16, 768-d, fine-tuned with labels (timm has none without): of ImageNet-22k, in1k of 1k after it."""
    tag, file, labels, megabytes = _TRAINED[variant]
    return TorchBackbone(
        name=named("beit", variant),
        arch="beit_base_patch16_224",
        embed_dim=768,
        preprocess=Preprocess(mean=HALF, std=HALF),
        weights=Weights(
            f"hub:timm/beit_base_patch16_224.in22k_{tag}/model.safetensors",
            licence="Apache-2.0",  # of the hub's file; the authors' repository is under MIT
            pretraining=f"ImageNet-22k, no labels; then labels of {labels}",
            citation="Bao et al., ICLR 2022, arXiv:2106.08254",
            megabytes=megabytes,
            mirrors=(f"{RELEASE}_{file}",),
        ),
        build=timm_module("beit_base_patch16_224"),
        convert=_convert,
        describe=_describe,
        pooled=partial(gem_of_local, _describe),
    )
