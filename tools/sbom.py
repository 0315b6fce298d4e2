"""Make docs/sbom/serve.cdx.json, docs/sbom/job.cdx.json and docs/licences.md again (`make sbom`).

    python -m tools.sbom

One CycloneDX document an image: the pins of its requirements that hold there (Linux, x86_64,
Python 3.11), what they need of each other, the libraries inside their wheels and the model weights.
No time, no random number: the same input gives the same bytes.
"""

from __future__ import annotations

import base64
import json
import platform
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import (
    ExternalReference,
    ExternalReferenceType,
    HashAlgorithm,
    HashType,
    Property,
    XsUri,
)
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.model.license import LicenseAcknowledgement
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools.licences import SPDX, licences_page

ROOT = Path(__file__).parents[1]
IMAGES = ("serve", "job")
SOURCE = "artkin:licence-source"


@dataclass(frozen=True)
class Pin:
    """A line of a requirements file; SHA-256 of each file that may be installed for it."""

    name: str
    version: str
    digests: tuple[str, ...]


def main() -> None:
    """Write all three files."""
    if (sys.platform, platform.machine(), sys.version_info[:2]) != ("linux", "x86_64", (3, 11)):
        sys.exit(
            "make sbom looks into the wheels of the images: run it on Linux, x86_64, Python 3.11"
        )
    for path, text in generated().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")


def generated() -> dict[Path, str]:
    """The files that `make sbom` writes, and what it writes into them."""
    facts = tomllib.loads((ROOT / "requirements/licences.toml").read_text(encoding="utf-8"))
    texts = {}
    for image in IMAGES:
        pins = list(read_pins(ROOT / f"requirements/{image}.txt"))
        texts[image] = JsonV1Dot6(_bom(image, pins, facts)).output_as_string(indent=2) + "\n"
    files = {ROOT / f"docs/sbom/{image}.cdx.json": text for image, text in texts.items()}
    page = licences_page({image: json.loads(text) for image, text in texts.items()})
    return {**files, ROOT / "docs/licences.md": page}


def read_pins(path: Path) -> Iterator[Pin]:
    """The pins of a requirements file whose markers hold here."""
    lines = re.sub(r"^\s*#.*\n", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    for line in lines.replace("\\\n", " ").splitlines():
        text, *digests = re.split(r"\s+--hash=sha256:", line.strip())
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate():
            version = str(requirement.specifier).removeprefix("==")
            yield Pin(canonicalize_name(requirement.name), version, tuple(digests))


def _bom(image: str, pins: list[Pin], facts: dict[str, Any]) -> Bom:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    bom = Bom()
    bom.serial_number = None  # type: ignore[assignment]  # as cyclonedx-py --output-reproducible
    bom.metadata.timestamp = None  # type: ignore[assignment]
    bom.metadata.component = root = Component(
        type=ComponentType.CONTAINER,
        name=f"artkin-{image}",
        version=project["version"],
        bom_ref=f"artkin-{image}",
        licenses=[LicenseFactory().make_from_string(project["license"])],
    )
    packages = {pin.name: _package(pin, facts) for pin in pins}
    for name, package in packages.items():
        bom.components.add(package)
        needed = {canonicalize_name(each.name) for each in _requires(name)}
        bom.register_dependency(
            package, [packages[each] for each in sorted(needed & set(packages))]
        )
    bom.register_dependency(root, list(packages.values()))
    return bom


def _requires(name: str) -> Iterator[Requirement]:
    for text in metadata.requires(name) or []:
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield requirement


def _package(pin: Pin, facts: dict[str, Any]) -> Component:
    installed = metadata.version(pin.name)
    if installed != pin.version:
        sys.exit(
            f"{pin.name} {installed} is installed, {pin.version} pinned: run make sbom in .venv"
        )
    purl = PackageURL("pypi", name=pin.name, version=pin.version)
    files = ExternalReference(
        type=ExternalReferenceType.DISTRIBUTION,
        url=XsUri(str(purl)),
        comment="one of these files",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest) for digest in pin.digests],
    )
    licence, source = _licence(pin.name, facts)
    package = _component(pin.name, pin.version, licence, source, bom_ref=str(purl), purl=purl)
    package.external_references.add(files)
    package.components.update(_inside(pin, facts))
    package.components.update(_weights(pin, facts))
    return package


def _licence(package: str, facts: dict[str, Any]) -> tuple[str, str | None]:
    """SPDX expression of a package, and where it is said if not in its metadata."""
    if fact := facts["packages"].get(package):
        return fact["licence"], f"{fact['file']} in the wheel"
    says = metadata.metadata(package)
    for text in (says.get("License-Expression"), says.get("License")):
        if text and not SPDX.validate(text).errors:
            return text, None
    sys.exit(f"the metadata of {package} has no SPDX licence: requirements/licences.toml must say")


def _inside(pin: Pin, facts: dict[str, Any]) -> Iterator[Component]:
    """Libraries in a package's wheel: by its own SBOMs, and by what was looked up."""
    looked_up = {key.partition("==")[0]: key for key in facts["bundled"]}
    key = looked_up.get(pin.name, "")
    if key and key != f"{pin.name}=={pin.version}":
        sys.exit(f"requirements/licences.toml knows what is in {key}: look again for {pin.version}")
    fact = facts["bundled"].get(key, {"libraries": [], "absent": []})
    for library in _own_sboms(pin.name):
        if library["name"] in fact.get("absent", []):
            continue
        known = facts["libraries"].get(library["name"], {})
        licence, source = _licence_of(library) or known.get("licence"), "the SBOM in the wheel"
        yield _part(pin, library, licence, known.get("source", source))
    for library in fact["libraries"]:
        known = facts["libraries"].get(library["name"], fact)
        licence = library.get("licence") or known["licence"]
        yield _part(pin, library, licence, known["source"])


def _own_sboms(package: str) -> Iterator[dict[str, Any]]:
    """Components of the SBOMs in a wheel (PEP 770), but for the package's own modules."""
    for file in metadata.files(package) or []:
        if ".dist-info/sboms/" in str(file):
            for part in json.loads(file.read_text(encoding="utf-8"))["components"]:
                own = re.match(r"pkg:pypi/([^@]+)", part.get("purl", ""))
                if (
                    not (own and canonicalize_name(own[1]) == package)
                    and part.get("scope") != "excluded"
                ):
                    yield part


def _licence_of(part: dict[str, Any]) -> str | None:
    """Licence that a component of another's SBOM says, several as all holding."""
    said = [
        each.get("expression") or each["license"].get("id") for each in part.get("licenses", [])
    ]
    return " AND ".join(f"({each})" if " OR " in each else each for each in said) or None


def _part(pin: Pin, part: dict[str, Any], licence: str | None, source: str) -> Component:
    if licence is None:
        sys.exit(
            f"{part['name']} in {pin.name} has no licence: requirements/licences.toml must say"
        )
    purl = PackageURL.from_string(part["purl"]) if "purl" in part else None
    version = part.get("version")
    ref = f"{pin.name}/{part['name']}@{version}"
    return _component(part["name"], version, licence, source, bom_ref=ref, purl=purl)


def _weights(pin: Pin, facts: dict[str, Any]) -> Iterator[Component]:
    for group in facts["weights"]:
        for file in group["files"] if group["package"] == pin.name else []:
            weights = _component(
                file["name"],
                None,
                group["licence"],
                group["source"],
                bom_ref=f"{pin.name}/{file['name']}",
            )
            weights.type = ComponentType.MACHINE_LEARNING_MODEL
            if "md5" in file:
                weights.scope = ComponentScope.OPTIONAL
                weights.hashes.add(HashType(alg=HashAlgorithm.MD5, content=file["md5"]))
            else:
                digest = _recorded_digest(pin.name, file["file"])
                weights.hashes.add(HashType(alg=HashAlgorithm.SHA_256, content=digest))
            yield weights


def _recorded_digest(package: str, name: str) -> str:
    """SHA-256 of an installed file, hexadecimal, from the package's RECORD."""
    file = next(file for file in metadata.files(package) or [] if file.name == name)
    assert file.hash is not None
    return base64.urlsafe_b64decode(file.hash.value + "=").hex()


def _component(
    name: str, version: str | None, licence: str, source: str | None, **more: Any
) -> Component:
    said = LicenseAcknowledgement.CONCLUDED if source else LicenseAcknowledgement.DECLARED
    return Component(
        type=ComponentType.LIBRARY,
        name=name,
        version=version,
        licenses=[LicenseFactory().make_from_string(licence, license_acknowledgement=said)],
        properties=[Property(name=SOURCE, value=source)] if source else [],
        **more,
    )


if __name__ == "__main__":
    main()
