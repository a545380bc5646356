"""Draw the README's picture: `python docs/figure.py results/reference/demo/leaderboard.csv docs/demo.png`.

Needs `pip install -e '.[figures]'`.
"""

import sys

import matplotlib.pyplot as plt
import pandas as pd

PANELS = {"demo_copies.micro_ap": "copies: micro-AP", "demo_retrieval.map": "retrieval: mAP"}
MARKERS = {"global": ("o", "#0072B2"), "chunked@16": ("D", "none")}  # full and hollow: readable in grey


def main(table: str, picture: str) -> None:
    """One panel a dataset, one line a backbone, one marker a similarity."""
    board = pd.read_csv(table)
    names = board[board["similarity"] == "global"].sort_values("mean_map")["backbone"].tolist()
    figure, axes = plt.subplots(1, len(PANELS), figsize=(8, 3), sharey=True, layout="constrained")
    for axis, (column, title) in zip(axes, PANELS.items(), strict=True):
        for similarity, (marker, fill) in MARKERS.items():
            rows = board[board["similarity"] == similarity].set_index("backbone").loc[names]
            axis.plot(100 * rows[column], names, marker, markerfacecolor=fill, color="#0072B2", label=similarity)
        axis.set(title=title, xlabel="%", xlim=(-2, 102))
        axis.grid(axis="both", alpha=0.3)
    axes[0].legend(loc="lower right")
    figure.savefig(picture, dpi=150)


if __name__ == "__main__":
    main(*sys.argv[1:])
