"""Decoding in other processes: the same pixels, and whatever goes wrong stays in there."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator

import numpy as np
import pytest

from app import decoding
from app.decoding import Decoder
from index.space.errors import ImageRejected
from index.space.picture_limits import UPLOAD_LIMITS
from index.space.preprocessing import Preprocessing, decode, to_pixels
from tests.app.conftest import Service
from tests.bad_pictures import encoded, photo, rejected

SPEC = Preprocessing(height=64, width=48)
PICTURE = encoded(photo(400, 300), "JPEG")
BIG = encoded(photo(4000, 3000), "PNG")


@pytest.fixture
def decoder() -> Iterator[Decoder]:
    decoder = Decoder(1)
    yield decoder
    decoder.stop()


def test_the_pixels_are_those_decoded_here(decoder: Decoder) -> None:
    here = to_pixels(decode(PICTURE, UPLOAD_LIMITS), SPEC)
    np.testing.assert_array_equal(decoder.pixels(PICTURE, SPEC), here)


def test_a_reason_comes_through(decoder: Decoder) -> None:
    for data, slug in rejected().values():
        with pytest.raises(ImageRejected) as refusal:
            decoder.pixels(data, SPEC)
        assert refusal.value.slug == slug


def test_a_picture_that_takes_too_long_is_refused(decoder: Decoder, monkeypatch) -> None:
    decoder.pixels(PICTURE, SPEC)
    with monkeypatch.context() as patch:
        patch.setattr(decoding, "SECONDS", 0.01)
        with pytest.raises(ImageRejected) as refusal:
            decoder.pixels(BIG, SPEC)
    assert refusal.value.slug == "too-slow-to-decode"
    assert decoder.pixels(PICTURE, SPEC).shape == (64, 48, 3)


def test_a_picture_that_takes_too_much_memory_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(decoding, "MEMORY", 2**25)
    decoder = Decoder(1)
    try:
        with pytest.raises(ImageRejected) as refusal:
            decoder.pixels(BIG, SPEC)
        assert refusal.value.slug == "too-much-memory"
        assert decoder.pixels(PICTURE, SPEC).shape == (64, 48, 3)
    finally:
        decoder.stop()


def test_a_crashed_process_is_replaced(decoder: Decoder) -> None:
    decoder.pixels(PICTURE, SPEC)
    for child in multiprocessing.active_children():
        os.kill(child.pid, signal.SIGKILL)
        child.join(5)
    assert decoder.pixels(PICTURE, SPEC).shape == (64, 48, 3)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_no_process_outlives_the_service(start_service, tiny_model, published) -> None:
    for end in (signal.SIGTERM, signal.SIGKILL):
        service: Service = start_service("--model", tiny_model, "--releases", published)
        service.wait_for("/readyz", 200)
        assert service.search(PICTURE).status_code == 200
        children = _children(service.process.pid)
        assert children
        service.process.send_signal(end)
        service.process.wait(20)
        limit = time.monotonic() + 10
        while any(os.path.exists(f"/proc/{pid}") for pid in children):
            assert time.monotonic() < limit, end
            time.sleep(0.05)


def _children(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(child) for child in file.read().split()]
