"""Coverage-guided fuzzing of what decodes uploads, seeded with the bad and odd pictures.

    python -m benchmarks.fuzz [--minutes 10]

Needs atheris (`pip install atheris`). A crash, or an error that is not `ImageRejected`, ends it and
the input is kept beside the result. Writes `benchmarks/results/fuzz.json`.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

try:
    import atheris
except ImportError:
    sys.exit("error: fuzzing needs atheris; run `pip install 'atheris>=3'`")

with atheris.instrument_imports(include=["index", "PIL"]):
    from index.space.errors import ImageRejected
    from index.space.picture_limits import UPLOAD_LIMITS
    from index.space.preprocessing import Preprocessing, decode, to_pixels

from benchmarks import command
from benchmarks.robust import write
from tests.bad_pictures import accepted, rejected

SPEC = Preprocessing(height=64, width=64)
LONGEST = 2**16  # bytes of an input: larger ones only make it slower


def main() -> None:
    """Fuzz, write the result."""
    parser = command.Command(__doc__)
    parser.add_argument("--minutes", type=command.minutes, default=10)
    options = parser.parse_args()
    corpus = tempfile.mkdtemp()
    begun = time.monotonic()
    count, taken, slowest, ended = 0, 0, 0.0, False

    def one(data: bytes) -> None:
        nonlocal count, taken, slowest, ended
        start = time.monotonic()
        try:
            to_pixels(decode(data, UPLOAD_LIMITS), SPEC)
            taken += 1
        except ImageRejected:
            pass
        count += 1
        slowest = max(slowest, time.monotonic() - start)
        if time.monotonic() - begun > 60 * options.minutes and not ended:
            ended = True
            write(
                "fuzz",
                f"python -m benchmarks.fuzz --minutes {options.minutes:g}",
                {
                    "executions": count,
                    "decoded": taken,
                    "refused": count - taken,
                    "crashes": 0,
                    "slowest_ms": round(1000 * slowest, 1),
                },
            )
            shutil.rmtree(corpus)
            os._exit(0)  # libFuzzer takes any other end for a crash

    uploads = [data for data, _ in rejected().values()] + list(accepted().values())
    for number, data in enumerate(uploads):
        if len(data) <= LONGEST:
            (Path(corpus) / str(number)).write_bytes(data)
    atheris.Setup([sys.argv[0], corpus, f"-max_len={LONGEST}", "-timeout=20"], one)
    atheris.Fuzz()


if __name__ == "__main__":
    command.run(main)
