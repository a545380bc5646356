"""What models of several numbers of training images generate, each sample above its nearest training image."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from bench import images
from bench.experiment.replication import Dependence, Sampled
from bench.report.figures.drawn import Drawn
from bench.report.figures.style import DOUBLE, new, short, styled

#: Samples of a model that are shown: the first, whatever they look like.
N = 12


def examples(of: Dependence) -> Drawn:
    """Two rows of pictures for each model."""
    across = min(N, min(len(model.audited.generated) for model in of.models))
    height = DOUBLE / (across + 1)
    with styled():
        figure = new(DOUBLE, 2 * len(of.models) * (height + 0.12))
        rows = figure.subplots(2 * len(of.models), across, squeeze=False)
        for number, model in enumerate(of.models):
            _draw(rows[2 * number], rows[2 * number + 1], model)
        figure.draw_without_rendering()
        figure.set_layout_engine(None)
    return Drawn("examples", "Samples and their nearest training images", figure, _caption(of, across))


def _draw(samples: Sequence[Axes], nearest: Sequence[Axes], model: Sampled) -> None:
    generated, training = model.audited.generated.files, model.audited.training.files
    assert generated is not None and training is not None
    matches = model.audited.verdict.matches
    for place, (above, below) in enumerate(zip(samples, nearest, strict=True)):
        above.imshow(_read(generated[place].path))
        below.imshow(_read(training[matches.indices[place, 0]].path))
        below.set_xlabel(f"{matches.scores[place, 0]:.2f}", labelpad=1)
        for axes in (above, below):
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
    samples[0].set_ylabel("samples")
    samples[0].set_title(f"trained on {model.n_training:,}", loc="left")
    nearest[0].set_ylabel("nearest")


def _read(path: Path) -> NDArray[np.uint8]:
    return np.asarray(images.decode(path))


def _caption(of: Dependence, across: int) -> str:
    return (
        f"The first {across} samples of each model, and below each the image trained on that is nearest to it by "
        f"{short(of.backbone)}, {of.similarity}, with their similarity."
    )
