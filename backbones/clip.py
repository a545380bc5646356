"""CLIP (Radford et al., ICML 2021): images matched with captions."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from backbones._checkpoint import State
from backbones._torch import TorchBackbone, timm_module
from bench.interfaces import Backbone, Descriptors, Preprocess, Weights
from bench.plugins import register_backbone

if TYPE_CHECKING:
    from torch import Tensor

SHA256 = "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f"


def _read(path: Path) -> State:
    """The state of OpenAI's TorchScript archive: it carries code, which is why its hash is pinned."""
    import torch

    archive: Any = torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]
    return {key: value.float() for key, value in archive.state_dict().items()}


def _convert(state: State, module: Any) -> State:
    from timm.models.vision_transformer import checkpoint_filter_fn

    converted: State = checkpoint_filter_fn(dict(state), module)
    return converted


def _describe(module: Any, batch: "Tensor") -> Descriptors:
    """The projected class token, as `encode_image`; local: patch tokens after the final norm, not projected."""
    tokens = module.forward_features(batch)
    return Descriptors(module.forward_head(tokens), tokens[:, 1:])


@register_backbone(groups=("candidates",))
def clip() -> Backbone:
    """CLIP ViT-B/16's image encoder, 512-d. QuickGELU: the plain architecture takes the weights and is wrong."""
    return TorchBackbone(
        name="clip",
        arch="vit_base_patch16_clip_quickgelu_224",
        embed_dim=512,
        preprocess=Preprocess(
            size=224, mean=(0.48145466, 0.4578275, 0.40821073), std=(0.26862954, 0.26130258, 0.27577711)
        ),
        weights=Weights(
            f"https://openaipublic.azureedge.net/clip/models/{SHA256}/ViT-B-16.pt",
            licence="MIT",
            pretraining="WIT-400M, image-caption pairs",
            sha256=SHA256,
        ),
        build=timm_module("vit_base_patch16_clip_quickgelu_224", num_classes=512),
        read=_read,
        convert=_convert,
        describe=_describe,
    )
