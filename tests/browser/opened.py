"""A page in a tab of a headless Chromium, with all that it said and asked for.

Needs the package playwright and a Chromium of the system; what needs them is skipped where one of them is missing.
"""

import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

#: The leaderboard that is shown.
BOARD = ".verdict:visible table"


@dataclass
class Opened:
    """A page in a tab, and all that it said and asked for."""

    tab: "sync_api.Page"
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def column(self, heading: str, table: str = BOARD) -> list[str]:
        """The values that the visible rows are sorted by, "" for a missing one."""
        return self.tab.locator(table).first.evaluate(
            """(table, heading) => {
                const at = [...table.rows[0].cells].findIndex((cell) => cell.innerText.trim() === heading);
                return [...table.tBodies[0].rows].filter((row) => !row.hidden)
                    .map((row) => row.cells[at].dataset.value ?? "");
            }""",
            heading,
        )


def opened(browser: "sync_api.Browser", path: Path, **options: object) -> Opened:
    """The page, loaded, in a context of its own."""
    found = Opened(browser.new_context(**options).new_page())
    found.tab.set_default_timeout(10_000)
    found.tab.on("console", lambda message: found.said.append(message.text))
    found.tab.on("pageerror", lambda error: found.said.append(str(error)))
    found.tab.on("dialog", lambda dialog: (found.said.append(f"dialog {dialog.message}"), dialog.dismiss()))
    found.tab.on("request", lambda request: found.asked.append(request.url))
    found.tab.goto(path.as_uri())
    return found
