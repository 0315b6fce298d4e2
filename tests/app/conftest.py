"""A real service: `artkin serve` in a process of its own, over a real release."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from index.catalogue import Catalogue, Entry
from index.confidence import learn_confidence
from index.map import places
from index.release import CATALOGUE, INDEX, ReleaseManifest, ask_canaries
from index.space.artefact import new_folder, write_manifest
from index.space.encoder import PRECISION, Encoder
from index.space.model import CopyRule, Part, load_model
from index.thumbnails import make_thumbnail
from index.vectors import FaissVectors
from index.writing import write_works
from tests.bad_pictures import encoded, photo

# Weights of the two parts of `two_parts`.
STYLE, WORK = 0.55, 0.45
ROOT = Path(__file__).parents[2]
ADMIN_KEY = "ключ-of-the-museum-0123456789"  # not ASCII, on purpose
ADMIN = {"Authorization": f"Bearer {ADMIN_KEY}".encode()}


@dataclass
class Service:
    """A running `artkin serve`."""

    process: subprocess.Popen[str]
    url: str = ""
    log: list[str] = field(default_factory=list)
    # One for all: making a client takes longer than most answers.
    http: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=20))

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.http.get(self.url + path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self.http.post(self.url + path, **options)

    def search(self, picture: bytes, k: int = 5, **options: Any) -> httpx.Response:
        return self.post("/v1/search", params={"k": k}, files={"image": picture}, **options)

    def wait_for(self, path: str, status: int, seconds: float = 15) -> httpx.Response:
        """Ask until the answer has that status."""
        end = time.monotonic() + seconds
        while (answer := self.get(path)).status_code != status:
            assert time.monotonic() < end, (answer.text, self.log)
            time.sleep(0.05)
        return answer

    def wait_for_log(self, text: str, seconds: float = 15) -> None:
        end = time.monotonic() + seconds
        while not any(text in line for line in self.log):
            assert time.monotonic() < end, self.log
            time.sleep(0.02)

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    def read_log(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line)


Starter = Callable[..., Service]


def start(*arguments: object) -> Service:
    """`artkin serve` with these arguments on a free port, when it listens."""
    command = [sys.executable, "-m", "artkin", "serve", "--port", "0", *map(str, arguments)]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ARTKIN_")}
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
    )
    service = Service(process)
    threading.Thread(target=service.read_log, daemon=True).start()
    service.wait_for_log("listening on ")
    found = re.search(r"http://[\w.:\[\]]+", "".join(service.log))
    assert found is not None
    service.url = found.group()
    return service


@pytest.fixture(scope="session")
def start_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Starter]:
    """A factory: `start_service("--model", model, ...)` returns when the service listens."""
    started: list[Service] = []

    def start_one(*arguments: object) -> Service:
        state = [] if "--state" in arguments else ["--state", tmp_path_factory.mktemp("state")]
        service = start(*arguments, *state)
        started.append(service)
        return service

    yield start_one
    for service in started:
        service.http.close()
        if service.process.poll() is None:
            service.process.kill()
            service.process.wait()


@pytest.fixture(scope="session")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("key") / "admin"
    path.write_text(ADMIN_KEY + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def service(start_service: Starter, tiny_model: Path, published: Path, key_file: Path) -> Service:
    """A ready service over `published`, for all tests that only ask it."""
    started = start_service(
        "--model", tiny_model, "--releases", published, "--admin-key-file", key_file
    )
    started.wait_for("/readyz", 200)
    return started


@pytest.fixture
def releases(tmp_path: Path, published: Path) -> Path:
    """A copy of `published` that a test may change."""
    return Path(shutil.copytree(published, tmp_path / "releases", symlinks=True))


@pytest.fixture(scope="session")
def two_parts(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """The tiny model, its 16 numbers said to be a style part and a work part of 8 each."""
    folder = Path(shutil.copytree(tiny_model, tmp_path_factory.mktemp("parts") / "tiny-1"))
    manifest = load_model(folder).manifest
    parts = [Part(name="style", width=8, weight=STYLE), Part(name="work", width=8, weight=WORK)]
    rule = CopyRule(part="work", cosine=0.8, missed=0.1, false_alarms=0.0, asked=9, among=4)
    write_manifest(folder, manifest.model_copy(update={"parts": parts, "copies": rule}))
    return folder


def write_synthetic(
    releases: Path,
    model_folder: Path,
    works: int,
    classes: int = 4,
    vectors: np.ndarray | None = None,
    metadata: Callable[[int], dict[str, str]] = lambda _: {},
    label: Callable[[int], str | None] | None = None,
    seen: Callable[[int], bool] = lambda _: False,
    sha256: Callable[[int], str] = lambda _: "",
) -> str:
    """A release of given or of random vectors, for tests that need many; returns its id."""
    id_ = f"20990101T000000Z-{works:04x}"
    model = load_model(model_folder)
    if vectors is None:
        rng = np.random.default_rng(works)
        vectors = rng.normal(size=(works, model.manifest.dimension)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    entries = [
        Entry(
            row=i,
            id=f"w{i}",
            name=f"w{i}.png",
            label=label(i) if label else f"class{i % classes}",
            split=None,
            sha256=sha256(i),
            seen=seen(i),
            greyscale=False,
            width=9,
            height=9,
            metadata=metadata(i),
        )
        for i in range(works)
    ]
    thumbnail = make_thumbnail(photo(40, 30))
    labels, unseen = [entry.label for entry in entries], np.zeros(works, np.bool_)
    with new_folder(releases / id_) as folder:
        rows = ((entry, vectors[entry.row], thumbnail) for entry in entries)
        with write_works(folder, rows, vectors.shape, partial(places, model=model.manifest)):
            pass
        with closing(Catalogue(folder / CATALOGUE)) as catalogue:
            queries = Encoder(model, batch=1).encode(model.canaries()[0])
            canaries = ask_canaries(queries, FaissVectors.load(folder / INDEX), catalogue)
        manifest = ReleaseManifest(
            files={},
            id=id_,
            created="2099-01-01T00:00:00+00:00",
            model=model.version,
            model_digest=model.digest,
            preprocessing_version=model.manifest.preprocessing.version,
            precision=PRECISION,
            dimension=model.manifest.dimension,
            parts=model.manifest.parts,
            metric=model.manifest.metric,
            works=works,
            left_out={},
            bad=[],
            canaries=canaries,
            confidence=learn_confidence(vectors, labels, unseen, model.manifest),
        )
        write_manifest(folder, manifest)
    return id_


@pytest.fixture(scope="session")
def a_photo() -> bytes:
    """A JPEG that every search takes."""
    return encoded(photo(), "JPEG", quality=90)
