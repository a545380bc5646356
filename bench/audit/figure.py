"""The histograms of an audit: generated images to training images, and these to each other."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from bench.audit.statistics import edges
from bench.audit.verdict import Verdict
from bench.report.figures.drawn import Drawn
from bench.report.figures.style import DOUBLE, GREY, SINGLE, new, short, styled

GENERATED, TRAINING = "#D55E00", "#0072B2"


def histograms(verdicts: Sequence[Verdict]) -> Drawn:
    """One panel a verdict: the density of the similarity to the nearest training image, as the paper draws it."""
    across = min(len(verdicts), 2)
    down = -(-len(verdicts) // across)
    with styled():
        figure = new(SINGLE if across == 1 else DOUBLE, 0.3 + 1.9 * down)
        panels = figure.subplots(down, across, squeeze=False).ravel()
        for axes, verdict in zip(panels, verdicts, strict=False):
            _draw(axes, verdict)
        for axes in panels[len(verdicts) :]:
            axes.set_axis_off()
        figure.draw_without_rendering()
        figure.set_layout_engine(None)
    return Drawn("histogram", "Similarity to the nearest training image", figure, _caption(verdicts))


def _draw(axes: Axes, verdict: Verdict) -> None:
    samples = {"generated": (verdict.best, GENERATED, "-")}
    if verdict.background is not None:
        samples["training"] = (verdict.background, TRAINING, "--")
    bins = edges(*(sample for sample, _, _ in samples.values()))
    for name, (sample, colour, line) in samples.items():
        density, _ = np.histogram(sample, bins, density=True)
        axes.stairs(density, bins, fill=True, color=colour, alpha=0.25)
        axes.stairs(density, bins, color=colour, linestyle=line, label=f"{name} to training")
    for threshold in verdict.thresholds:
        axes.axvline(threshold.score, color=GREY, linewidth=0.8, linestyle=":")
    shares = ", ".join(f"{100 * above.generated.value:.2f} % above {above.score:.3g}" for above in verdict.above)
    axes.set_title(f"{short(verdict.backbone)}, {verdict.similarity}\n{shares}", loc="left")
    axes.set_xlabel("similarity to the nearest")
    axes.set_ylabel("density")
    axes.legend()


def _caption(verdicts: Sequence[Verdict]) -> str:
    told = [
        f"{verdict.backbone}, {verdict.similarity}: {share.k:,} of {share.n:,} are above {above.score:.3g} "
        f"(95 %: {100 * share.low:.2f} to {100 * share.high:.2f} %)."
        for verdict in verdicts
        for above in verdict.above
        for share in (above.generated,)
    ]
    return (
        "Similarity of each generated image to its nearest training image, and of training images to their nearest "
        f"other one. Dotted: thresholds. {' '.join(told)}"
    )
