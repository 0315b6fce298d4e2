"""Ids of works: the collection's own where its manifest gives them, else made of the name.

An id made of a name is the same on every system, since it is of the name with composed accents.
Where two names differ only in that, each id is of the name as it is written.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence

from index.joining import PlacedManifest
from index.roots import Root, composed

ID_RULE = "an id has 1 to 128 printed characters, no '/', and is not '.' or '..'"


def derived_ids(files: Sequence[tuple[Root, str]]) -> Iterator[tuple[str, bool]]:
    """Ids made of names, each with whether its name differs from another only in how accents are
    written."""
    names = (composed(root.prefix + file) for root, file in files)
    twins = {name for name, count in Counter(names).items() if count > 1}
    for root, file in files:
        name = root.prefix + file
        is_twin = composed(name) in twins
        written = (name if is_twin else composed(name)).encode("utf-8", "surrogateescape")
        yield hashlib.sha256(written).hexdigest()[:16], is_twin


def is_usable_id(id_: str) -> bool:
    """Whether it can stand in a URL and be read."""
    is_said = 0 < len(id_.strip()) <= len(id_) <= 128 and id_.isprintable()
    return is_said and "/" not in id_ and id_ not in (".", "..")


def id_problems(manifests: Sequence[PlacedManifest], owners: dict[str, str]) -> Iterator[str]:
    """What is wrong with manifests' ids.

    Args:
        owners: the ids made of names, with those names.
    """
    for manifest, _ in manifests:
        for row in manifest.rows:
            id_ = row.cells.get("id")
            if id_ is None:
                continue
            place = manifest.place(row.line)
            if not is_usable_id(id_):
                yield f"{place}: {ID_RULE}; received {id_!r}"
            elif id_ in owners:
                already = f"{id_!r}, which {owners[id_]} has already"
                yield f"{place}: ids must be unique; received {already}"
            owners.setdefault(id_, row.path)
