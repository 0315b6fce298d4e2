"""The folder of releases: refused and forced, rolled back, listed, verified, tidied up."""

from __future__ import annotations

import json
import shutil

from index.gate import gate_file
from index.release import open_release
from index.releases import current_release, release_ids
from tests.conftest import paint
from tests.index.rebuild_job import Job


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


def test_a_clock_set_back_makes_no_new_release_an_old_one(job: Job) -> None:
    assert job.run() == 0
    first = current_release(job.releases).name
    future = f"20990101T000000Z-{first[-4:]}"
    (job.releases / first).rename(job.releases / future)
    (job.releases / "current").unlink()
    paint("cubism", 777).save(job.root / "cubism" / "new.png")
    assert job.run() == 0
    assert current_release(job.releases).name.startswith("20990101T000001Z-")


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


def test_a_damaged_verdict_leaves_the_list_as_it_is(job: Job) -> None:
    assert job.run() == 0
    (verdict,) = (job.releases / "gates").iterdir()
    verdict.write_text("{")
    assert job.artkin("releases", "--releases", job.releases) == 0, job.err
    assert verdict.stem in job.out
