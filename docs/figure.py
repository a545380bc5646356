"""Draw the pictures of a run: `python docs/figure.py results/reference/real docs`.

Needs `pip install -e '.[figures]'`.
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

PANELS = {
    "eth80.map": "same object (ETH-80): mAP",
    "caltech101.map": "same category (Caltech-101): mAP",
    "disc:copydet.micro_ap": "edited copies: micro-AP",
}
SHOWN = {"global": ("o", "#0072B2"), "chunked@16": ("D", "none")}  # full and hollow: readable in grey
CURVES = ("-", "--", "-.", ":")
AREA = "area="


def main(run: str, pictures: str) -> None:
    """leaderboard.png and difficulty.png of the tables in the folder `run`."""
    _leaderboard(pd.read_csv(Path(run) / "leaderboard.csv"), Path(pictures) / "leaderboard.png")
    _difficulty(pd.read_csv(Path(run) / "breakdown.csv"), Path(pictures) / "difficulty.png")


def _leaderboard(board: pd.DataFrame, picture: Path) -> None:
    """One panel a dataset, one line a backbone, one marker a similarity."""
    names = board[board["similarity"] == "global"].sort_values("mean_map")["backbone"].tolist()
    figure, axes = plt.subplots(1, len(PANELS), figsize=(10, 3), sharey=True, layout="constrained")
    for axis, (column, title) in zip(axes, PANELS.items(), strict=True):
        for similarity, (marker, fill) in SHOWN.items():
            rows = board[board["similarity"] == similarity].set_index("backbone").loc[names]
            axis.plot(100 * rows[column], names, marker, markerfacecolor=fill, color="#0072B2", label=similarity)
        axis.set(title=title, xlabel="%", xlim=(-2, 102))
        axis.grid(axis="both", alpha=0.3)
    axes[-1].legend(loc="lower right")
    figure.savefig(picture, dpi=150)


def _difficulty(breakdown: pd.DataFrame, picture: Path) -> None:
    """One panel a synthetic set: mAP, global, against the share of the query that is copied."""
    swept = breakdown["tag"].str.startswith(AREA) & (breakdown["metric"] == "map")
    curves = breakdown[swept & (breakdown["similarity"] == "global")]
    curves = curves.assign(area=curves["tag"].str.removeprefix(AREA).astype(float))
    kinds = curves["dataset"].unique().tolist()
    figure, axes = plt.subplots(1, len(kinds), figsize=(12, 3.2), sharey=True, layout="constrained")
    for axis, kind in zip(axes, kinds, strict=True):
        _curves(axis, curves[curves["dataset"] == kind])
        axis.set(title=kind.removeprefix("pairs:").replace("_", "\n"), xlabel="copied share of the query")
        axis.grid(alpha=0.3)
    axes[0].set(ylabel="mAP, %", ylim=(-2, 102))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", fontsize="small")
    figure.savefig(picture, dpi=150)


def _curves(axis: Axes, of_kind: pd.DataFrame) -> None:
    for number, (backbone, rows) in enumerate(of_kind.groupby("backbone", sort=False)):
        ordered = rows.sort_values("area")
        axis.plot(ordered["area"], 100 * ordered["value"], CURVES[number % len(CURVES)], marker=".", label=backbone)


if __name__ == "__main__":
    main(*sys.argv[1:])
