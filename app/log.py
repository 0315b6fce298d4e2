"""The service's log: a line of text, or a JSON object a line, on standard error.

No line has an address, a file name, what was searched for or a picture: request ids and routes.
"""

from __future__ import annotations

import logging
from typing import Literal

from pythonjsonlogger.json import JsonFormatter

requests = logging.getLogger("app.requests")


def start_log(kind: Literal["text", "json"]) -> None:
    """Log to standard error; once a process."""
    handler = logging.StreamHandler()
    fields = ["asctime", "levelname", "name", "message"]
    handler.setFormatter(
        JsonFormatter(
            fields,
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
            json_ensure_ascii=False,
        )
        if kind == "json"
        else logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    logging.captureWarnings(True)
    logging.getLogger("app").setLevel(logging.INFO)
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # or each bad form is a line
    # For people, a line a request is noise; for a collector of logs it is what it is for.
    requests.setLevel(logging.INFO if kind == "json" else logging.WARNING)
