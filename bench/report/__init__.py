"""Tables of a run, made from its records alone."""

from bench.report.tables import leaderboard, scores
from bench.report.write import Tables, best, tables_of, write_page, write_tables

__all__ = ["Tables", "best", "leaderboard", "scores", "tables_of", "write_page", "write_tables"]
