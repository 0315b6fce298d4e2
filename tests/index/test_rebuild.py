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

import numpy as np
import pytest

from index.known import Embedded, Known
from index.reading import read_picture
from index.rebuilt import REBUILT, last_rebuilt
from index.release import open_release
from index.releases import current_release, release_ids, writing
from index.space.encoder import Encoder
from index.space.model import load_model
from tests.conftest import Painter, paint
from tests.index.rebuild_job import Job

ROOT = Path(__file__).parents[2]


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


def test_a_dry_run_counts_as_the_run_does(
    job: Job, painted_collection: Painter, other_model: Path
) -> None:
    """What a stopped run has embedded, pictures of another model, a release that has it all."""
    works = kill_in_the_middle(job, painted_collection)
    before = {path: path.read_bytes() for path in job.releases.iterdir()}
    assert job.run("--dry-run") == 0
    assert {path: path.read_bytes() for path in job.releases.iterdir()} == before
    (said,) = re.findall(rf"{works} works, (\d+) pictures to embed", job.out)
    assert 0 < int(said) < works
    assert "a new release would be judged, and published if" in job.out
    assert job.run() == 0, job.err
    assert job.report["embedded"] == int(said)
    assert job.run("--dry-run") == 0
    assert f"{works} works, 0 pictures to embed, 0 unreadable\nnothing to do: release " in job.out
    assert "would be" not in job.out
    again = [str(job.root), "--model", str(other_model), *job.arguments[2:], "--dry-run"]
    assert job.artkin("rebuild", *again) == 0
    assert f"{works} works, {works} pictures to embed" in job.out
    assert "nothing to do" not in job.out
    (job.root / "cubism" / "unreadable.jpg").symlink_to("/proc/self/mem")  # also to root
    paint("cubism", 777).save(job.root / "cubism" / "new.png")
    refused = []
    for options in (["--dry-run"], []):
        assert job.run(*options, "--follow-links", "--max-bad", 0) == 2
        refused.append(job.err)
    assert "at most 0 % of the pictures may be unusable; received 1 of" in refused[0]
    assert refused[0] == refused[1]


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


def kill_in_the_middle(job: Job, painted_collection: Painter) -> int:
    """Kill a run that has embedded some works and not all; how many there are."""
    painted_collection(job.root, each=60, seed=3)
    works = len(list(job.root.rglob("*.*")))
    process = start(job)
    wait_until_some_are_kept(job, process)
    process.kill()
    process.communicate()
    return works


def test_killed_it_goes_on_from_what_was_embedded(job: Job, painted_collection: Painter) -> None:
    works = kill_in_the_middle(job, painted_collection)
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


def test_progress_as_json_is_objects_alone(job: Job) -> None:
    assert job.run("--progress", "json") == 0
    lines = [json.loads(line) for line in job.out.splitlines()]
    steps = [line for line in lines if "step" in line]
    assert {step["step"] for step in steps} >= {"reading files", "embedding"}
    last = [step for step in steps if step["step"] == "embedding"][-1]
    assert (last["done"], last["total"], last["seconds_left"]) == (30, 30, 0.0)
    assert any("published: release" in line.get("message", "") for line in lines)
    report = lines[-1]["report"]
    assert [line for line in lines if "report" in line] == [{"report": report}]
    said = job.report
    assert report["release"] == job.manifest["id"]
    assert (report["differences"], report["works"]) == (said["works"], 30)
    same = ("embedded", "seconds", "images_a_second")
    assert {name: report[name] for name in same} == {name: said[name] for name in same}
    kept = (job.releases / "gates" / f"{report['release']}.json").read_text()
    assert report["verdict"] == json.loads(kept)
    assert (report["is_new"], report["published"]) == (True, True)
    # The report is no sentence beside it.
    assert not any(line.get("message", "").startswith(("added:", "seconds:")) for line in lines)
    assert job.run("--progress", "json") == 0
    nothing = json.loads(job.out.splitlines()[-1])["report"]
    assert (nothing["release"], nothing["is_new"]) == (report["release"], False)
    assert (nothing["embedded"], sum(nothing["differences"].values())) == (0, 0)


def test_errors_are_objects_too_where_programs_follow(job: Job) -> None:
    assert job.run() == 0
    with writing(job.releases):
        assert job.run("--progress", "json") == 3
    error = json.loads(job.err)
    assert error["exit_code"] == 3
    assert error["error"].startswith("writing releases in ")
    # What the gate refuses has its report as well, with the verdict.
    for path in sorted(job.root.rglob("*.png"))[:8]:
        path.unlink()
    assert job.run("--progress", "json") == 3
    report = json.loads(job.out.splitlines()[-1])["report"]
    assert (report["published"], report["differences"]["removed"]) == (False, 8)
    assert [one["name"] for one in report["verdict"]["checks"] if not one["passed"]] == ["works"]
    assert json.loads(job.err)["exit_code"] == 3
    paint("cubism", 777).save(job.root / "cubism" / "new.png")
    assert job.run("--progress", "json", "--dry-run") == 0
    planned = json.loads(job.out.splitlines()[-1])["report"]
    assert (planned["dry_run"], planned["is_new"], planned["release"]) == (True, True, None)
    assert (planned["embedded"], planned["differences"]["added"]) == (1, 1)
    shutil.rmtree(job.root)
    for command in (["rebuild", str(job.root)], ["index", str(job.root)]):
        assert job.artkin(*command, *job.arguments, "--progress", "json") == 2
        assert json.loads(job.err)["exit_code"] == 2
    lost = ["--releases", job.root, "--progress", "json"]
    assert job.artkin("evaluate", *lost) == job.artkin("remove", "x", *lost) == 2
    assert json.loads(job.err)["exit_code"] == 2


def test_an_interrupted_run_says_so_as_an_object(job: Job, painted_collection: Painter) -> None:
    painted_collection(job.root, each=60, seed=3)
    process = start(job, "--progress", "json")
    wait_until_some_are_kept(job, process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert json.loads(err) == {"error": "interrupted", "exit_code": 130}


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


def test_what_came_of_the_last_rebuild_is_on_record(job: Job) -> None:
    assert last_rebuilt(job.releases) is None
    assert job.run() == 0
    first = last_rebuilt(job.releases)
    assert first is not None
    assert (first.ended, first.error) == (first.succeeded, None)
    # Backwards, so that the next one is seen to differ without waiting for a second.
    record = job.releases / REBUILT
    record.write_text(record.read_text().replace(str(first.ended.year), "2020"))
    assert job.run() == 0
    assert "nothing to do" in job.out
    assert last_rebuilt(job.releases).succeeded >= first.succeeded
    record.write_text(record.read_text().replace(str(first.ended.year), "2020"))
    for style in ("cubism", "ukiyo_e"):
        shutil.rmtree(job.root / style)
    assert job.run() == 3  # refused by the gate
    last = last_rebuilt(job.releases)
    assert last.succeeded.year == 2020
    assert last.ended >= first.ended
    assert "at most 10% fewer works" in last.error
    places = ("--releases", job.releases, "--state", job.state)
    assert job.artkin("rebuild", job.root, "--model", "nosuch", *places) == 2
    assert "nosuch" in last_rebuilt(job.releases).error
    before = record.read_bytes()
    with writing(job.releases):
        assert job.run() == 3  # another one is at work: this was no rebuild
    assert job.run("--dry-run") == 0
    assert record.read_bytes() == before
    record.write_text('{"ended": "soon", "succeeded": 3, "error": null}')
    assert last_rebuilt(job.releases) is None
