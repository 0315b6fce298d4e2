"""`artkin setup COLLECTION`: what a first start needs, made where it is missing: keys, a model, a
release. What is there is left as it is, so it can be run before every start.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from app.access import Keys
from app.key import new_key, write_keys
from index.catalogue import Catalogue
from index.collection import read_collection
from index.progress import say
from index.release import CATALOGUE, manifest_of
from index.releases import current_id, current_release
from index.space.artefact import MANIFEST
from index.space.errors import ArtefactError, BadInput

KEYS = ("admin.key",)
MONITORING_KEYS = ("metrics.key", "grafana.key")
_ASKED = 100  # works of a release looked for in the collection


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `artkin setup`."""
    parser.add_argument("collection", type=Path, help="folder of the pictures")
    parser.add_argument("--model", type=Path, required=True, metavar="DIR", help="models/NAME-1")
    parser.add_argument("--releases", type=Path, default=Path("releases"), metavar="DIR")
    parser.add_argument("--state", type=Path, default=Path("state"), metavar="DIR")
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR")
    parser.add_argument("--keys", type=Path, metavar="DIR", help="for admin.key")
    parser.add_argument(
        "--monitoring-keys", type=Path, metavar="DIR", help=f"for {' and '.join(MONITORING_KEYS)}"
    )
    parser.add_argument(
        "--sample", type=Path, metavar="DIR", help="trained on where the collection has no classes"
    )


def main(options: argparse.Namespace) -> None:
    """Run `artkin setup`."""
    for folder, names in ((options.keys, KEYS), (options.monitoring_keys, MONITORING_KEYS)):
        if folder:
            _make_keys(folder, names)
    if not (options.model / MANIFEST).exists():
        _make_model(options)
    else:
        say(f"the model {options.model} is there")
    _make_release(options)


def _make_keys(folder: Path, names: Sequence[str]) -> None:
    for name in names:
        path = folder / name
        if path.exists():
            Keys(path, name, most=2)  # refuses what the service would refuse
            continue
        try:
            write_keys(path, [new_key()])
        except PermissionError as error:
            raise BadInput(
                f"{folder} must hold {' and '.join(names)}, or be a folder to write them "
                f"to; {name} is missing and {error.strerror}; make it with `artkin key`"
            ) from error
        say(f"{path} has a new key")


def _make_model(options: argparse.Namespace) -> None:
    model = options.model
    run = options.runs / model.name
    collection = options.collection
    classes = {work.label for work in read_collection(collection).works} - {None}
    if len(classes) < 2 and options.sample:
        say(f"{collection} has no classes to learn from: training on the sample collection")
        collection = options.sample
    resume = ["--resume"] if (run / "run.json").exists() else []
    _artkin("train", collection, "--run", run, *resume)
    _artkin("export", run, "--to", model)


def _make_release(options: argparse.Namespace) -> None:
    try:
        folder = current_release(options.releases)
        manifest = manifest_of(folder)
    except ArtefactError as error:  # of a format before this one, for example
        why = "no release yet" if current_id(options.releases) is None else str(error)
        say(f"{why}; indexing {options.collection}")
    else:
        _refuse_another_collection(folder, options.collection)
        say(f"release {manifest.id} is there, {manifest.works} works")
        return
    places = ["--releases", options.releases, "--state", options.state]
    _artkin("rebuild", options.collection, "--model", options.model, *places)


def _refuse_another_collection(release: Path, collection: Path) -> None:
    catalogue = Catalogue(release / CATALOGUE)
    try:
        asked = [entry.name for entry in islice(catalogue.entries(), _ASKED)]
    finally:
        catalogue.close()
    if not any((collection / name).exists() for name in asked):
        raise BadInput(
            f"the collection must have works of the published release, {release.name}; "
            f"{collection} has none of its first {len(asked)}: another collection (then keep both "
            "apart, with --releases and --state of its own), or a disk that is not mounted"
        )


def _artkin(*arguments: object) -> None:
    """Run one artkin command, shown as a user would type it, and end as it does where it fails."""
    words = [str(argument) for argument in arguments]
    say(f"$ artkin {shlex.join(words)}")
    with subprocess.Popen([sys.executable, "-m", "artkin", *words]) as process:  # noqa: S603
        try:
            code = process.wait()
        except BaseException:
            process.terminate()  # it keeps what can be gone on with
            raise
    if code:
        sys.exit(code)
