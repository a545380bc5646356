"""The leaderboard as one asks for it: columns, order, uncertainty; the tables of record stay as documented."""

from dataclasses import dataclass, replace

from bench import published_figures as published
from bench.report import choose
from bench.report.breakdown import sections
from bench.report.latex import Uncertainty, latex
from bench.report.text import markdown
from bench.report.write import Tables
from bench.scored import Scored


@dataclass(frozen=True)
class View:
    """columns: names and globs, as `choose.columns` takes them; sort: as `choose.in_order` takes it."""

    columns: str | None = None
    sort: str | None = None
    uncertainty: Uncertainty = "none"

    def chosen(self, tables: Tables) -> list[str]:
        """The columns it shows. Raises UsageError for one that there is not."""
        table = tables.leaderboard
        return choose.columns(table, self.columns) if self.columns is not None else choose.usual(table)

    def ordered(self, tables: Tables) -> Tables:
        """The tables with its order of rows. Raises UsageError for a column that there is not."""
        if self.sort is None:
            return tables
        return replace(tables, leaderboard=choose.in_order(tables.leaderboard, self.sort))

    def texts(self, tables: Tables, scored: Scored) -> dict[str, str]:
        """The view in Markdown and LaTeX by file name: leaderboard.view.md beside leaderboard.md."""
        if self == View():
            return {}
        below = sections(scored.records) + published.sections(scored.records)
        columns, table = self.chosen(tables), self.ordered(tables).leaderboard
        name = next(name for name in tables.texts if name.endswith(".md")).removesuffix("md")
        return {
            f"{name}view.md": markdown(table, scored, tables.verdicts, columns) + below,
            f"{name}view.tex": latex(table, scored, columns, self.uncertainty),
        }
