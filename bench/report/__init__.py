"""Tables of a run, made from its records alone."""

from bench.report.tables import leaderboard, scores
from bench.report.write import Tables, tables_of, write_tables

__all__ = ["Tables", "leaderboard", "scores", "tables_of", "write_tables"]
