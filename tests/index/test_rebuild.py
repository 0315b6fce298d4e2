"""`artkin rebuild`: what changed is embedded, nothing else; stopped, it goes on; one at a time."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import artkin
from benchmarks.rebuild_kills import Place
from benchmarks.rebuild_memory import memory
from index import archive
from index.gate import gate_file
from index.known import Embedded, Known
from index.reading import read_picture
from index.release import DIFFERENCES, open_release
from index.releases import current_release, release_ids, writing
from index.space.artefact import MANIFEST, sha256_of
from index.space.encoder import Encoder
from index.space.model import load_model
from tests.conftest import Painter, paint

ROOT = Path(__file__).parents[2]


@pytest.fixture
def art(tmp_path: Path, painted_collection: Painter) -> Path:
    """Thirty pictures that a test may change."""
    return painted_collection(tmp_path / "art", each=10)


class Job:
    """`artkin rebuild` of one collection."""

    def __init__(self, root: Path, model: Path, releases: Path, capsys: Any) -> None:
        self.root, self.releases = root, releases
        self.state = releases.with_name("state")
        self._capsys = capsys
        self.arguments = ["--model", str(model), "--releases", str(releases)]
        self.arguments += ["--state", str(self.state)]
        self.out = self.err = ""

    def run(self, *options: object) -> int:
        code = artkin.main(["rebuild", str(self.root), *self.arguments, *map(str, options)])
        self.out, self.err = self._capsys.readouterr()
        return code

    def artkin(self, command: str, *options: object) -> int:
        code = artkin.main([command, *map(str, options)])
        self.out, self.err = self._capsys.readouterr()
        return code

    @property
    def manifest(self) -> dict[str, Any]:
        return json.loads((current_release(self.releases) / MANIFEST).read_text())

    @property
    def report(self) -> dict[str, Any]:
        return self.manifest["report"]

    def differences(self) -> list[tuple[str, str]]:
        lines = (current_release(self.releases) / DIFFERENCES).read_text().splitlines()
        return sorted((one["kind"], one["name"]) for one in map(json.loads, lines))

    def vectors(self) -> dict[str, tuple[str, list[float], bytes]]:
        """By digest: name, vector, thumbnail."""
        release = open_release(current_release(self.releases))
        found = {}
        for entry in release.catalogue.entries():
            vector = release.vectors.get(np.array([entry.row]))[0]
            found[entry.sha256] = (entry.name, vector.tolist(), release.thumbnail(entry))
        release.close()
        return found


@pytest.fixture
def job(art: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Job:
    return Job(art, tiny_model, tmp_path / "releases", capsys)


def test_the_first_run_embeds_all_the_next_has_nothing_to_do(job: Job) -> None:
    assert job.run() == 0, job.err
    assert job.report["embedded"] == 30
    assert job.report["works"] == {
        **{"added": 30, "changed": 0, "moved": 0, "described": 0, "removed": 0}
    }
    assert job.report["before"] is None
    first = current_release(job.releases).name
    assert f"published: release {first}, 30 works" in job.out
    assert job.run() == 0
    assert "nothing to do: release" in job.out
    assert "embedding" not in job.out
    assert release_ids(job.releases) == [first]
    assert not list(job.releases.glob(".embedded*"))


def test_only_what_changed_is_embedded_and_each_kind_is_said(job: Job) -> None:
    (job.root / "manifest.csv").write_text("path,title\ncubism/cubism-4.png,Guitar\n")
    assert job.run() == 0
    before = job.vectors()
    paint("cubism", 777).save(job.root / "cubism" / "new.png")
    stat = (job.root / "cubism" / "cubism-0.png").stat()
    paint("cubism", 778).save(job.root / "cubism" / "cubism-0.png")
    os.utime(job.root / "cubism" / "cubism-0.png", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    (job.root / "cubism" / "cubism-2.png").rename(job.root / "cubism" / "renamed.png")
    (job.root / "ukiyo_e").rename(job.root / "Ukiyo_e")
    (job.root / "baroque" / "baroque-8.png").unlink()
    (job.root / "manifest.csv").write_text("path,title\ncubism/cubism-4.png,Guitare\n")
    assert job.run() == 0, job.err
    moved = [f"Ukiyo_e/ukiyo_e-{n}.{'jpg' if n % 2 else 'png'}" for n in range(10)]
    assert job.differences() == sorted(
        [
            ("added", "cubism/new.png"),
            ("changed", "cubism/cubism-0.png"),
            ("moved", "cubism/renamed.png"),
            *(("moved", name) for name in moved),
            ("described", "cubism/cubism-4.png"),
            ("removed", "baroque/baroque-8.png"),
        ]
    )
    assert job.report["embedded"] == 2
    assert job.manifest["works"] == 30
    after = job.vectors()
    kept = before.keys() & after.keys()
    assert len(kept) == 28
    for sha256 in kept:
        assert after[sha256][1:] == before[sha256][1:]
    assert "removed: 1 (baroque/baroque-8.png)" in job.out


def test_metadata_alone_embeds_nothing(job: Job) -> None:
    assert job.run() == 0
    (job.root / "manifest.csv").write_text("path,class,artist\ncubism/cubism-4.png,orphism,Sonia\n")
    assert job.run() == 0
    assert (job.report["embedded"], job.differences()) == (
        0,
        [("described", "cubism/cubism-4.png")],
    )
    release = open_release(current_release(job.releases))
    entry = next(e for e in release.catalogue.entries() if e.name == "cubism/cubism-4.png")
    assert (entry.label, entry.metadata) == ("orphism", {"artist": "Sonia"})
    release.close()


def test_a_dry_run_says_it_and_touches_nothing(job: Job) -> None:
    assert job.run("--dry-run") == 0
    assert "30 works, 30 pictures to embed, 0 unreadable" in job.out
    assert not job.releases.exists()
    assert job.run() == 0
    paint("cubism", 777).save(job.root / "cubism" / "new.png")
    before = sorted((p, p.stat().st_mtime_ns) for p in job.releases.rglob("*"))
    assert job.run("--dry-run") == 0
    assert "added: 1 (cubism/new.png)" in job.out
    assert "31 works, 1 pictures to embed" in job.out
    assert sorted((p, p.stat().st_mtime_ns) for p in job.releases.rglob("*")) == before


def test_bad_files_are_named_each_time_and_a_repaired_one_is_taken(job: Job) -> None:
    page = job.root / "cubism" / "page.jpg"
    page.write_text("<html>")
    shutil.copy(page, job.root / "cubism" / "page2.jpg")
    assert job.run("--max-bad", 10) == 0
    assert [bad["name"] for bad in job.manifest["bad"]] == ["cubism/page.jpg", "cubism/page2.jpg"]
    assert job.run("--max-bad", 10) == 0
    assert "skipped cubism/page.jpg: unsupported-image" in job.out
    assert "nothing to do" in job.out
    paint("cubism", 5).save(page, "JPEG")
    assert job.run("--max-bad", 10) == 0
    assert job.differences() == [("added", "cubism/page.jpg")]


def test_copies_are_embedded_once_and_reported(job: Job) -> None:
    shutil.copy(job.root / "cubism" / "cubism-0.png", job.root / "baroque" / "copy.png")
    assert job.run() == 0
    assert (job.report["embedded"], job.manifest["works"]) == (30, 31)
    assert job.report["exact_copies"]["names"] == [["baroque/copy.png", "cubism/cubism-0.png"]]
    (job.root / "baroque" / "copy.png").unlink()
    assert job.run() == 0
    assert job.differences() == [("removed", "baroque/copy.png")]


def start(job: Job, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "artkin.py", "rebuild", str(job.root), *job.arguments, *options]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True)  # fmt: skip


def wait_until_some_are_kept(job: Job, process: subprocess.Popen[str]) -> None:
    """Some pictures are embedded, not all."""
    while not any(p.stat().st_size > 60_000 for p in job.releases.glob(".embedded-*-wal")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)


def test_killed_it_goes_on_from_what_was_embedded(job: Job, painted_collection: Painter) -> None:
    painted_collection(job.root, each=60, seed=3)
    works = len(list(job.root.rglob("*.*")))
    process = start(job)
    wait_until_some_are_kept(job, process)
    process.kill()
    process.communicate()
    assert job.run() == 0, job.err
    assert "pictures were embedded by a run that was stopped" in job.out
    assert 0 < job.report["embedded"] < works
    assert job.manifest["works"] == works
    assert not list(job.releases.glob(".*embedded*"))
    again = Job(job.root, Path(job.arguments[1]), job.releases.with_name("other"), job._capsys)
    assert again.run() == 0
    assert job.vectors() == again.vectors()


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_it_leaves_what_it_had(
    job: Job, painted_collection: Painter, sent: signal.Signals, code: int
) -> None:
    painted_collection(job.root, each=60, seed=3)
    process = start(job)
    wait_until_some_are_kept(job, process)
    process.send_signal(sent)
    process.communicate(timeout=30)
    assert process.returncode == code
    assert release_ids(job.releases) == []
    assert not list(job.releases.glob(".*partial*"))
    assert job.run() == 0
    assert "going on: " in job.out


def test_two_at_once_are_refused_and_a_dead_ones_lock_is_free(job: Job) -> None:
    with writing(job.releases):
        process = start(job)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 3
        assert f"process {os.getpid()} on " in err
        assert " does since 20" in err
        assert err.count("\n") == 1
    holder = subprocess.Popen(
        [sys.executable, "-c", "import sys; from pathlib import Path; from index.releases import "
         "writing\nwith writing(Path(sys.argv[1])): print(1, flush=True); sys.stdin.read()",
         str(job.releases)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert holder.stdout is not None
    holder.stdout.readline()
    assert job.run() == 3
    holder.kill()
    holder.communicate()
    assert job.run() == 0


def test_what_killed_runs_left_behind_is_cleared(job: Job) -> None:
    job.releases.mkdir()
    (job.releases / ".20260101T000000Z-0000.partial-7").mkdir()
    (job.releases / ".20260101T000000Z-0000.partial-7" / "index.faiss").touch()
    (job.releases / ".current-99").symlink_to("nowhere")
    assert job.run() == 0
    hidden = sorted(p.name for p in job.releases.iterdir() if p.name.startswith("."))
    assert hidden == [".lock"]


def test_a_damaged_store_is_said_and_embedded_again(job: Job, tiny_model: Path) -> None:
    job.releases.mkdir()
    name = f".embedded-{load_model(tiny_model).digest[:16]}-f32.sqlite"
    (job.releases / name).write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    assert job.run() == 0, job.err
    assert "is damaged" in job.out
    assert job.report["embedded"] == 30


def test_a_damaged_release_gives_nothing(job: Job) -> None:
    assert job.run() == 0
    index = current_release(job.releases) / "index.faiss"
    data = bytearray(index.read_bytes())
    data[-100] ^= 1
    index.write_bytes(data)
    assert job.run() == 0, job.err
    assert "warning: nothing is taken from release" in job.out
    assert job.report["embedded"] == 30


def test_progress_as_json_is_objects_alone(job: Job) -> None:
    assert job.run("--progress", "json") == 0
    lines = [json.loads(line) for line in job.out.splitlines()]
    steps = [line for line in lines if "step" in line]
    assert {step["step"] for step in steps} >= {"reading files", "embedding"}
    last = [step for step in steps if step["step"] == "embedding"][-1]
    assert (last["done"], last["total"], last["seconds_left"]) == (30, 30, 0.0)
    assert any("published: release" in line.get("message", "") for line in lines)


def test_a_collection_that_shrinks_too_much_is_refused_and_can_be_forced(job: Job) -> None:
    assert job.run() == 0
    served = current_release(job.releases).name
    shutil.rmtree(job.root / "cubism")
    assert job.run() == 3
    candidate = release_ids(job.releases)[-1]
    assert "works: at most 10% fewer works than in the release served; before 30, now 20" in job.err
    assert f"artkin publish {candidate} --releases {job.releases} --force 'REASON'" in job.err
    assert current_release(job.releases).name == served
    verdict = json.loads(gate_file(job.releases, candidate).read_text())
    failed = [check for check in verdict["checks"] if not check["passed"]]
    assert [(c["name"], c["before"], c["after"]) for c in failed] == [("works", 30, 20)]
    # The next night it is the same release that is refused.
    assert job.run() == 3
    assert release_ids(job.releases) == [served, candidate]
    place = ("--releases", job.releases)
    assert job.artkin("publish", candidate, *place) == 3
    assert job.artkin("publish", candidate, *place, "--force", " ") == 2
    assert job.artkin("publish", candidate, *place, "--force", "cubism was sold") == 0
    line = json.loads((job.releases / "history.jsonl").read_text().splitlines()[-1])
    assert (line["release"], line["before"], line["forced"]) == (
        candidate,
        served,
        "cubism was sold",
    )
    assert "at most 10% fewer works" in line["refused"]
    assert line["by"]
    assert line["time"].startswith("20")


def test_an_empty_or_lost_collection_is_refused_and_the_old_one_serves(job: Job) -> None:
    assert job.run() == 0
    served = current_release(job.releases)
    away = job.root.rename(job.root.with_name("away"))
    assert job.run() == 2
    job.root.mkdir()
    assert job.run() == 2
    assert "holds no pictures" in job.err
    assert current_release(job.releases) == served
    job.root.rmdir()
    away.rename(job.root)
    assert job.run() == 0


def test_rollback_goes_to_what_was_served_before(job: Job) -> None:
    place = ("--releases", job.releases)
    assert job.run() == 0
    first = current_release(job.releases).name
    assert job.artkin("rollback", *place) == 2
    assert "there is no release before the published one" in job.err
    paint("cubism", 777).save(job.root / "cubism" / "new.png")
    assert job.run() == 0
    second = current_release(job.releases).name
    assert job.artkin("rollback", *place) == 0
    assert current_release(job.releases).name == first
    assert job.artkin("rollback", *place) == 2  # not to and fro
    # The next night does not bring back what was rolled back, a new state of the collection does.
    assert job.run() == 3
    assert f"release {second} has it all, but " in job.err
    assert f"artkin publish {second} --releases" in job.err
    assert current_release(job.releases).name == first
    assert job.artkin("rollback", second, *place) == 0
    assert current_release(job.releases).name == second
    assert job.artkin("releases", *place, "--json") == 0
    listed = json.loads(job.out)
    assert [one["id"] for one in listed] == [second, first]
    assert [one["published"] for one in listed] == [True, False]
    assert [one["works"] for one in listed] == [31, 30]
    assert listed[0]["precision_at_5"] is not None
    assert listed[0]["bytes"] > 30_000
    assert job.artkin("releases", *place) == 0
    assert "published" in job.out
    assert job.artkin("verify", *place) == 0
    assert job.out.count(": whole, ") == 2
    index = job.releases / first / "index.faiss"
    index.write_bytes(index.read_bytes()[:-1])
    assert job.artkin("verify", *place) == 2
    assert f"1 of 2 releases are damaged: {first}" in job.err
    assert job.artkin("verify", second, *place) == 0


def test_old_releases_go_by_count_and_age_but_none_in_use(job: Job) -> None:
    ids = []
    for number in range(5):
        paint("cubism", 800 + number).save(job.root / "cubism" / f"new{number}.png")
        assert job.run() == 0
        ids.append(current_release(job.releases).name)
    assert release_ids(job.releases) == ids  # none is 30 days old
    held = open_release(job.releases / ids[1])
    assert job.run("--keep", 2, "--keep-days", 0) == 0
    assert release_ids(job.releases) == [ids[1], *ids[3:]]
    held.close()
    assert job.run("--keep", 0, "--keep-days", 0) == 0
    assert release_ids(job.releases) == [ids[4]]
    assert current_release(job.releases).name == ids[4]


def test_a_removed_work_is_out_of_every_release_and_stays_out(job: Job) -> None:
    (job.root / "manifest.csv").write_text("path,id,title\ncubism/cubism-0.png,guitar,Guitar\n")
    assert job.run() == 0
    paint("cubism", 777).save(job.root / "cubism" / "new.png")
    assert job.run() == 0
    old, current = release_ids(job.releases)
    thumbnail = job.vectors()[sha256_of(job.root / "cubism" / "cubism-0.png")][2]
    place = ("--releases", job.releases, "--state", job.state)
    assert job.artkin("remove", "guitarr", *place) == 2
    assert "received 'guitarr', which is in none" in job.err
    assert job.artkin("remove", "guitar", *place, "--reason", "the heirs' wish") == 0, job.err
    assert release_ids(job.releases) == [f"{old}-1", f"{current}-1"]
    assert current_release(job.releases).name == f"{current}-1"
    for id_, works in zip(release_ids(job.releases), (29, 30), strict=True):
        release = open_release(job.releases / id_)
        assert len(release.vectors) == len(release.catalogue) == works
        assert release.catalogue.by_id("guitar") is None
        release.close()
        data = b"".join(p.read_bytes() for p in (job.releases / id_).iterdir())
        assert thumbnail not in data
        assert b"guitar" not in data.lower()
        assert b"cubism-0.png" not in data
    # Out of what is built later, although its picture is there.
    assert job.run() == 0
    assert "nothing to do" in job.out
    paint("cubism", 779).save(job.root / "cubism" / "newer.png")
    assert job.run() == 0
    assert job.manifest["works"] == 31
    # Nor does it come back under another name.
    (job.root / "cubism" / "cubism-0.png").rename(job.root / "cubism" / "renamed.png")
    (job.root / "manifest.csv").write_text("path,title\n")
    assert job.run() == 0
    assert job.manifest["works"] == 31
    assert "nothing to do" in job.out
    (job.root / "cubism" / "renamed.png").rename(job.root / "cubism" / "cubism-0.png")
    (job.root / "manifest.csv").write_text("path,id,title\ncubism/cubism-0.png,guitar,Guitar\n")
    # Taken back, it is there again.
    assert job.artkin("allow", "nobody", "--state", job.state) == 2
    assert job.artkin("allow", "guitar", "--state", job.state) == 0
    assert job.run() == 0
    assert job.differences() == [("added", "cubism/cubism-0.png")]
    assert job.report["embedded"] == 1


def test_a_clock_set_back_makes_no_new_release_an_old_one(job: Job) -> None:
    assert job.run() == 0
    first = current_release(job.releases).name
    future = f"20990101T000000Z-{first[-4:]}"
    (job.releases / first).rename(job.releases / future)
    (job.releases / "current").unlink()
    paint("cubism", 777).save(job.root / "cubism" / "new.png")
    assert job.run() == 0
    assert current_release(job.releases).name.startswith("20990101T000001Z-")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_full_disk_at_any_write_serves_on_and_says_what_is_needed(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Disks of every size: refused beforehand, and, where the system promised more than it has, at
    whichever write the room ends."""
    small = tmp_path / "small"
    small.mkdir()
    job.releases = small / "releases"
    job.arguments[3] = str(job.releases)
    usage = shutil.disk_usage

    def mount(*options: str) -> bool:
        command = ["mount", "-t", "tmpfs", *options, "artkin-test", str(small)]
        return subprocess.run(command, check=False, capture_output=True).returncode == 0

    if not mount("-o", "size=4m"):
        pytest.skip("mounting is not allowed here")
    try:
        assert job.run() == 0
        served = current_release(job.releases)
        used = usage(small).used
        for number in range(30):
            paint("cubism", 100 + number, (300, 200)).save(job.root / "cubism" / f"x{number}.png")
        assert mount("-o", f"remount,size={used + 100_000}")
        assert job.run() == 2
        assert "the disk is full" in job.err
        assert re.search(r"takes about \d+ MB, \d+ MB are free", job.err)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage("/")._replace(free=1 << 40))
        codes = []
        for room in range(4096, 1 << 20, 28_672):
            assert mount("-o", f"remount,size={usage(small).used + room}")
            codes.append(job.run())
            if codes[-1] == 0:
                break
            assert codes[-1] == 2, job.err
            assert job.err.count("\n") == 1
            assert "the disk is full" in job.err
            assert current_release(job.releases) == served
            open_release(served).close()
            assert not list(job.releases.glob(".*partial*"))
        assert codes[-1] == 0
        assert len(codes) > 5
        assert job.manifest["works"] == 60
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_killed_at_writes_and_at_random_nothing_is_torn_lost_or_doubled(
    tiny_model: Path, tmp_path: Path
) -> None:
    """The short version of `benchmarks.rebuild_kills`."""
    place = Place(tmp_path, tiny_model)
    for at in range(2, 32, 6):
        place.change()
        assert place.run(at)[0], f"no write {at}"
        assert not place.is_torn()
    assert place.at_random(3)["torn"] == 0
    left = place.left_alone()
    assert left["works"] == 24
    assert (left["lost"], left["doubled_or_stale"], left["other_vectors"]) == (0, 0, 0)
    assert left["left_behind"] == []


def test_memory_does_not_grow_with_the_works(tiny_model: Path) -> None:
    """The short version of `benchmarks.rebuild_memory`; without classes, as evaluation takes as
    much as the works of a sample."""
    few, many = (memory(tiny_model, works, classes=0)["peak_mib"] for works in (300, 1500))
    assert many < 1.1 * few


def test_a_file_that_changes_while_it_is_read_is_read_again(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each picture is written anew when it is decoded for the first time, by another program."""
    decode, seen = archive.decode, set()

    def changing(data: bytes, limits: object) -> object:
        for path in job.root.rglob("*.png"):
            if path not in seen and path.read_bytes() == data:
                seen.add(path)
                paint("cubism", 500 + len(seen)).save(path)
        return decode(data, limits)

    monkeypatch.setattr(archive, "decode", changing)
    assert job.run() == 0, job.err
    assert job.manifest["works"] == 30
    assert job.manifest["bad"] == []
    found = job.vectors()
    assert found.keys() == {sha256_of(path) for path in job.root.rglob("*.*")}


def test_another_model_embeds_all_again_beside_the_old_release(
    job: Job, tiny_model: Path, other_model: Path
) -> None:
    assert job.run() == 0
    old = current_release(job.releases)
    before = {path: path.read_bytes() for path in old.iterdir()}
    arguments = [str(job.root), "--model", str(other_model), *job.arguments[2:]]
    assert job.artkin("index", *arguments) == 0, job.err
    assert current_release(job.releases) == old  # nothing is switched until it is published
    new = release_ids(job.releases)[-1]
    release = open_release(job.releases / new)
    assert release.manifest.report is not None
    assert (release.manifest.model, release.manifest.report.embedded) == ("tiny-2", 30)
    assert release.vectors.dimension == 24
    encoder = Encoder(load_model(other_model), batch=1)
    for entry in release.catalogue.entries():
        _, pixels, _ = read_picture(job.root / entry.name, encoder.model.manifest.preprocessing)
        vector = release.vectors.get(np.array([entry.row]))[0]
        assert vector == pytest.approx(encoder.encode(pixels[np.newaxis])[0], abs=1e-5)
    release.close()
    assert {path: path.read_bytes() for path in old.iterdir()} == before
    # Each model goes on from its own: two models beside each other, nothing is embedded again.
    paint("cubism", 777).save(job.root / "cubism" / "new.png")
    for model, name in ((tiny_model, "tiny-1"), (other_model, "tiny-2")):
        assert job.artkin("rebuild", arguments[0], "--model", str(model), *arguments[3:]) == 0
        assert (job.manifest["model"], job.report["embedded"]) == (name, 1)
    assert len(release_ids(job.releases)) == 4


def test_what_a_stopped_run_has_embedded_outlives_the_job_of_another_model(
    job: Job, other_model: Path
) -> None:
    """A new model's first run may take days, and the old one's nightly job goes on."""
    job.releases.mkdir()
    model = load_model(other_model)
    with Known(job.releases, model, []) as known:
        known.add([Embedded("0" * 64, np.eye(24, dtype=np.float32)[0], b"webp", 9, 9, False)])
    assert job.run() == 0
    with Known(job.releases, model, []) as known:
        assert len(known) == 1
    # But not a removed work, which may be in it.
    work = next(iter(job.vectors().values()))[0]
    release = open_release(current_release(job.releases))
    id_ = next(entry.id for entry in release.catalogue.entries() if entry.name == work)
    release.close()
    assert job.artkin("remove", id_, "--releases", job.releases, "--state", job.state) == 0
    assert not list(job.releases.glob(".embedded*"))


def test_a_removal_that_was_killed_or_undone_by_a_backup_is_finished(
    job: Job, tiny_model: Path, tmp_path: Path
) -> None:
    assert job.run() == 0
    (id_,) = release_ids(job.releases)
    places = ("--releases", job.releases, "--state", job.state)
    backup = tmp_path / "art.tar"
    pack = ("--model", tiny_model, "--releases", job.releases, "--to", backup)
    assert job.artkin("pack", *pack) == 0
    whole = shutil.copytree(job.releases / id_, tmp_path / id_)
    release = open_release(job.releases / id_)
    taken = next(release.catalogue.entries()).id
    release.close()
    assert job.artkin("remove", taken, *places) == 0
    # As if killed between writing the new release and removing the old one.
    shutil.copytree(whole, job.releases / id_)
    assert job.artkin("remove", *places) == 0, job.err
    assert release_ids(job.releases) == [f"{id_}-1", f"{id_}-2"]
    models = ("--models", tmp_path / "models", "--state", job.state)
    assert job.artkin("restore", backup, "--releases", job.releases, *models) == 0, job.err
    for one in release_ids(job.releases):
        release = open_release(job.releases / one)
        assert release.catalogue.by_id(taken) is None
        release.close()
    assert job.run() == 0


def test_a_damaged_release_is_not_rolled_back_to(job: Job) -> None:
    assert job.run() == 0
    first = current_release(job.releases)
    paint("cubism", 777).save(job.root / "cubism" / "new.png")
    assert job.run() == 0
    served = current_release(job.releases)
    data = bytearray((first / "thumbnails.sqlite").read_bytes())
    data[5000] ^= 1
    (first / "thumbnails.sqlite").write_bytes(data)
    assert job.artkin("rollback", "--releases", job.releases) == 2
    assert "thumbnails.sqlite is not the file" in job.err
    assert current_release(job.releases) == served
