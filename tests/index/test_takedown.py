"""`artkin remove` and `artkin allow`: out of every release, and back."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

from index.changes import Changes
from index.release import open_release
from index.releases import current_release, release_ids
from index.space.artefact import sha256_of
from tests.conftest import paint
from tests.index.rebuild_job import Job


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


def test_a_removal_during_a_rebuild_that_the_gate_refuses_reaches_the_old_release(job: Job) -> None:
    """`artkin remove` leaves the releases to a rebuild that runs."""
    assert job.run() == 0
    (id_,) = release_ids(job.releases)
    release = open_release(job.releases / id_)
    taken = next(e.id for e in release.catalogue.entries() if e.name.startswith("baroque"))
    release.close()
    shutil.rmtree(job.root / "cubism")
    with closing(Changes(job.state / "changes")) as changes:
        changes.remove(taken)
    assert job.run() == 3
    assert current_release(job.releases).name == f"{id_}-1"
    release = open_release(current_release(job.releases))
    assert release.catalogue.by_id(taken) is None
    release.close()


def test_a_class_called_added_is_the_collections_own(job: Job) -> None:
    (job.root / "cubism").rename(job.root / "added")
    assert job.run() == 0
    release = open_release(current_release(job.releases))
    taken = next(e.id for e in release.catalogue.entries() if e.name == "added/cubism-0.png")
    release.close()
    places = ("--releases", job.releases, "--state", job.state)
    assert job.artkin("remove", taken, *places) == 0
    (job.root / "added" / "cubism-0.png").rename(job.root / "added" / "renamed.png")
    assert job.run() == 0
    assert job.manifest["works"] == 29
