"""Keys of the service: files that hold them, one a line, and what they may not share."""

from __future__ import annotations

import hashlib
import hmac
import logging
from pathlib import Path

from app.settings import Settings
from index.space.errors import BadInput

MIN_KEY_BYTES = 16
_log = logging.getLogger(__name__)


class Keys:
    """The keys of a file, one a line; read again when it changes, so that a key can be replaced
    while the service runs: the new one is added, clients change over, the old one is taken out.

    Args:
        path: the file.
        setting: its name, for messages.
        most: keys that it may hold.

    Raises:
        BadInput: no such file, no key, too many, or one shorter than 16 bytes.
    """

    def __init__(self, path: Path, setting: str, most: int) -> None:
        self._path, self._setting, self._most = path, setting, most
        self._fault = ""
        self._read_at = self._stamp()
        self._digests = self._read()

    def shares_one_with(self, other: Keys) -> bool:
        """Whether a key is in both."""
        return not set(self._digests).isdisjoint(other._digests)

    def owner(self, authorization: bytes) -> str | None:
        """The short name of the key that an Authorization header carries, or None."""
        self._refresh()
        # Bytes, not text: hmac refuses to compare text that is not ASCII.
        scheme, _, key = authorization.partition(b" ")
        digest = hashlib.sha256(key.strip()).digest()
        # All are compared, so that the time tells nothing of which one it was.
        found = [hmac.compare_digest(digest, known) for known in self._digests]
        return digest.hex()[:8] if scheme.lower() == b"bearer" and any(found) else None

    def _refresh(self) -> None:
        try:
            stamp = self._stamp()
            if stamp != self._read_at:
                self._digests, self._read_at = self._read(), stamp
                _log.info("%s: read again, keys in use: %d", self._setting, len(self._digests))
            self._fault = ""
        except BadInput as error:
            if str(error) != self._fault:  # once, not at every call
                _log.error("the keys before it stay in use: %s", error)
            self._fault = str(error)

    def _stamp(self) -> tuple[int, int, int]:
        try:
            status = self._path.stat()
        except OSError as error:
            raise self._unreadable(error) from error
        return status.st_ino, status.st_mtime_ns, status.st_size

    def _read(self) -> list[bytes]:
        try:
            lines = self._path.read_bytes().split(b"\n")
        except OSError as error:
            raise self._unreadable(error) from error
        keys = [line.strip() for line in lines if line.strip()]
        shortest = min(map(len, keys), default=0)
        if not 1 <= len(keys) <= self._most or shortest < MIN_KEY_BYTES:
            raise BadInput(
                f"{self._setting} must hold 1 to {self._most} keys, one a line, each of at least "
                f"{MIN_KEY_BYTES} bytes; {self._path} has {len(keys)}, the shortest of {shortest} "
                "bytes; make one with `artkin key FILE`"
            )
        if self._path.stat().st_mode & 0o022:
            raise BadInput(
                f"{self._setting} must be written by its owner only; run `chmod go-w {self._path}`"
            )
        return [hashlib.sha256(key).digest() for key in keys]

    def _unreadable(self, error: OSError) -> BadInput:
        flag = self._setting.replace("_", "-")
        return BadInput(
            f"{self._setting} (--{flag} or ARTKIN_{self._setting.upper()}) must be a file that can "
            f"be read; received {self._path}: {error.strerror}"
        )


def keys_of(settings: Settings) -> tuple[Keys | None, Keys | None, Keys | None]:
    """Those of admin calls, of searches, of the metrics, where there are any.

    Raises:
        BadInput: keys cannot be used, or settings contradict each other.
    """
    admin = _keys(settings.admin_key_file, "admin_key_file", 2)
    search = _keys(settings.search_key_file, "search_key_file", 1000)
    metrics = _keys(settings.metrics_key_file, "metrics_key_file", 2)
    _refuse_contradictions(settings, admin, search, metrics)
    return admin, search, metrics


def _refuse_contradictions(
    settings: Settings, admin: Keys | None, search: Keys | None, metrics: Keys | None
) -> None:
    search_file, metrics_file = settings.search_key_file, settings.metrics_key_file
    for file, keys, whose, others, why in (
        (search_file, search, "an admin", admin, "whoever may search could do everything"),
        (metrics_file, metrics, "an admin", admin, "whoever reads metrics could do everything"),
        (metrics_file, metrics, "a search", search, "whoever may search could read metrics"),
    ):
        if keys and others and keys.shares_one_with(others):
            raise BadInput(
                f"{file} must not hold {whose} key: {why}; make another with `artkin key FILE`"
            )
    collection = settings.collection
    if collection is None:
        return
    if admin is None:
        raise BadInput(
            "--collection is for rebuilds, which need the admin key; name it with "
            "--admin-key-file, or leave --collection out"
        )
    for name, folder in (("state", settings.state), ("releases", settings.releases)):
        if folder.resolve().is_relative_to(collection.resolve()):
            raise BadInput(
                f"--{name} must not be inside the collection, or a rebuild would index it; "
                f"received {folder} in {collection}"
            )


def _keys(path: Path | None, setting: str, most: int) -> Keys | None:
    return Keys(path, setting, most) if path else None
