"""Schemathesis: requests made from the OpenAPI document, right ones and wrong ones.

    python -m benchmarks.schema MODEL RELEASES [--examples 200]

Writes `benchmarks/results/schema.json`. An answer must not be a server fault, and must have a
status, a type and a form that the document names.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile

from benchmarks import command
from benchmarks.robust import service, write

KEY = "a-key-of-the-schema-0123456789"
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance"


def run(url: str, examples: int, key: str, phases: str = "examples,coverage,fuzzing") -> str:
    """What Schemathesis prints; it must end with 0."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json"),
            *("--header", f"Authorization: Bearer {key}", "--max-examples", str(examples)),
            *("--phases", phases, "--checks", f"{CHECKS},response_schema_conformance"),
            *("--suppress-health-check", "all", "--generation-database", "none"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    return done.stdout


def main() -> None:
    """Ask, count, write the result."""
    parser = command.Command(__doc__)
    parser.add_argument("model", type=command.model)
    parser.add_argument("releases", type=command.releases)
    parser.add_argument("--examples", type=command.count, default=200)
    options = parser.parse_args()
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(KEY)
        file.flush()
        with service(options.model, options.releases, "--admin-key-file", file.name) as running:
            printed = run(running.url, options.examples, KEY)
    found = re.search(r"(\d+) generated, (\d+) passed", printed)
    assert found is not None, printed
    called = f"python -m benchmarks.schema {options.model} {options.releases}"
    write(
        "schema",
        f"{called} --examples {options.examples}",
        {"cases": int(found[1]), "passed": int(found[2])},
    )


if __name__ == "__main__":
    command.run(main)
