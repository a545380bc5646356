"""Any model of timm (Wightman 2019, huggingface/pytorch-image-models), with any of the weights it knows of."""

import difflib
from typing import Any

from backbones._timm import Recipe, timm_backbone
from bench.errors import UsageError
from bench.interfaces import Backbone, Weights
from bench.plugins import register_backbone

_SPDX = {name.lower(): name for name in ("Apache-2.0", "BSD-3-Clause", "CC-BY-4.0", "CC-BY-NC-4.0", "MIT")}
_SAFE = {"pytorch_model.bin": "model.safetensors", "open_clip_pytorch_model.bin": "open_clip_model.safetensors"}


@register_backbone(groups=(), argument="NAME[.TAG]")
def timm(name: str) -> Backbone:
    """A model of timm with the weights of a tag, or of the first one that timm has of it.

    Global descriptor: what its classifier would see (of CLIP models before the projection). Local ones: its patch
    tokens or the cells of its last map; none where timm does not tell which they are. Preprocessing: timm's own for
    the weights. Options: img_size=PIXELS (the architecture built for that size), precision, multiscale, compile, and
    gem where the descriptor is pooled of the local ones.
    """
    cfg = _configuration(name)
    return timm_backbone(f"timm:{name}", Recipe(name, cfg.to_dict()), _weights(name, cfg))


def _configuration(name: str) -> Any:
    """timm's PretrainedCfg of a name. Raises UsageError with the nearest names."""
    from timm import get_pretrained_cfg, list_models

    try:
        cfg = get_pretrained_cfg(name)
    except RuntimeError:
        cfg = None
    if cfg is None:
        arch = name.partition(".")[0]
        # of a known architecture the tags that there are
        near = list_models(f"{arch}.*", pretrained=True) or [
            *difflib.get_close_matches(name, list_models(pretrained=True), 2, 0.5),
            *difflib.get_close_matches(name, list_models(), 2, 0.5),
        ]
        hint = f"did you mean {' or '.join(near)}?" if near else "timm.list_pretrained() lists them"
        raise UsageError(f"there is no model '{name}' in timm: {hint}")
    if not cfg.has_weights:
        raise UsageError(f"timm has no weights of '{name}': choose one that timm.list_pretrained() lists")
    return cfg


def _weights(name: str, cfg: Any) -> Weights:
    sources = []
    if cfg.hf_hub_id:
        file = cfg.hf_hub_filename or "pytorch_model.bin"
        sources += [f"hub:{cfg.hf_hub_id}/{file}" for file in dict.fromkeys((_SAFE.get(file, file), file))]
    # .npz holds the parameters of another framework
    if isinstance(cfg.url, str) and cfg.url.startswith("https:") and not cfg.url.endswith(".npz"):
        sources.append(cfg.url)
    if not sources:
        raise UsageError(f"the weights of timm's '{name}' can't be read here ({cfg.url}): choose another tag")
    papers = [cfg.paper_ids] if isinstance(cfg.paper_ids, str) else [*(cfg.paper_ids or ())]
    return Weights(
        sources[0],
        licence=_SPDX.get(cfg.license, cfg.license or ""),
        pretraining=f"{cfg.tag or 'unknown'}" + (f" ({'; '.join(cfg.notes)})" if cfg.notes else ""),
        citation=", ".join(filter(None, [cfg.paper_name, *papers])),
        mirrors=tuple(sources[1:]),
    )
