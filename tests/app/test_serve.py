"""`artkin serve` as a command: settings, messages, exit codes, a graceful stop."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from urllib.parse import urlsplit

import httpx
import pytest
from PIL import Image

import artkin
from app.serve import _listen
from app.settings import read_settings
from index.space.errors import BadInput
from tests.app.conftest import ROOT, Service

COLLECTION = "examples/art_institute"


def test_flags_override_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARTKIN_PORT", "9001")
    monkeypatch.setenv("ARTKIN_HOST", "0.0.0.0")
    monkeypatch.setenv("ARTKIN_ADMIN_KEY_FILE", "")  # as compose files leave it
    settings = read_settings({"port": 9002, "host": None})
    assert (settings.port, settings.host) == (9002, "0.0.0.0")
    assert settings.admin_key_file is None


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("ARTKIN_PROT", "9000", "ARTKIN_PROT is not a setting.*ARTKIN_PORT"),
        ("ARTKIN_PORT", "many", "ARTKIN_PORT.*received 'many'"),
        ("ARTKIN_PORT", "70000", "less than or equal to 65535"),
        ("ARTKIN_MAX_BODY_BYTES", "0", "ARTKIN_MAX_BODY_BYTES"),
    ],
)
def test_bad_settings_are_named(monkeypatch, name: str, value: str, message: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(BadInput, match=message):
        read_settings({})


def test_the_default_address_is_this_machine_only() -> None:
    assert read_settings({}).host == "127.0.0.1"


def test_unknown_variables_stop_the_start_in_one_line(monkeypatch, capsys) -> None:
    monkeypatch.setenv("ARTKIN_RELEASE", "x")
    assert artkin.main(["serve"]) == 2
    message = capsys.readouterr().err
    assert message.startswith("artkin serve: error: ARTKIN_RELEASE is not a setting")
    assert message.count("\n") == 1


def test_a_taken_port_is_one_line(service: Service, capsys) -> None:
    assert artkin.main(["serve", "--port", str(urlsplit(service.url).port)]) == 2
    message = capsys.readouterr().err
    assert message.startswith("artkin serve: error: cannot listen on 127.0.0.1 port")
    assert "Address already in use; name another" in message
    assert message.count("\n") == 1


def test_answers_do_not_wait_for_acknowledgements() -> None:
    with _listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        taken, _ = listener.accept()
        assert taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        taken.close()


def test_a_key_file_that_is_not_there_is_named_with_its_flag(capsys) -> None:
    assert artkin.main(["serve", "--port", "0", "--admin-key-file", "no.such.file"]) == 2
    message = capsys.readouterr().err
    assert "--admin-key-file or ARTKIN_ADMIN_KEY_FILE" in message
    assert "received no.such.file: No such file or directory" in message


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["query", "--help"], ["check", COLLECTION], ["check", COLLECTION, "--json"]],
)
def test_whoever_has_read_enough_may_go(arguments: list[str]) -> None:
    """`artkin ... | head` is no error: nothing is said, and the exit code is the shell's own."""
    reader, writer = os.pipe()
    os.close(reader)
    # Python's default, to hold back what is printed, is the harder case.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        [sys.executable, "-m", "artkin", *arguments],
        cwd=ROOT,
        env=environment,
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("flag", ["--host", "--admin-key-file"])
def test_an_unknown_host_or_key_file_is_one_line(capsys, flag: str) -> None:
    assert artkin.main(["serve", "--port", "0", flag, "no.such.invalid"]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "no.such.invalid" in message


def test_ready_is_said_with_the_address(service: Service) -> None:
    ready = [line for line in service.log if "ready on" in line]
    assert len(ready) == 1
    assert service.url in ready[0]
    assert "24 works" in ready[0]


def test_sigterm_finishes_what_is_in_flight(start_service, tiny_model, published, a_photo) -> None:
    service = start_service("--model", tiny_model, "--releases", published)
    service.wait_for("/readyz", 200)
    address = urlsplit(service.url)
    headers = f"Host: x\r\nContent-Type: image/jpeg\r\nContent-Length: {len(a_photo)}\r\n\r\n"
    head = f"POST /v1/search HTTP/1.1\r\n{headers}"
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        connection.sendall(head.encode() + a_photo[:500])
        time.sleep(0.3)
        service.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        connection.sendall(a_photo[500:])
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 200")
    assert b'"rank":5' in answer
    assert service.process.wait(10) == 0
    assert "stopped" in service.log[-1]


def test_a_stop_does_not_wait_for_ever(start_service, tiny_model, published) -> None:
    """A client that never finishes its upload is cut off within the grace."""
    service = start_service("--model", tiny_model, "--releases", published)
    service.wait_for("/readyz", 200)
    address = urlsplit(service.url)
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(b"POST /v1/search HTTP/1.1\r\nHost: x\r\n")
        connection.sendall(b"Content-Type: image/png\r\nContent-Length: 99\r\n\r\n")
        time.sleep(0.3)
        assert service.stop() == 0


def test_ctrl_c_is_an_interruption(start_service, published) -> None:
    service = start_service("--releases", published)
    service.process.send_signal(signal.SIGINT)
    assert service.process.wait(10) == 130


def test_the_service_loads_neither_tensorflow_nor_training() -> None:
    code = (
        "import sys, app.serve, app.client; "
        "loaded = {name.split('.')[0] for name in sys.modules}; "
        "bad = loaded & {'tensorflow', 'keras', 'training', 'torch'}; "
        "sys.exit(str(bad) if bad else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_batch_longer_than_the_grace_is_refused_and_the_process_ends(
    start_service, tiny_model, published
) -> None:
    """Large pictures, ten seconds of them: told to stop, the service says so and is gone."""
    service = start_service("--model", tiny_model, "--releases", published)
    service.wait_for("/readyz", 200)
    file = io.BytesIO()
    Image.linear_gradient("L").resize((4990, 5000)).convert("RGB").save(file, "PNG")
    files = [("image", file.getvalue())] * 32
    answers: list[httpx.Response] = []
    thread = threading.Thread(
        target=lambda: answers.append(service.post("/v1/search/batch", files=files))
    )
    thread.start()
    time.sleep(2)
    assert service.stop() == 0
    thread.join()
    (answer,) = answers
    assert (answer.status_code, answer.json()["type"]) == (503, "/problems/draining")
