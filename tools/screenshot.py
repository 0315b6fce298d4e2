"""Take the README's picture of the page: a running service, a query picture, five answers.

python tools/screenshot.py PICTURE docs/page.png [--url URL] [--width 1280]
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait


def main() -> None:
    """Open the page, choose the picture, wait for its answers and save what is seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("picture", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--width", type=int, default=1280)
    options = parser.parse_args()
    chrome = webdriver.ChromeOptions()
    for flag in ("headless=new", "no-sandbox", "disable-gpu", "hide-scrollbars"):
        chrome.add_argument(f"--{flag}")
    # Named, or Selenium asks the internet where it is.
    driver = webdriver.ChromeService(shutil.which("chromedriver"))
    with webdriver.Chrome(chrome, driver) as browser:
        browser.set_window_size(options.width, 900)
        browser.get(options.url)
        browser.find_element(By.CSS_SELECTOR, "input[type=file]").send_keys(
            str(options.picture.resolve())
        )
        WebDriverWait(browser, 20).until(
            lambda page: page.execute_script(
                "const shown = [...document.querySelectorAll('main img')];"
                "return shown.length > 5 && shown.every(image => image.naturalWidth > 0)"
            )
        )
        height = browser.execute_script("return document.documentElement.scrollHeight")
        browser.set_window_size(options.width, height + 150)
        browser.save_screenshot(str(options.target))


if __name__ == "__main__":
    main()
