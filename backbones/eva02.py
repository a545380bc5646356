"""EVA-02 (Fang et al. 2023): masked images whose CLIP features are predicted."""

from functools import partial
from typing import TYPE_CHECKING, Any

from backbones._checkpoint import State, without
from backbones._torch import gem_of_local, whole_patches
from backbones._vit import vision_transformer
from bench.interfaces import Backbone, Descriptors, Preprocess, Weights
from bench.plugins import register_backbone

if TYPE_CHECKING:
    from torch import Tensor


# the authors' names and timm's; the final norm is the one that timm applies to the mean
_NAMES = {
    "attn.q_bias": "attn.q_proj.bias",
    "attn.v_bias": "attn.v_proj.bias",
    "mlp.w1": "mlp.fc1_g",
    "mlp.w2": "mlp.fc1_x",
    "mlp.w3": "mlp.fc2",
    "mlp.ffn_ln": "mlp.norm",
}
_FINAL = {"norm.weight": "fc_norm.weight", "norm.bias": "fc_norm.bias"}


def _convert(state: State, module: Any) -> State:
    """From timm's checkpoint, which has the module's own names, or the authors' of the pretraining."""
    trained: Any = state.get("model", state)

    def rename(key: str) -> str:
        for theirs, ours in _NAMES.items():
            key = key.replace(theirs, ours)
        return _FINAL.get(key, key)

    kept = without(trained, "mask_token", "lm_head.")
    return {rename(key): value for key, value in kept.items() if "rope.freqs_" not in key}


def _describe(module: Any, batch: "Tensor") -> Descriptors:
    """The normalised mean of the patch tokens; local: each of them normalised, as in pretraining."""
    tokens = module.forward_features(whole_patches(module, batch))
    return Descriptors(module.forward_head(tokens), module.fc_norm(tokens[:, module.num_prefix_tokens :]))


@register_backbone(groups=("extras",))
def eva02() -> Backbone:
    """EVA-02 ViT-B/14, pretrained only, 768-d."""
    return vision_transformer(
        "eva02",
        Preprocess(mean=(0.48145466, 0.4578275, 0.40821073), std=(0.26862954, 0.26130258, 0.27577711)),
        Weights(
            "hub:timm/eva02_base_patch14_224.mim_in22k/model.safetensors",
            licence="MIT",
            pretraining="ImageNet-22k, no labels; its targets are features of EVA-CLIP (image-caption pairs)",
            citation="Fang et al. 2023, arXiv:2303.11331",
            megabytes=343,
            mirrors=("hub:Yuxin-CV/EVA-02/eva02/pt/eva02_B_pt_in21k_p14.pt",),
        ),
        "eva02_base_patch14_224",
        convert=_convert,
        describe=_describe,
        pooled=partial(gem_of_local, _describe),
    )
