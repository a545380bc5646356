"""Tables of a run, made from its records alone."""

from bench.report.tables import leaderboard, scores
from bench.report.write import write_tables

__all__ = ["leaderboard", "scores", "write_tables"]
