"""The `artkin` command: a table from sub-command to module, loaded when it is asked for.

Exit codes: 0 done; 1 a fault of artkin's own; 2 bad input, said in one line; 3 refused by one of
artkin's rules; 130 interrupted by the user; 141 whoever read the output has gone; 143 ended by
SIGTERM (`serve` ends with 0: it has answered what was asked).
"""

from __future__ import annotations

import argparse
import errno
import gc
import importlib
import json
import os
import signal
import sys
import threading
from collections.abc import Sequence

from index.space.errors import ArtkinError, BadInput

_GRACE_SECONDS = 4.0
# That are ending it: OpenVINO, among others, makes a RuntimeError of what a signal raises inside.
_signals: list[int] = []
# Each module has `add_arguments(parser)` and `main(options)`.
COMMANDS = {
    "setup": ("app.setup", "make what a first start needs and lacks: keys, a model, a release"),
    "key": ("app.key", "make a key for the service, or one to replace it"),
    "check": ("index.check", "look a collection over before training or indexing it"),
    "train": ("training.train", "fine-tune an embedding model on a collection, in three phases"),
    "report": ("training.report", "say what a training run did and what to try next, as a page"),
    "export": ("training.export", "write a training run's best model as a SavedModel"),
    "index": ("index.build", "embed a collection into a new release"),
    "compare": ("index.comparing", "show what another release, or model, would change"),
    "publish": ("index.publish", "verify and judge a release and make it the one that is served"),
    "rebuild": ("index.rebuild", "index what changed and publish it: the nightly job"),
    "rollback": ("index.rollback", "serve the release of before again"),
    "releases": ("index.listing", "list the releases on the disk"),
    "verify": ("index.verify", "check every digest of a release"),
    "pack": ("index.pack", "write a release and its model as one file"),
    "restore": ("index.restore", "take up a packed release and its model"),
    "remove": ("index.takedown", "take works down: out of the service and of every release"),
    "allow": ("index.allow", "take the removal of works back"),
    "evaluate": ("index.evaluation", "Precision@5 and silhouette of a release"),
    "serve": ("app.serve", "answer queries over the published release"),
    "query": ("app.client", "send a picture to a running service"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one sub-command and return its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(
        prog="artkin", description="Find the artworks most like a picture, in your own collection."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    as_json = False
    try:
        _refuse_no_threads()
        for name, (module, help_) in COMMANDS.items():
            command = commands.add_parser(name, help=help_, description=help_)
            # Importing only what runs keeps TensorFlow out of serving.
            if given and given[0] == name:
                gc.disable()  # looking for garbage where there is none takes a tenth of the start
                importlib.import_module(module).add_arguments(command)
                gc.enable()
        try:
            options = parser.parse_args(given)
            as_json = getattr(options, "progress", "") == "json"
            _run(options)
        finally:
            print(end="", flush=True)  # at Python's own end nobody could catch what it raises
    except BrokenPipeError:  # `artkin ... | head` has read enough
        return _reader_gone()
    except SystemExit as error:
        if isinstance(error.__context__, BrokenPipeError):  # Rich makes it of a broken pipe
            return _reader_gone()
        raise
    except KeyboardInterrupt:
        return _fail(given[0], "interrupted", 130, as_json)
    except Exception as error:
        if signal.SIGTERM in _signals:
            return 143
        if signal.SIGINT in _signals:
            return _fail(given[0], "interrupted", 130, as_json)
        if isinstance(error, ArtkinError):
            return _fail(given[0], f"error: {error}", error.exit_code, as_json)
        if isinstance(error, OSError):
            return _fail(given[0], f"error: {_say_os_error(error)}", 2, as_json)
        raise
    return 0


def _fail(command: str, said: str, exit_code: int, as_json: bool) -> int:
    """Say why it ended, in a line; where programs follow, as an object like all before it."""
    line = f"artkin {command}: {said}"
    if as_json:
        error = {"error": said.removeprefix("error: "), "exit_code": exit_code}
        line = json.dumps(error, ensure_ascii=False)
    print(line, file=sys.stderr)
    return exit_code


def _run(options: argparse.Namespace) -> None:
    # Training ends after the step at hand, however long that takes.
    may_train = options.command in ("train", "setup")
    signal.signal(signal.SIGTERM, _end if may_train else _stop)
    if signal.getsignal(signal.SIGINT) == signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    importlib.import_module(COMMANDS[options.command][0]).main(options)


def _refuse_no_threads() -> None:
    """Libraries abort where they get no thread, without saying why."""
    try:
        thread = threading.Thread(target=int)
        thread.start()
        thread.join()
    except RuntimeError as error:
        raise BadInput(
            f"the system must allow threads; received: {error}; in a container, use Docker "
            "20.10.10 or later (older ones refuse clone3), or a higher limit of processes"
        ) from error


def _interrupt(number: int, _: object) -> None:
    _signals.append(number)
    raise KeyboardInterrupt


def _end(number: int, _: object) -> None:
    _signals.append(number)
    sys.exit(143)


def _stop(number: int, frame: object) -> None:
    """SIGTERM unwinds like Ctrl-C, so that nothing half-written stays behind; process 1 of a
    container would even ignore it. Where that takes long, a large picture being decoded for one,
    it ends at once: what is half-written has another name, and the next run clears it up."""
    end = threading.Timer(_GRACE_SECONDS, os._exit, [143])
    end.daemon = True
    end.start()
    _end(number, frame)


def _reader_gone() -> int:
    # https://docs.python.org/3/library/signal.html#note-on-sigpipe
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 141  # as a shell says of a process that SIGPIPE ended


def _say_os_error(error: OSError) -> str:
    place = f" ({error.filename})" if error.filename else ""
    if error.errno == errno.ENOSPC:
        return f"the disk is full{place}; free some space and run the same command again"
    why = f"{error.strerror or error}{place}"
    if error.errno == errno.EACCES:
        return f"{why}; let user id {os.getuid()} read it, or write where it is written to"
    return why


if __name__ == "__main__":
    sys.exit(main())
