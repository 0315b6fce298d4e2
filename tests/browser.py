"""Debian's Chromium, without a window, for the tests of pages."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--window-size=1280,900",
]


needs_chromium = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not (shutil.which("chromium") and shutil.which("chromedriver")),
        reason="needs Chromium: apt-get install chromium chromium-driver",
    ),
]


@contextmanager
def start_chromium() -> Iterator[Any]:
    """A driver; what Chromium leaves in its TMPDIR is gone when the block ends."""
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    # Not a test's own folder: a socket's path has at most 108 characters.
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as folder:
        service = webdriver.ChromeService(
            shutil.which("chromedriver"), env={**os.environ, "TMPDIR": folder}
        )
        driver = webdriver.Chrome(options=options, service=service)
        yield driver
        driver.quit()
