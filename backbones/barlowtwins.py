"""Barlow Twins (Zbontar et al., ICML 2021): redundancy reduction, without labels."""

from backbones._resnet import resnet50
from bench.interfaces import Backbone, Preprocess, Weights
from bench.plugins import register_backbone


@register_backbone(groups=("extras",))
def barlowtwins() -> Backbone:
    """Barlow Twins ResNet-50, 1000 epochs.

    The checkpoint of the authors' README; their torch.hub function still loads the training before it.
    """
    return resnet50(
        "barlowtwins",
        Preprocess(interpolation="bilinear"),
        Weights(
            "https://dl.fbaipublicfiles.com/barlowtwins/ljng/resnet50.pth",
            licence="MIT",
            pretraining="ImageNet-1k, no labels",
            citation="Zbontar et al., ICML 2021, arXiv:2103.03230",
            megabytes=94,
        ),
    )
