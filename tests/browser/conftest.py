"""One headless Chromium for all tests of a page."""

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="package")
def browser() -> Iterator[Any]:
    from tests.browser.opened import BROWSER, sync_api  # skips where playwright is missing

    if BROWSER is None:
        pytest.skip("there is no Chromium")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=BROWSER)
        yield started
        started.close()
