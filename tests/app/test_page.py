"""The page in a real browser: Debian's Chromium, without a window."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from index.confidence import Confidence
from index.release import ReleaseManifest
from index.releases import current_release
from index.space.artefact import read_manifest, write_manifest
from tests.app.conftest import Service
from tests.bad_pictures import encoded, photo
from tests.browser import needs_chromium, start_chromium

pytestmark = needs_chromium

# A drop or paste as a page sees it: files by name and base64 content, or a number of zeros.
BRING = """
const [type, files] = arguments;
const data = new DataTransfer();
for (const [name, content] of files) {
  const bytes = typeof content === "number"
    ? new Uint8Array(content)
    : Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
  data.items.add(new File([bytes], name));
}
const event = type === "paste"
  ? new ClipboardEvent(type, { clipboardData: data, bubbles: true })
  : new DragEvent(type, { dataTransfer: data, bubbles: true });
document.querySelector("main").dispatchEvent(event);
"""
# The network delays the first answer, and abort does not stop it.
SLOW_FIRST = """
const fetch_ = window.fetch;
let asked = 0;
window.fetch = async (url, options) => {
  const late = asked++ === 0;
  const answer = await fetch_(url, { ...options, signal: undefined });
  if (late) await new Promise((done) => setTimeout(done, 700));
  window.answered = asked;
  return answer;
};
"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with start_chromium() as driver:
        yield driver


class Page:
    """The page, and what a person does with it and sees on it."""

    def __init__(self, driver: Any, service: Service) -> None:
        self.driver = driver
        self.url = service.url
        driver.get("about:blank")  # or a changed hash would not load it anew
        driver.get(service.url + "/")

    def run(self, script: str, *arguments: object) -> Any:
        return self.driver.execute_script(script, *arguments)

    def wait(self, script: str) -> Any:
        from selenium.webdriver.support.ui import WebDriverWait

        return WebDriverWait(self.driver, 10).until(lambda _: self.run(f"return {script}"), script)

    def choose(self, path: Path) -> None:
        self.driver.find_element("id", "file").send_keys(str(path))

    def bring(self, kind: str, *files: tuple[str, bytes | int]) -> None:
        encoded_files = [
            (name, data if isinstance(data, int) else base64.b64encode(data).decode())
            for name, data in files
        ]
        self.run(BRING, kind, encoded_files)

    def wait_for_works(self, count: int = 5) -> list[str]:
        """Titles, once every thumbnail is there."""
        self.wait(
            f"document.querySelectorAll('.work').length === {count} && "
            "[...document.querySelectorAll('.picture')].every(i => i.complete && i.naturalWidth)"
        )
        return self.run(
            "return [...document.querySelectorAll('.work .title')].map(e => e.textContent)"
        )

    def wait_for_message(self) -> str:
        self.wait("!document.getElementById('message').hidden")
        assert self.run("return document.querySelectorAll('.work').length") == 0
        return self.driver.find_element("id", "message-text").text

    def press(self, *keys: str) -> None:
        from selenium.webdriver.common.action_chains import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def focused(self, expression: str) -> Any:
        return self.run(f"return document.activeElement.{expression}")


@pytest.fixture
def page(chromium: Any, service: Service) -> Page:
    return Page(chromium, service)


@pytest.fixture
def picture(tmp_path: Path, a_photo: bytes) -> Path:
    path = tmp_path / "mine & yours.jpg"
    path.write_bytes(a_photo)
    return path


def titles(answer: Any) -> list[str]:
    return [work["title"] for work in answer.json()["results"]]


def test_a_chosen_picture_hangs_five_works(
    page: Page, service: Service, picture: Path, a_photo: bytes
) -> None:
    page.choose(picture)
    assert page.wait_for_works() == titles(service.search(a_photo))
    assert page.wait("document.getElementById('preview').naturalWidth") == 160
    assert page.driver.find_element("id", "subject").text == picture.name
    assert page.driver.find_element("id", "status").text == "5 works, the most similar first"
    assert "% similar" in page.driver.find_element("css selector", ".score").text
    assert "24 works" in page.driver.find_element("id", "colophon").text
    assert "tiny-1" in page.driver.find_element("id", "colophon").text


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_a_picture_may_be_dropped_or_pasted(page: Page, a_photo: bytes, kind: str) -> None:
    page.bring(kind, ("a.jpg", a_photo))
    page.wait_for_works()


def test_more_like_this_and_back(page: Page, service: Service, picture: Path) -> None:
    page.choose(picture)
    first = page.wait_for_works()
    link = page.driver.find_elements("css selector", ".more")[1]
    id_ = link.get_attribute("href").split("#like=")[1]
    link.click()
    page.wait(f"document.getElementById('subject').textContent === {json.dumps(first[1])}")
    assert page.wait_for_works() == titles(service.get(f"/v1/items/{id_}/similar"))
    page.driver.back()
    page.wait(f"document.getElementById('subject').textContent === {json.dumps(picture.name)}")
    assert page.wait_for_works() == first


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([("letter.docx", b"PK\x03\x04 a letter")], "Unsupported image: must be one of JPEG"),
        ([("empty.png", b"")], "Empty file: the file is empty"),
        ([("cut.jpg", encoded(photo(), "JPEG")[:900])], "Image corrupt"),
        ([("a.jpg", b"x"), ("b.jpg", b"y")], "One picture at a time, please: these are 2 files."),
        ([("large.jpg", 11 << 20)], "Body too large"),
        ([], "That is not a file. Save the picture first"),
    ],
)
def test_wrong_things_get_a_message_and_the_next_try_works(
    page: Page, a_photo: bytes, files: list[tuple[str, bytes | int]], message: str
) -> None:
    page.bring("drop", ("a.jpg", a_photo))
    page.wait_for_works()
    page.bring("drop", *files)
    assert page.wait_for_message().startswith(message)
    page.bring("drop", ("a.jpg", a_photo))
    page.wait_for_works()
    assert not page.driver.find_element("id", "message").is_displayed()


def test_a_dropped_folder_gets_a_message(page: Page, tmp_path: Path) -> None:
    data = {"items": [], "files": [str(tmp_path)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        page.driver.execute_cdp_cmd(
            "Input.dispatchDragEvent", {"type": kind, "x": 600, "y": 400, "data": data}
        )
    assert page.wait_for_message().startswith("That is a folder.")


def test_a_late_answer_never_overwrites_a_later_question(
    page: Page, service: Service, a_photo: bytes, collection: Path
) -> None:
    other = next(iter(sorted((collection / "train").rglob("*.jpg")))).read_bytes()
    wanted = titles(service.search(other))
    assert wanted != titles(service.search(a_photo))
    page.run(SLOW_FIRST)
    page.bring("drop", ("first.jpg", a_photo))
    page.bring("drop", ("second.jpg", other))
    assert page.wait_for_works() == wanted
    page.run("return new Promise((done) => setTimeout(done, 1000))")
    assert page.wait_for_works() == wanted
    assert page.driver.find_element("id", "subject").text == "second.jpg"


def test_when_the_service_goes_away_it_is_said_and_may_be_tried_again(
    page: Page, a_photo: bytes
) -> None:
    network = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    page.driver.execute_cdp_cmd("Network.enable", {})
    page.driver.execute_cdp_cmd("Network.emulateNetworkConditions", {**network, "offline": True})
    page.bring("drop", ("a.jpg", a_photo))
    assert page.wait_for_message().startswith("The service cannot be reached.")
    page.driver.execute_cdp_cmd("Network.emulateNetworkConditions", {**network, "offline": False})
    page.driver.find_element("id", "retry").click()
    page.wait_for_works()


def test_the_keyboard_is_enough(page: Page, picture: Path) -> None:
    page.press("\ue004", "\ue004")  # Tab: past the name, to the file
    assert page.focused("id") == "file"
    assert page.focused("matches(':focus-visible')")
    page.choose(picture)
    first = page.wait_for_works()
    while page.focused("className") != "more":
        page.press("\ue004")
    assert page.focused("getAttribute('aria-label')") == f"More like {first[0]}"
    page.press("\ue007")  # Enter
    page.wait("document.getElementById('heading').textContent === 'More like this'")
    page.wait_for_works()
    assert page.focused("id") == "heading"


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_sticks_out(page: Page, picture: Path, width: int) -> None:
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    assert page.run("return document.documentElement.scrollWidth") <= width
    page.choose(picture)
    page.wait_for_works()
    assert page.run("return document.documentElement.scrollWidth") <= width
    page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_both_pages_keep_to_the_content_security_policy(page: Page, picture: Path) -> None:
    page.driver.get_log("browser")
    page.choose(picture)
    page.wait_for_works()
    page.driver.get(page.url + "/docs")
    paths = httpx.get(page.url + "/openapi.json").json()["paths"]
    calls = sum(len(methods) for methods in paths.values())
    page.wait(f"document.querySelectorAll('.opblock').length === {calls}")
    assert page.driver.get_log("browser") == []


def test_a_picture_like_nothing_is_told_so(
    chromium: Any, start_service, releases: Path, tiny_model: Path, picture: Path
) -> None:
    folder = current_release(releases)
    manifest = read_manifest(folder, ReleaseManifest, "release", "artkin index")
    never = {"slope": 1.0, "intercept": 0.0, "error": 0.0, "threshold": 1.1, "queries": 50}
    learnt = Confidence(part=manifest.parts[0].name, false_positives=1.0, found=1.0, **never)
    write_manifest(folder, manifest.model_copy(update={"confidence": learnt}))
    service = start_service("--model", tiny_model, "--releases", releases)
    service.wait_for("/readyz", 200)
    page = Page(chromium, service)
    page.choose(picture)
    page.wait_for_works()
    said = page.driver.find_element("id", "status").text
    assert said == "Nothing here is much like this picture. 5 works, the most similar first"


KEY = "schlüssel-für-besucher-0123"  # not ASCII, on purpose


@pytest.fixture(scope="module")
def closed(start_service, tmp_path_factory, tiny_model: Path, published: Path) -> Service:
    """A service that asks for a key to search."""
    keys = tmp_path_factory.mktemp("keys") / "search"
    keys.write_text(KEY + "\n", encoding="utf-8")
    service = start_service(
        "--model", tiny_model, "--releases", published, "--search-key-file", keys
    )
    service.wait_for("/readyz", 200)
    return service


def enter(page: Page, key: str) -> None:
    page.wait("document.activeElement.id === 'key'")
    page.press(key, "\ue007")


def test_a_key_is_asked_for_and_kept_for_the_tab(
    chromium: Any, closed: Service, picture: Path, a_photo: bytes
) -> None:
    page = Page(chromium, closed)
    assert not page.driver.find_element("id", "key").is_displayed()
    page.choose(picture)
    assert page.wait_for_message().startswith("This collection asks for a key.")
    enter(page, "not-a-key-of-this-service")
    page.wait("document.getElementById('message-text').textContent.startsWith('That key is not')")
    assert page.wait_for_works(0) == []
    enter(page, f" {KEY} ")
    wanted = closed.search(a_photo, headers={"Authorization": f"Bearer {KEY}".encode()})
    assert page.wait_for_works() == titles(wanted)
    assert not page.driver.find_element("id", "key").is_displayed()
    assert page.driver.find_element("id", "subject").text == picture.name
    # Of the tab: a work's own page, thumbnail included, and the page loaded anew ask no more.
    page.driver.find_elements("css selector", ".more")[1].click()
    page.wait("document.getElementById('heading').textContent === 'More like this'")
    page.wait_for_works()
    page.wait("document.getElementById('preview').naturalWidth > 0")
    page.driver.refresh()
    page.wait_for_works()
    assert page.wait("document.getElementById('preview').naturalWidth > 0")
    page.driver.get_log("browser")
    Page(chromium, closed).choose(picture)
    page.wait_for_works()
    assert page.driver.get_log("browser") == []  # nothing refused, nothing against the policy
    page.run("sessionStorage.clear()")


def test_a_link_to_a_work_goes_on_when_the_key_is_there(
    chromium: Any, closed: Service, service: Service
) -> None:
    id_ = service.get("/v1/items?limit=1").json()["results"][0]["id"]
    page = Page(chromium, closed)
    page.driver.get(f"{closed.url}/#like={id_}")
    page.driver.refresh()
    assert page.wait_for_message().startswith("This collection asks for a key.")
    page.wait("document.getElementById('asked').hidden")
    enter(page, KEY)
    page.wait_for_works()
    assert page.wait("document.getElementById('preview').naturalWidth > 0")
    # A key that is taken out of the file is asked for again.
    page.run("sessionStorage.setItem('key', 'one-of-yesterday-0123')")
    page.driver.refresh()
    page.wait("!document.getElementById('message').hidden")
    assert page.wait_for_message().startswith("That key is not one of this service")
    page.run("sessionStorage.clear()")


def test_the_page_has_its_colours(page: Page) -> None:
    """They are those of the report and of `artkin compare`, in one file of the index's."""
    ground = page.run("return getComputedStyle(document.body).backgroundColor")
    assert ground in ("rgb(246, 243, 236)", "rgb(23, 21, 19)")
    text = page.run("return getComputedStyle(document.querySelector('.formats')).fontFamily")
    assert text.startswith("system-ui")


def test_the_interface_for_programs_can_send_a_key(closed: Service, service: Service) -> None:
    for of, locked in ((closed, True), (service, False)):
        call = of.get("/openapi.json").json()["paths"]["/v1/search"]["post"]
        assert ("security" in call) == locked
