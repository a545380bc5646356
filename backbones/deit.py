"""DeiT (Touvron et al., ICML 2021): a vision transformer trained on ImageNet-1k alone."""

from backbones._torch import named
from backbones._vit import vision_transformer
from bench.interfaces import Backbone, Preprocess, Weights
from bench.plugins import register_backbone

# variant -> size in the architecture's name, dimension, 1e6 bytes, hash in the name of the authors' file
_TRAINED = {"": ("base", 768, 346, "b5f2ef4d"), "small": ("small", 384, 88, "cd65a155")}


@register_backbone(groups=("extras",), variants=tuple(filter(None, _TRAINED)))
def deit(variant: str = "") -> Backbone:
    """DeiT-B/16, not distilled, 768-d; small is the DeiT-S/16, 384-d."""
    size, dimension, megabytes, digest = _TRAINED[variant]
    arch = f"deit_{size}_patch16_224"
    weights = Weights(
        f"hub:timm/{arch}.fb_in1k/model.safetensors",
        licence="Apache-2.0",
        pretraining="ImageNet-1k, labels",
        citation="Touvron et al., ICML 2021, arXiv:2012.12877",
        megabytes=megabytes,
        mirrors=(f"https://dl.fbaipublicfiles.com/deit/{arch}-{digest}.pth",),
    )
    return vision_transformer(named("deit", variant), Preprocess(), weights, arch, dimension)
