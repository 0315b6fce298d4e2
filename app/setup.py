"""`artkin setup COLLECTION`: what a first start needs, made where it is missing: keys, a model, a
release. What is there is left as it is, so it can be run before every start; and what the service
would refuse is refused here, once: a container that ends is started again and again, and looks
alive meanwhile.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from app.jobs import open_jobs
from app.key import new_key, write_keys
from app.keys import keys_of
from app.settings import read_settings
from index.archive import decode_file
from index.catalogue import Catalogue
from index.collection import Collection, read_collection
from index.match import check_match, model_for
from index.progress import say
from index.release import CATALOGUE, manifest_of, open_release
from index.releases import current_id, current_release
from index.source import Source, refuse_unreadable
from index.space.artefact import MANIFEST
from index.space.errors import ArtefactError, BadInput, ImageRejected, shortened
from index.space.model import load_model

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
    keys, monitoring = options.keys, options.monitoring_keys
    named = {
        "admin_key_file": keys and keys / KEYS[0],
        "metrics_key_file": monitoring and monitoring / MONITORING_KEYS[0],
    }
    keys_of(read_settings(named))
    open_jobs(options.state).close()
    if not (options.model / MANIFEST).exists():
        _make_model(options)
    else:
        say(f"the model {options.model} is there")
    _make_release(options)
    _refuse_another_model(options.model, options.releases)


def _make_keys(folder: Path, names: Sequence[str]) -> None:
    for name in names:
        path = folder / name
        if path.exists():
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
    _refuse_bad_place(model)
    found = read_collection(options.collection)
    refuse_unreadable(found)
    _refuse_unusable(found)
    folder = options.collection
    if len({work.label for work in found.works} - {None}) < 2 and options.sample:
        say(f"{folder} has no classes to learn from: training on the sample collection")
        folder, found = options.sample, read_collection(options.sample)
    run = options.runs / model.name
    _drop_run_of_others(run, found)
    resume = ["--resume"] if (run / "run.json").exists() else []
    _artkin("train", folder, "--run", run, *resume)
    _artkin("export", run, "--to", model)


def _refuse_bad_place(model: Path) -> None:
    """What `artkin export` would refuse, before minutes of training."""
    there = next(folder for folder in model.absolute().parents if folder.exists())
    if "-" not in model.name or not os.access(there, os.W_OK):
        raise BadInput(
            "the model (--model or ARTKIN_MODEL) must be called models/NAME-VERSION and its folder "
            f"be one that can be written; received {model}"
        )


def _refuse_unusable(found: Collection) -> None:
    """What training, or the index after it, would refuse."""
    closed = [work.name for work in found.works if not os.access(work.path, os.R_OK)]
    if 100 * len(closed) > Source.max_bad * len(found.works):
        raise BadInput(
            f"user id {os.getuid()} must be allowed to read the pictures; received {len(closed)} "
            f"of {len(found.works)} that it may not: {shortened(closed)}; run `chmod -R o+rX` on "
            "the collection"
        )
    first = ""
    for work in found.works:
        try:
            decode_file(work.path)
            return
        except ImageRejected as error:
            first = first or f"{work.name}: {error}"
    raise BadInput(
        "the collection must have a picture that can be used; received "
        f"{len(found.works)} that cannot, the first {first}"
    )


def _drop_run_of_others(run: Path, collection: Collection) -> None:
    """A first start that was stopped, and another collection since: nobody could go on with it."""
    from training.dataset import WORKS, check_same  # noqa: PLC0415 - four seconds of TensorFlow

    if not (run / WORKS).exists():
        return
    try:
        check_same(collection, run)
    except BadInput as error:
        say(f"{run} is begun anew: {error}")
        shutil.rmtree(run)


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


def _refuse_another_model(given: Path, releases: Path) -> None:
    release = open_release(current_release(releases))
    try:
        check_match(load_model(model_for(given, release.manifest)), release)
    finally:
        release.close()


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
