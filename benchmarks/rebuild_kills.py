"""`artkin rebuild` killed again and again: is anything torn, lost or doubled?

    python -m benchmarks.rebuild_kills MODEL [--kills 500]

A small collection changes before each run: a picture comes, one goes, one is replaced, one moves.
Runs are killed with SIGKILL: at every write in turn (each opening, renaming, linking, making and
removing of a file below the releases), and at random moments; now and then one is left alone. After
each the published release must open, verified whole; at the end a run that is left alone must give
what a first run over the same collection gives, to the bit.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import command
from benchmarks.robust import write
from index.release import open_release
from index.releases import current_id, current_release, release_ids
from index.space.errors import ArtefactError
from tests.conftest import paint

STYLES = ("baroque", "cubism", "ukiyo_e")
EACH = 8
# Python's audit events of whatever changes a folder; SIGKILL at the n-th below the releases.
REBUILD = """
import os, signal, sys
from pathlib import Path
from index.rebuild import rebuild
from index.source import Source
from index.space.model import load_model
collection, model, releases, at = sys.argv[1:]
count = 0
def audit(event, arguments):
    global count
    writes = ("os.rename", "os.remove", "os.rmdir", "os.symlink", "os.mkdir", "sqlite3.connect")
    mode = arguments[1] if event == "open" else None
    if event in writes or isinstance(mode, str) and "r" not in mode:
        named = [a for a in arguments if isinstance(a, (str, bytes, Path))]
        names = [os.fsdecode(a) for a in named]
        if any(releases in name and "?mode=ro" not in name for name in names):
            count += 1
            if count == int(at):
                os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(audit)
source = Source([Path(collection)], state=Path(collection).with_name("state"), max_bad=0)
print("begun", flush=True)
rebuild(source, load_model(Path(model)), Path(releases), keep=2, keep_days=0)
print("writes", count, flush=True)
"""


def main() -> None:
    """Kill, look, write the result."""
    parser = command.Command(__doc__)
    parser.add_argument("model", type=command.model)
    parser.add_argument("--kills", type=command.count, default=500)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder), options.model)
        result = {
            "at_every_write": place.at_every_write(),
            "at_random": place.at_random(options.kills),
            "left_alone": place.left_alone(),
        }
    called = f"python -m benchmarks.rebuild_kills {options.model} --kills {options.kills}"
    write("rebuild_kills", called, result)


class Place:
    """A collection that changes, and its releases."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.collection, self.releases = folder / "art", folder / "releases"
        self.model = model.resolve()
        self._rng = random.Random(0)  # noqa: S311
        self._number = self._changes = 0
        for style in STYLES:
            (self.collection / style).mkdir(parents=True)
            for _ in range(EACH):
                self._paint(style)
        self.seconds = self.run(0)[1]

    def at_every_write(self) -> dict[str, Any]:
        """One kill at each, until a run has no more of them."""
        kills, torn = 0, 0
        while True:
            self.change()
            killed, _ = self.run(kills + 1)
            if not killed:
                return {"writes": kills, "torn": torn}
            kills += 1
            torn += self.is_torn()

    def at_random(self, times: int) -> dict[str, Any]:
        """Kills at moments spread over a whole run, and beyond."""
        kills, torn, published = 0, 0, set()
        for _ in range(times):
            self.change()
            killed, _ = self.run(0, self._rng.uniform(0, 1.1 * self.seconds))
            kills += killed
            torn += self.is_torn()
            published.add(current_id(self.releases))
        return {"runs": times, "killed": kills, "torn": torn, "releases_published": len(published)}

    def left_alone(self) -> dict[str, Any]:
        """The last run, against a first one over the same collection."""
        self.run(0)
        mine = self._content(self.releases)
        self.releases = self.releases.with_name("first")
        self.run(0)
        first = self._content(self.releases)
        hidden = [path.name for path in self.releases.iterdir() if path.name.startswith(".")]
        return {
            "works": len(first),
            "lost": len(first.keys() - mine.keys()),
            "doubled_or_stale": len(mine.keys() - first.keys()),
            "other_vectors": sum(mine[id_] != first[id_] for id_ in first.keys() & mine.keys()),
            "left_behind": [name for name in hidden if name != ".lock"],
        }

    def run(self, at: int, seconds: float | None = None) -> tuple[bool, float]:
        """Run it; whether it was killed, and how long it took after its imports."""
        process = subprocess.Popen(
            [sys.executable, "-c", REBUILD, self.collection, self.model, self.releases, str(at)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        while "begun" not in (line := process.stdout.readline()):
            assert line, "it did not begin"
        begun = time.monotonic()
        if seconds is not None:
            try:
                process.wait(seconds)
            except subprocess.TimeoutExpired:
                process.kill()
        process.communicate()
        assert process.returncode in (0, -9), process.returncode
        return process.returncode != 0, time.monotonic() - begun

    def change(self) -> None:
        """Of four works something; before every eighth change a run is left alone, or at some time
        half of the works served would be gone, which the gate refuses."""
        self._changes += 1
        if self._changes % 8 == 0:
            self.run(0)
        files = sorted(path for path in self.collection.rglob("*.png"))
        gone, replaced, moved = self._rng.sample(files, 3)
        style = gone.parent.name
        gone.unlink()
        self._paint(style)
        self._paint(replaced.parent.name, replaced)
        moved.rename(moved.with_name(f"moved-{self._number}.png"))

    def _paint(self, style: str, path: Path | None = None) -> None:
        self._number += 1
        path = path or self.collection / style / f"{self._number}.png"
        paint(style, self._number).save(path)

    def is_torn(self) -> bool:
        """Whether the published release, or any, cannot be opened."""
        try:
            if current_id(self.releases) is not None:
                current_release(self.releases)
            for id_ in release_ids(self.releases):
                open_release(self.releases / id_).close()
        except ArtefactError as error:
            print(error)
            return True
        return False

    def _content(self, releases: Path) -> dict[str, tuple[Any, ...]]:
        release = open_release(current_release(releases))
        found = {}
        for entry in release.catalogue.entries():
            vector = release.vectors.get(np.array([entry.row]))[0].tobytes()
            found[entry.id] = (entry.name, entry.sha256, vector, release.thumbnail(entry))
        release.close()
        return found


if __name__ == "__main__":
    command.run(main)
