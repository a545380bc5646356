"""VICReg (Bardes, Ponce, LeCun, ICLR 2022): variance, invariance and covariance, without labels."""

from backbones._resnet import resnet50
from bench.interfaces import Backbone, Preprocess, Weights
from bench.plugins import register_backbone


@register_backbone(groups=("extras",))
def vicreg() -> Backbone:
    """VICReg ResNet-50, 1000 epochs."""
    return resnet50(
        "vicreg",
        Preprocess(interpolation="bilinear"),
        Weights(
            "https://dl.fbaipublicfiles.com/vicreg/resnet50.pth",
            licence="MIT",
            pretraining="ImageNet-1k, no labels",
            citation="Bardes, Ponce and LeCun, ICLR 2022, arXiv:2105.04906",
            megabytes=94,
        ),
    )
