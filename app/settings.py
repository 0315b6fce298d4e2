"""What the service is told from outside: flags of `artkin serve` over ARTKIN_ variables.

A name that is not a setting fails: a misspelt ARTKIN_ADMIN_KEY_FILE would otherwise go unnoticed.
"""

from __future__ import annotations

import os
import re
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from index.space.errors import BadInput

PREFIX = "ARTKIN_"
# Where the service's own paths begin: below one of them it could not tell what a proxy passes on.
_OWN = ("v1", "static", "docs", "openapi.json", "healthz", "readyz", "metrics")


class Settings(BaseSettings):
    """Everything that can be set, each as ARTKIN_<NAME>; an empty variable counts as not set.

    Args:
        model: folder of the embedding model; without it the service is alive but not ready.
        releases: folder with `current` in it.
        host: address to listen on; the default is reached from this machine only.
        port: 0 takes a free one.
        admin_key_file: holds the bearer key of /v1/admin, or two while one replaces the other;
            without it those calls are off.
        search_key_file: holds the bearer keys of all other calls below /v1, one a line; without it
            they are open to all.
        metrics_key_file: holds the bearer key of /metrics alone, or two; without it /metrics needs
            the admin key, where there is one.
        per_minute: calls of one key, or of one address where there are no keys; without it there
            is no limit.
        state: folder of what the service itself must remember: jobs, the record of admin calls.
        collection: what a rebuild indexes; without it there are no rebuilds.
        trusted_proxies: addresses and networks, parted by commas, whose X-Forwarded-For is
            believed: its last address that is none of them is who asks.
        root_path: `/art`, where a proxy shows the service there, whether it passes that on or not.
        log: for people or as one JSON object a line.
        max_body_bytes: of one request; of one with several pictures, four times as many.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True
    )

    model: Path | None = None
    releases: Path = Path("releases")
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    admin_key_file: Path | None = None
    search_key_file: Path | None = None
    metrics_key_file: Path | None = None
    per_minute: int | None = Field(default=None, ge=1)
    state: Path = Path("state")
    collection: Path | None = None
    trusted_proxies: str = ""
    root_path: str = ""
    log: Literal["text", "json"] = "text"
    max_body_bytes: int = Field(default=10 * 2**20, ge=2**10, le=2**28)

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, text: str) -> str:
        networks = [ip_network(one.strip()) for one in text.split(",") if one.strip()]
        if not all(network.prefixlen for network in networks):
            raise ValueError("a network of all addresses would let everybody name their own")
        return ",".join(map(str, networks))

    @field_validator("root_path")
    @classmethod
    def _is_a_path(cls, path: str) -> str:
        root = path.rstrip("/")
        if root and not re.fullmatch(r"(/[\w~-][\w.~-]*)+", root, re.ASCII):
            raise ValueError("must be a path like /art, of letters, digits, and . _ ~ -")
        if root.split("/")[1:2] and root.split("/")[1] in _OWN:
            raise ValueError(f"must not begin like a path of the service ({', '.join(_OWN)})")
        return root


def read_settings(flags: dict[str, Any]) -> Settings:
    """Settings from flags and, for those that are None, the environment.

    Raises:
        BadInput: an unknown ARTKIN_ variable or a value that cannot be used.
    """
    _refuse_unknown_variables()
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        raise BadInput(
            f"{name} (--{name.replace('_', '-')} or {PREFIX}{name.upper()}): "
            f"{first['msg'].removeprefix('Value error, ')}; "
            f"received {first['input']!r}"
        ) from error


def _refuse_unknown_variables() -> None:
    known = {f"{PREFIX}{name}".upper() for name in Settings.model_fields}
    for variable in sorted(os.environ):
        if variable.upper().startswith(PREFIX) and variable.upper() not in known:
            raise BadInput(
                f"{variable} is not a setting; the settings are {', '.join(sorted(known))}"
            )
