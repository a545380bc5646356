"""Figures for papers: each a pure function of what a run left, as PDF, SVG and PNG at column width."""

from bench.report.figures.drawn import FORMATS, Drawn
from bench.report.figures.speed import speeds
from bench.report.figures.write import FOLDER, draw, write_figures, write_sweep_figures

__all__ = ["FOLDER", "FORMATS", "Drawn", "draw", "speeds", "write_figures", "write_sweep_figures"]
