"""Who may call what, decided before the body is read: keys, rate, and the record of admin calls.

Plain ASGI, outside of FastAPI: a check inside a route runs only after the whole body has been
taken in (measured: 300 MB read before a 401).
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from pathlib import Path

from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import MovingWindowRateLimiter
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.keys import MIN_KEY_BYTES, Keys
from app.problems import Problem, answer

ADMIN = "/v1/admin"
METRICS = "/metrics"
API = "/v1"
# Of one address, without a key or with a wrong one; whoever guesses is not even recorded beyond.
WRONG_KEYS = RateLimitItemPerMinute(60)
_log = logging.getLogger(__name__)


class Access:
    """Lets a call through, or answers it with 401, 403 or 429.

    Args:
        admin: keys of everything; None turns admin calls off.
        search: keys of what is below /v1 but for admin's; None leaves it open to all.
        metrics: keys of /metrics alone; without them and without admin's it is open to all.
        per_minute: calls below /v1, but for admin's and thumbnails, of one key or else one
            address; None sets no limit.
        audit: file to which each admin call is appended, refused ones as well; None where there
            are none.
    """

    def __init__(
        self,
        app: ASGIApp,
        admin: Keys | None,
        search: Keys | None,
        metrics: Keys | None,
        per_minute: int | None,
        audit: Path | None,
    ) -> None:
        self._app, self._admin, self._audit = app, admin, audit
        # Whoever may do everything may search and read the metrics, where that takes a key at all.
        self._searching = [keys for keys in (search, admin) if keys] if search else []
        self._reading = [keys for keys in (metrics, admin) if keys]
        self._rate = RateLimitItemPerMinute(per_minute) if per_minute else None
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        owner, refusal = None, None
        try:
            owner = self._check_key(scope)
            await self._check_rate(scope, owner)
        except Problem as problem:
            refusal = problem if problem.status != 401 else await self._wrong_key(scope, problem)
        is_recorded = _is_below(scope["path"], ADMIN) and (not refusal or refusal.status != 429)
        if not is_recorded or self._audit is None:
            return await self._go_on(refusal, scope, receive, send)

        async def send_and_record(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._record(scope, owner, message["status"])
            await send(message)

        return await self._go_on(refusal, scope, receive, send_and_record)

    async def _go_on(
        self, refusal: Problem | None, scope: Scope, receive: Receive, send: Send
    ) -> None:
        if refusal is not None:
            return await answer(refusal, scope)(scope, receive, send)
        return await self._app(scope, receive, send)

    def _check_key(self, scope: Scope) -> str | None:
        path = scope["path"]
        accepted = self._accepted(path)
        if not accepted:
            return None
        given = dict(scope["headers"]).get(b"authorization", b"")
        owner = next(filter(None, [keys.owner(given) for keys in accepted]), None)
        if owner is None:
            whose = "admin calls need" if _is_below(path, ADMIN) else "calls need"
            detail = f"{whose} the header `Authorization: Bearer KEY` with a key of the service's"
            raise Problem(401, "unauthorized", detail, {"WWW-Authenticate": "Bearer"})
        return owner

    def _accepted(self, path: str) -> list[Keys]:
        """The keys one of which a path needs; none, it is open to all."""
        if _is_below(path, ADMIN):
            if self._admin is None:
                raise Problem(
                    403,
                    "admin-off",
                    "admin calls are off: no key is set; start the service with `--admin-key-file "
                    f"FILE`, a file that holds a key of at least {MIN_KEY_BYTES} bytes",
                )
            return [self._admin]
        if path == METRICS:
            return self._reading
        return self._searching if _is_below(path, API) else []

    async def _wrong_key(self, scope: Scope, problem: Problem) -> Problem:
        """The refusal, or another one for an address that goes on guessing."""
        try:
            await self._hit(WRONG_KEYS, f"wrong {_address(scope)}")
        except Problem as too_many:
            return too_many
        return problem

    async def _check_rate(self, scope: Scope, owner: str | None) -> None:
        path = scope["path"]
        limited = _is_below(path, API) and not _is_below(path, ADMIN)
        if self._rate is None or not limited or path.endswith("/thumbnail"):
            return
        await self._hit(self._rate, owner or _address(scope))

    async def _hit(self, rate: RateLimitItemPerMinute, who: str) -> None:
        if not await self._limiter.hit(rate, who):
            window = await self._limiter.get_window_stats(rate, who)
            wait = max(1, round(window.reset_time - datetime.now(UTC).timestamp()))
            detail = f"at most {rate.amount} such calls a minute; try again in {wait} s"
            raise Problem(429, "rate-limited", detail, {"Retry-After": str(wait)})

    def _record(self, scope: Scope, owner: str | None, status: int) -> None:
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "request_id": scope["state"]["request_id"],
            "key": owner,
            "method": scope["method"],
            "path": scope["path"][:500],
            "query": scope["query_string"].decode("ascii", "replace")[:1000],
            "status": status,
        }
        assert self._audit is not None
        try:
            with self._audit.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
        except OSError as error:
            _log.error("the audit log %s cannot be written: %s", self._audit, error.strerror)


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return client[0] if client else ""


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")
