"""A running suite and a Chromium."""

import os
import shutil
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import BrowserContext, sync_playwright

from tests.running import House

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Chromium]:
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if not path:
        assert not os.environ.get("REQUIRE_EVERYTHING"), "Chromium is missing: apt-get install chromium"
        pytest.skip("not run: Chromium is missing (apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def person(chromium: Chromium, house: House) -> Iterator[Callable[..., BrowserContext]]:
    """A new person at a browser of their own: `person(width=360, language="ru", script=False)`."""
    contexts = []

    def arrive(
        *, width: int = 1200, height: int = 900, language: str = "en", script: bool = True
    ) -> BrowserContext:
        context = chromium.new_context(
            base_url=house.origin,
            viewport={"width": width, "height": height},
            locale=language,
            java_script_enabled=script,
        )
        context.set_default_timeout(30_000)
        contexts.append(context)
        return context

    yield arrive
    for context in contexts:
        context.close()
