"""`artkin index`: a collection and a model become a release.

    artkin index COLLECTION --model models/seed-1 --releases releases

Files are read and decoded by a few threads while the model embeds what they have finished; what
cannot be decoded is named and left out. The release appears whole when everything is written.
"""

from __future__ import annotations

import argparse
import shlex
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from index.catalogue import Catalogue, write_catalogue
from index.changes import Change, read_changes
from index.collection import Collection, add_folders, read_collection
from index.confidence import learn_confidence
from index.embedding import BATCH, Embedded, embed
from index.map import places
from index.progress import counted, say
from index.release import (
    CATALOGUE,
    INDEX,
    THUMBNAILS,
    Canary,
    ReleaseManifest,
    ask_canaries,
    new_release_id,
)
from index.space.artefact import new_folder, refuse_file, write_manifest
from index.space.encoder import PRECISION, Encoder
from index.space.errors import BadInput
from index.space.model import Model, load_model
from index.vectors import FaissVectors


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `artkin index`."""
    add_folders(parser)
    parser.add_argument("--model", type=Path, required=True, help="folder of an exported model")
    parser.add_argument("--releases", type=Path, default=Path("releases"), help="where to write")
    parser.add_argument(
        "--max-bad",
        type=float,
        default=5.0,
        metavar="PERCENT",
        help="stop when more of the pictures cannot be used (default 5)",
    )
    parser.add_argument(
        "--exclude",
        action="append",
        default=[],
        metavar="PATTERN",
        help="leave out paths inside the collection, e.g. 'drafts/*'; may be repeated",
    )
    parser.add_argument(
        "--changes",
        type=Path,
        metavar="DIR",
        help="works added and deleted while a service ran: `changes` in its --state",
    )


def main(options: argparse.Namespace) -> None:
    """Run `artkin index`."""
    build(
        options.collection,
        options.model,
        options.releases,
        options.max_bad,
        options.exclude,
        options.changes,
        options.manifest,
        options.follow_links,
    )


def build(
    roots: Path | Sequence[Path],
    model_folder: Path,
    releases: Path,
    max_bad: float = 5.0,
    exclude: Sequence[str] = (),
    changes: Path | None = None,
    manifest: Path | None = None,
    follow_links: bool = False,
) -> str:
    """Write a new release of a collection; nothing is published.

    Args:
        max_bad: percent of the pictures that may be unusable.
        exclude: shell patterns of paths inside the collection to leave out.
        changes: folder of works added and deleted while a service ran.
        manifest, follow_links: see `index.collection.read_collection`.

    Returns:
        The release's id.

    Raises:
        BadInput: no usable pictures, too many bad ones, or `releases` cannot be made or is
            inside the collection.
        ArtefactError: the model is damaged, or computes another space on this machine.
    """
    if not 0 <= max_bad <= 100:
        raise BadInput(f"--max-bad must be a percentage from 0 to 100; received {max_bad:g}")
    for root in [roots] if isinstance(roots, Path) else roots:
        _check_places(root, releases)
    start = time.monotonic()
    model = load_model(model_folder)
    encoder = Encoder(model, batch=BATCH)
    encoder.check_canaries()
    collection = read_collection(roots, exclude, manifest, follow_links)
    if changes is not None:
        collection = _changed(collection, read_changes(changes))
    for warning in collection.warnings:
        say(f"warning: {warning}")
    id_ = new_release_id()
    with new_folder(releases / id_) as folder:
        embedded = embed(collection.works, encoder, folder / THUMBNAILS)
        _check_bad(embedded, len(collection.works), max_bad)
        canaries = _write(folder, embedded, encoder)
        write_manifest(folder, _manifest(id_, model, collection, embedded, canaries))
    _summarise(collection, embedded, time.monotonic() - start)
    place = shlex.quote(str(releases))
    say(f"release {id_} is written; serve it with: artkin publish {id_} --releases {place}")
    return id_


def _changed(collection: Collection, changes: Sequence[Change]) -> Collection:
    """The collection with what was added, and without what was deleted or added anew."""
    changed = {change.id for change in changes}
    works = [work for work in collection.works if work.id not in changed]
    added = [work for change in changes if (work := change.work())]
    deleted = len(collection.works) - len(works)
    left_out = collection.left_out | ({"deleted or replaced": deleted} if deleted else {})
    return replace(collection, works=[*works, *added], left_out=left_out)


def _check_places(root: Path, releases: Path) -> None:
    refuse_file(releases, "--releases")
    if releases.resolve().is_relative_to(root.resolve()):
        raise BadInput(
            f"releases must not be inside the collection, or the next run would index them; "
            f"received {releases} in {root}; name another folder with --releases"
        )


def _check_bad(embedded: Embedded, works: int, max_bad: float) -> None:
    bad = embedded.bad
    if not embedded.entries:
        raise BadInput(
            f"a release needs at least one usable picture; all {works} are unusable, the first "
            f"{bad[0].name}: {bad[0].message}"
        )
    share = 100 * len(bad) / works
    if share > max_bad:
        raise BadInput(
            f"at most {max_bad:g} % of the pictures may be unusable; received {len(bad)} of "
            f"{works} ({share:.1f} %), the first {bad[0].name} ({bad[0].reason}); repair them, "
            "or allow more with --max-bad"
        )


def _write(folder: Path, embedded: Embedded, encoder: Encoder) -> list[Canary]:
    """Write index and catalogue, and ask them the canaries."""
    placed = places(embedded.vectors, encoder.model.manifest)
    write_catalogue(folder / CATALOGUE, embedded.entries, placed.tolist())
    vectors = FaissVectors(embedded.vectors.shape[1])
    vectors.add(embedded.vectors, np.arange(len(embedded.entries)))
    vectors.save(folder / INDEX)
    catalogue = Catalogue(folder / CATALOGUE)
    try:
        return ask_canaries(encoder.encode(encoder.model.canaries()[0]), vectors, catalogue)
    finally:
        catalogue.close()


def _manifest(
    id_: str, model: Model, collection: Collection, embedded: Embedded, canaries: list[Canary]
) -> ReleaseManifest:
    return ReleaseManifest(
        files={},
        id=id_,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        model=model.version,
        model_digest=model.digest,
        preprocessing_version=model.manifest.preprocessing.version,
        precision=PRECISION,
        dimension=model.manifest.dimension,
        parts=model.manifest.parts,
        metric=model.manifest.metric,
        works=len(embedded.entries),
        left_out=collection.left_out,
        bad=embedded.bad,
        canaries=canaries,
        confidence=learn_confidence(embedded.vectors, embedded.entries, model.manifest),
    )


def _summarise(collection: Collection, embedded: Embedded, seconds: float) -> None:
    works = len(embedded.entries)
    reasons = Counter(file.reason for file in embedded.bad)
    grey = sum(entry.greyscale for entry in embedded.entries)
    say(f"{works} works embedded in {seconds:.1f} s ({works / seconds:.1f} a second)")
    say(f"black-and-white pictures: {grey}")
    say(f"unusable pictures: {counted(reasons)}")
    say(f"left out: {counted(collection.left_out)}")
