"""The whole path on one collection: train, export, rebuild, serve, ask. `make demo` runs it.

    python examples/demo.py [DATA] [--no-serve]

Everything it makes is below `demo/`, a folder a collection; run again, it trains no second time.
The picture it asks with is a test work, left out of the index.
"""

from __future__ import annotations

import argparse
import glob
import hashlib
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

from index.progress import say

URL = "http://127.0.0.1:8000"
DEMO = Path("demo")
PID = DEMO / "serve.pid"


def main() -> int:
    """Run every step; the first that fails ends the demo with its exit code."""
    parser = argparse.ArgumentParser(description="The whole path on one collection.")
    parser.add_argument("data", type=Path, nargs="?", default=Path("examples/art_institute"))
    parser.add_argument("--no-serve", action="store_true", help="end the service after the answer")
    parser.add_argument("--stop", action="store_true", help="only end a service left running")
    options = parser.parse_args()
    stop_service()
    if options.stop:
        return 0
    if not options.data.is_dir():
        say(f"DATA must be a folder of pictures, a folder a class; received {options.data}")
        return 2
    if is_port_taken():
        say(f"{URL} is taken by another process; end it, then run this again")
        return 2
    try:
        run_demo(options.data, keep_serving=not options.no_serve)
    except subprocess.CalledProcessError as error:
        return error.returncode
    return 0


def run_demo(data: Path, keep_serving: bool) -> None:
    """Train, export, rebuild, serve, ask, evaluate."""
    place = DEMO / f"{data.name}-{hashlib.sha256(str(data.resolve()).encode()).hexdigest()[:8]}"
    run, model, releases = place / "run", place / "models" / "demo-1", place / "releases"
    if not model.exists():
        resume = ["--resume"] if (run / "run.json").exists() else []
        artkin("train", data, "--run", run, *resume)
        artkin("export", run, "--to", model)
    else:
        say(f"\nThe model in {model} is used again; remove {place} to train it anew.")
    query = query_picture(run)
    places = ["--releases", releases, "--state", DEMO / "state"]
    artkin("rebuild", data, "--model", model, *places, "--exclude", glob.escape(query))
    artkin("evaluate", "--releases", releases)
    process = start_service(model, releases)
    try:
        say(f"\nThe query, {query}, is not in the index. Its five nearest works:")
        artkin("query", data / query, "--url", URL)
    finally:
        if not keep_serving:
            stop_service()
    if keep_serving:
        say(f"\nThe service runs on {URL} (process {process}); `make stop` ends it.")
        say(f"Ask it:    curl -F {shlex.quote(f'image=@{data / query}')} {URL}/v1/search")
        say(
            f'Evaluate:  curl -X POST -H "Authorization: Bearer $(cat {DEMO / "admin.key"})" '
            f"{URL}/v1/admin/evaluations"
        )


def artkin(*arguments: object) -> None:
    """Run one artkin command, shown as a user would type it.

    Raises:
        subprocess.CalledProcessError: it failed; it has said why.
    """
    words = [str(argument) for argument in arguments]
    say(f"\n$ artkin {shlex.join(words)}")
    subprocess.run([sys.executable, "artkin.py", *words], check=True)


def query_picture(run: Path) -> str:
    """Path inside the collection of the first test work in colour, or of any work."""
    works = json.loads((run / "works.json").read_text(encoding="utf-8"))["works"]
    best = min(works, key=lambda work: (work["part"] != "test", work["grey"], work["name"]))
    return str(best["name"])


def start_service(model: Path, releases: Path) -> int:
    """Start the service in the background and wait until it is ready.

    Returns:
        Its process id, also in demo/serve.pid.
    """
    key = DEMO / "admin.key"
    if not key.exists():
        artkin("key", key)
    command = [sys.executable, "artkin.py", "serve", "--model", model, "--releases", releases]
    command += ["--admin-key-file", key, "--state", DEMO / "state"]
    say(f"\n$ artkin {shlex.join(map(str, command[2:]))}")
    with (DEMO / "serve.log").open("wb") as log:
        process = subprocess.Popen(
            list(map(str, command)),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    PID.write_text(str(process.pid), encoding="ascii")
    for _ in range(300):
        if process.poll() is not None:
            say((DEMO / "serve.log").read_text(encoding="utf-8").strip())
            PID.unlink()
            raise subprocess.CalledProcessError(process.returncode, command)
        if is_ready(os.readlink(releases / "current")):
            return process.pid
        time.sleep(0.1)
    stop_service()
    say(f"the service was not ready within 30 s; see {DEMO / 'serve.log'}")
    raise subprocess.CalledProcessError(1, command)


def is_port_taken() -> bool:
    """Known before a model is trained for minutes."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", int(URL.rpartition(":")[2])))
        except OSError:
            return True
    return False


def is_ready(release: str) -> bool:
    """Whether the service answers queries over that release: another's would not do."""
    try:
        answer = httpx.get(f"{URL}/readyz", timeout=1)
        return answer.status_code == 200 and answer.json()["index_version"] == release
    except httpx.TransportError:
        return False


def stop_service() -> None:
    """End the service that an earlier demo left running, if it still runs."""
    if not PID.exists():
        return
    pid = int(PID.read_text(encoding="ascii"))
    PID.unlink()
    command = Path(f"/proc/{pid}/cmdline")
    if not command.exists() or b"serve" not in command.read_bytes():
        return  # it ended by itself, and the number may be another process's by now
    os.kill(pid, signal.SIGTERM)
    for _ in range(100):
        if not command.exists():
            return
        time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main())
