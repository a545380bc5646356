"""CLIP (Radford et al., ICML 2021): images matched with captions."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backbones._checkpoint import State, entry, read_state, under, without
from backbones._script import read_script
from backbones._torch import TorchBackbone, named, timm_module, whole_patches
from bench.interfaces import Backbone, Descriptors, Preprocess, Weights
from bench.plugins import register_backbone

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Trained:
    """An image encoder that OpenAI published in a file whose address holds its hash; size: in timm's names."""

    size: str
    embed_dim: int
    file: str
    sha256: str
    megabytes: float


_TRAINED = {
    "": Trained(
        "base_patch16", 512, "ViT-B-16.pt", "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f", 350
    ),
    "vitb32": Trained(
        "base_patch32", 512, "ViT-B-32.pt", "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af", 353
    ),
    "vitl14": Trained(
        "large_patch14", 768, "ViT-L-14.pt", "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836", 932
    ),
}


def _read(path: Path) -> State:
    """The parameters of both towers: of OpenAI's TorchScript archive, which is not run, or of timm's copy of it."""
    if path.suffix != ".pt":
        return read_state(path)
    return {key: value.float() for key, value in read_script(path).state_dict().items()}


# from OpenAI's names to timm's
_NAMES = (
    ("conv1.", "patch_embed.proj."),
    ("transformer.resblocks.", "blocks."),
    ("ln_pre.", "norm_pre."),
    ("ln_post.", "norm."),
    (".ln_", ".norm"),
    (".in_proj_", ".qkv."),
    (".out_proj.", ".proj."),
    (".c_fc.", ".fc1."),
    (".c_proj.", ".fc2."),
)


def _convert(state: State, module: Any) -> State:
    """The image tower, whose projection is a classifier without bias in timm.

    Not by timm's own function: it resamples what does not fit, so that another network's checkpoint passes.
    """
    import torch

    def rename(key: str) -> str:
        for theirs, ours in _NAMES:
            key = key.replace(theirs, ours)
        return key

    layers = without(under(state, "visual."), "class_embedding", "positional_embedding", "proj")
    return {
        "cls_token": entry(state, "visual.class_embedding")[None, None],
        "pos_embed": entry(state, "visual.positional_embedding")[None],
        **{rename(key): value for key, value in layers.items()},
        "head.weight": entry(state, "visual.proj").T,
        "head.bias": torch.zeros_like(module.head.bias),
    }


def _describe(module: Any, batch: "Tensor") -> Descriptors:
    """The projected class token, as `encode_image`; local: patch tokens after the final norm, not projected."""
    tokens = module.forward_features(whole_patches(module, batch))
    return Descriptors(module.forward_head(tokens), tokens[:, 1:])


@register_backbone(groups=("candidates",), variants=tuple(filter(None, _TRAINED)))
def clip(variant: str = "") -> Backbone:
    """CLIP ViT-B/16's image encoder, 512-d; vitb32 is ViT-B/32, 512-d, and vitl14 is ViT-L/14, 768-d.

    QuickGELU: timm's plain architectures take the weights and compute something else.
    """
    trained = _TRAINED[variant]
    arch = f"vit_{trained.size}_clip_quickgelu_224"
    return TorchBackbone(
        name=named("clip", variant),
        arch=arch,
        embed_dim=trained.embed_dim,
        preprocess=Preprocess(
            size=224, mean=(0.48145466, 0.4578275, 0.40821073), std=(0.26862954, 0.26130258, 0.27577711)
        ),
        # not marked as carrying code: the program's hash is pinned, and the mirror, which is none, has to be used too
        weights=Weights(
            f"https://openaipublic.azureedge.net/clip/models/{trained.sha256}/{trained.file}",
            licence="MIT",
            pretraining="WIT-400M, image-caption pairs",
            sha256=trained.sha256,
            citation="Radford et al., ICML 2021, arXiv:2103.00020",
            mirrors=(f"hub:timm/vit_{trained.size}_clip_224.openai/pytorch_model.bin",),
            megabytes=trained.megabytes,
        ),
        build=timm_module(arch, num_classes=trained.embed_dim, dynamic_img_size=True),
        read=_read,
        convert=_convert,
        describe=_describe,
    )
