"""What archives hold: every format, depth and compression gives the picture that its PNG gives."""

from __future__ import annotations

import io
import math
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import pyvips
from PIL import Image, TiffImagePlugin

import artkin
from index.archive import decode_file
from index.reading import read_picture
from index.reduced import factor_of, load_reduced
from index.space.artefact import sha256_of
from index.space.encoder import Encoder
from index.space.errors import ImageRejected
from index.space.model import load_model
from index.space.picture_limits import COLLECTION_LIMITS
from index.space.preprocessing import Preprocessing, decode, to_pixels, upright_srgb
from tests.bad_pictures import chunk, encoded, photo
from tests.index.test_preprocessing import TURNS

pytestmark = pytest.mark.filterwarnings("ignore:::PIL")

ROOT = Path(__file__).parents[2]
SPEC = Preprocessing(height=64, width=48)
DEMO_MODELS = sorted(ROOT.glob("demo/art_institute-*/models/demo-1"))
LARGE = (2100, 2060)  # of which two pixels a side become one


@cache
def large() -> Image.Image:
    return photo(*LARGE)


def vips(image: Image.Image, depth: int = 8) -> pyvips.Image:
    """A picture of Pillow's as libvips has it; with 16 bits its samples are 257 times as large."""
    names = {"L": "b-w", "RGB": "srgb", "RGBA": "srgb", "CMYK": "cmyk", "LA": "b-w"}
    deep = {"b-w": "grey16", "srgb": "rgb16", "cmyk": "cmyk"}
    samples = np.asarray(image)
    if depth == 16:
        samples = samples.astype(np.uint16) * 257
    name = names[image.mode]
    made = pyvips.Image.new_from_array(samples)
    return made.copy(interpretation=deep[name] if depth == 16 else name)


def put(folder: Path, data: bytes) -> Path:
    path = folder / "picture"
    path.write_bytes(data)
    return path


def reduced(path: Path, kind: str, known: bool = True) -> Image.Image:
    """A picture decoded as only large ones are, whatever its size.

    Args:
        known: whether Pillow can open it.
    """
    with path.open("rb", buffering=0) as file:
        header = Image.open(file) if known and kind != "WEBP" else None
        image, size = load_reduced(kind, header, file)
        assert factor_of(*size) == factor_of(*LARGE) == 2
        return upright_srgb(image)


def distance(image: Image.Image, expected: Image.Image) -> float:
    """Mean difference of the model's pixels, in grey levels."""
    difference = to_pixels(image, SPEC).astype(int) - to_pixels(expected.convert("RGB"), SPEC)
    return float(np.abs(difference).mean())


def slug_of(path: Path) -> str | None:
    try:
        read_picture(path, SPEC)
    except ImageRejected as error:
        return error.slug
    return None


COMPRESSIONS = ("none", "lzw", "deflate", "packbits", "jpeg")
TIFFS = [
    (mode, depth, compression)
    for mode in ("L", "RGB", "RGBA", "CMYK")
    for depth in (8, 16)
    for compression in COMPRESSIONS
    if compression != "jpeg" or (depth == 8 and mode != "RGBA")
]


@pytest.mark.parametrize("tile", [False, True])
@pytest.mark.parametrize(("mode", "depth", "compression"), TIFFS)
def test_every_tiff_is_the_picture_of_its_png(
    tmp_path: Path, mode: str, depth: int, compression: str, tile: bool
) -> None:
    image = photo().convert(mode)
    options = {"compression": compression, "tile": tile, "tile_width": 64, "tile_height": 64}
    path = put(tmp_path, vips(image, depth).tiffsave_buffer(Q=95, **options))
    found = decode_file(path)
    expected = decode(encoded(image.convert("RGB"), "PNG"), COLLECTION_LIMITS)
    difference = np.asarray(found.image, int) - np.asarray(expected, int)
    assert np.abs(difference).mean() <= (2 if compression == "jpeg" else 0)
    assert (found.width, found.height, found.sha256) == (160, 120, sha256_of(path))


@pytest.mark.parametrize(("mode", "depth", "compression"), TIFFS)
def test_a_large_tiff_is_the_same_picture_at_a_reduced_scale(
    tmp_path: Path, mode: str, depth: int, compression: str
) -> None:
    image = large().convert(mode)
    options = {"compression": compression, "tile": depth == 16 or compression == "jpeg"}
    path = put(tmp_path, vips(image, depth).tiffsave_buffer(Q=95, **options))
    small = reduced(path, "TIFF")
    assert (small.mode, small.size) == ("RGB", (LARGE[0] // 2, LARGE[1] // 2))
    assert distance(small, image) <= 0.5


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {"quality": 95}),
        ("JPEG", {"quality": 95, "progressive": True}),
        ("JPEG2000", {}),
        ("JPEG2000", {"num_resolutions": 1}),
        ("JPEG2000", {"tile_size": (512, 512), "irreversible": True}),
        ("PNG", {}),
        ("WEBP", {"quality": 95}),
        ("WEBP", {"lossless": True, "method": 0}),
        ("AVIF", {"quality": 90, "speed": 10}),
        ("BMP", {}),
        ("GIF", {}),
    ],
)
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_every_large_picture_is_the_same_at_a_reduced_scale(
    tmp_path: Path, kind: str, options: dict[str, object], mode: str
) -> None:
    image = large().convert(mode)
    if kind == "GIF":
        image = image.quantize(200, Image.Quantize.FASTOCTREE).convert(
            "RGB"
        )  # what the format can hold
    small = reduced(put(tmp_path, encoded(image, kind, **options)), kind)
    assert min(small.size) >= 1024
    assert small.width <= (LARGE[0] + 1) // 2 or kind == "JPEG"  # that only by powers of two
    assert distance(small, image) <= 1


@pytest.mark.parametrize("side", [4097, 4103])
@pytest.mark.parametrize("tile", [None, (1024, 1024)])
def test_a_jpeg_2000_is_halved_whatever_its_sides(
    tmp_path: Path, side: int, tile: tuple[int, int] | None
) -> None:
    """Sides that four does not divide: the format rounds them up."""
    image = large().resize((side, side + 1))
    path = put(tmp_path, encoded(image, "JPEG2000", irreversible=True, tile_size=tile))
    with path.open("rb", buffering=0) as file:
        small, size = load_reduced("JPEG2000", Image.open(file), file)
    assert size == (side, side + 1)
    assert small.size == (math.ceil(side / 4), math.ceil((side + 1) / 4))
    assert distance(small, image) <= 0.5


@pytest.mark.parametrize(
    ("mode", "interlace"), [("L", False), ("LA", True), ("RGB", True), ("RGBA", False)]
)
def test_a_large_png_of_16_bits_is_the_picture(tmp_path: Path, mode: str, interlace: bool) -> None:
    image = large().convert(mode)
    data = vips(image, 16).pngsave_buffer(interlace=interlace, compression=1)
    assert distance(reduced(put(tmp_path, data), "PNG"), image) <= 0.5


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_transparency_of_large_pictures_is_laid_on_white(tmp_path: Path, kind: str) -> None:
    image = large().convert("RGBA")
    image.paste((0, 0, 0, 0), (0, 0, 1000, LARGE[1]))
    expected = decode(encoded(image, "PNG"), COLLECTION_LIMITS)
    options = {"lossless": True, "method": 0} if kind == "WEBP" else {}
    small = reduced(put(tmp_path, encoded(image, kind, **options)), kind)
    assert small.getpixel((10, 10)) == (255, 255, 255)
    assert distance(small, expected) <= 0.5


def test_an_additional_sample_that_is_no_alpha_is_no_transparency(tmp_path: Path) -> None:
    """A mask that was saved along, as image editors do: ExtraSamples 0."""
    image = large()
    masked = Image.merge("RGBX", [*image.split(), Image.new("L", image.size, 7)])
    path = put(tmp_path, encoded(masked, "TIFF"))
    assert distance(decode_file(path).image, image) == 0
    assert distance(reduced(path, "TIFF"), image) <= 0.5


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["TIFF", "PNG"])
def test_large_pictures_stand_upright(tmp_path: Path, kind: str, orientation: int) -> None:
    image = large()
    exif = Image.Exif()
    exif[0x0112] = orientation
    lying = image.transpose(TURNS[orientation]) if orientation in TURNS else image
    small = reduced(put(tmp_path, encoded(lying, kind, exif=exif, compress_level=1)), kind)
    assert distance(small, image) <= 0.5


@pytest.mark.parametrize("kind", ["TIFF", "PNG", "WEBP", "AVIF"])
def test_colour_profiles_of_large_pictures_are_converted(tmp_path: Path, kind: str) -> None:
    options = {"lossless": True, "method": 0} if kind == "WEBP" else {}
    data = encoded(large(), kind, icc_profile=pyvips.Image.profile_load("p3"), **options)
    expected = decode(data, COLLECTION_LIMITS)
    assert distance(large(), expected) > 2
    assert distance(reduced(put(tmp_path, data), kind), expected) <= 1


def test_a_cmyk_profile_of_a_large_picture_is_converted(tmp_path: Path) -> None:
    data = encoded(large().convert("CMYK"), "TIFF", icc_profile=pyvips.Image.profile_load("cmyk"))
    expected = decode(data, COLLECTION_LIMITS)
    assert distance(large(), expected) > 2
    assert distance(reduced(put(tmp_path, data), "TIFF"), expected) <= 1


@pytest.mark.parametrize("bigtiff", [False, True])
def test_bigtiff_is_tiff(tmp_path: Path, bigtiff: bool) -> None:
    path = put(tmp_path, vips(photo()).tiffsave_buffer(bigtiff=bigtiff))
    assert np.array_equal(np.asarray(decode_file(path).image), np.asarray(photo()))


@pytest.mark.parametrize("byte_order", ["<", ">"])
@pytest.mark.parametrize("planes", [1, 2])
def test_planes_one_after_the_other_in_either_byte_order(
    tmp_path: Path, planes: int, byte_order: str
) -> None:
    samples = np.asarray(large()).astype(np.uint16) * 257
    path = put(tmp_path, bare_tiff(samples, planes, byte_order))
    assert distance(reduced(path, "TIFF"), large()) <= 0.5


def bare_tiff(samples: np.ndarray, planes: int, order: str) -> bytes:
    """A TIFF of 16-bit RGB, uncompressed, written by hand: the format's example of itself."""
    height, width, _ = samples.shape
    ordered = samples.transpose(2, 0, 1) if planes == 2 else samples
    data = ordered.astype(f"{order}u2").tobytes()
    count = 3 if planes == 2 else 1
    outside = 8 + len(data)  # three depths, then offsets and lengths of the strips
    offsets = [8 + number * (len(data) // count) for number in range(count)]
    lengths = [len(data) // count] * count
    tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 3, outside), (259, 3, 1, 1)]
    tags += [(262, 3, 1, 2), (273, 4, count, outside + 6 if count > 1 else 8), (277, 3, 1, 3)]
    tags += [(278, 4, 1, height)]
    tags += [(279, 4, count, outside + 18 if count > 1 else len(data)), (284, 3, 1, planes)]
    extra = struct.pack(f"{order}3H", 16, 16, 16)
    extra += struct.pack(f"{order}{count * 2}I", *offsets, *lengths) if count > 1 else b""
    table = struct.pack(f"{order}H", len(tags))
    for tag, kind, number, value in tags:
        is_short = kind == 3 and number == 1
        table += struct.pack(f"{order}HHI", tag, kind, number)
        table += struct.pack(f"{order}HH" if is_short else f"{order}I", *(value, 0)[: 1 + is_short])
    head = b"II*\0" if order == "<" else b"MM\0*"
    return head + struct.pack(f"{order}I", outside + len(extra)) + data + extra + table + bytes(4)


@pytest.mark.parametrize("name", ["grey and alpha of 16 bits", "lab", "labs"])
def test_what_pillow_does_not_know_libvips_does(tmp_path: Path, name: str) -> None:
    image = photo()
    if name in ("lab", "labs"):
        data = vips(image).colourspace(name).tiffsave_buffer()
    else:
        image = image.convert("LA")
        image.paste((0, 0), (0, 0, 80, 120))
        data = vips(image, 16).tiffsave_buffer()
        image = decode(encoded(image, "PNG"), COLLECTION_LIMITS)
    found = decode_file(put(tmp_path, data))
    assert (found.width, found.height) == (160, 120)
    assert np.abs(np.asarray(found.image, int) - np.asarray(image.convert("RGB"), int)).max() <= 2


@pytest.mark.parametrize("name", ["float", "uint", "short"])
def test_samples_without_a_stated_white_are_refused_by_name(tmp_path: Path, name: str) -> None:
    path = put(tmp_path, vips(photo()).cast(name).tiffsave_buffer())
    assert slug_of(path) == "unsupported-image"


@pytest.mark.parametrize("kind", ["TIFF", "GIF", "AVIF"])
def test_the_first_page_is_the_work(tmp_path: Path, kind: str) -> None:
    pages = [photo(), Image.new("RGB", (160, 120), "red"), Image.new("RGB", (160, 120), "blue")]
    path = put(tmp_path, encoded(pages[0], kind, save_all=True, append_images=pages[1:]))
    difference = np.asarray(decode_file(path).image, int) - np.asarray(photo(), int)
    assert np.abs(difference).mean() < 12


def test_the_first_page_of_a_large_tiff_is_the_work(tmp_path: Path) -> None:
    pages = [large(), Image.new("RGB", LARGE, "red")]
    path = put(tmp_path, encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:]))
    assert distance(reduced(path, "TIFF"), pages[0]) <= 0.5


def test_a_preview_is_not_taken_for_the_work(tmp_path: Path) -> None:
    """As a camera's raw file has it first, which is a TIFF by its first bytes."""
    path = tmp_path / "raw.nef"
    photo().save(path, "TIFF", tiffinfo={254: 1})
    with pytest.raises(ImageRejected, match="received a preview"):
        decode_file(path)


def test_a_16_bit_grey_picture_is_not_saturated(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, LARGE[0]).astype(np.uint16)[None, :].repeat(LARGE[1], axis=0)
    path = put(tmp_path, encoded(Image.fromarray(ramp), "TIFF"))
    expected = Image.fromarray((ramp / 257).round().astype(np.uint8))
    assert distance(reduced(path, "TIFF"), expected) <= 0.5
    assert distance(decode_file(path).image, expected) == 0


@pytest.mark.slow
def test_above_89_megapixels_it_is_the_same_picture(tmp_path: Path) -> None:
    """Through the front door: 16-bit master, its JPEG and JPEG 2000, all of 92 megapixels."""
    base = photo(2400, 2400).resize((9600, 9600))
    small = to_pixels(base, SPEC).astype(int)
    paths = {kind: tmp_path / kind for kind in ("TIFF", "JPEG", "PNG", "BMP")}
    vips(base, 16).tiffsave(str(paths["TIFF"]), tile=True, compression="none")
    base.save(paths["JPEG"], "JPEG", quality=90)
    base.save(paths["PNG"], "PNG", compress_level=1)
    base.save(paths["BMP"], "BMP")
    for kind, path in paths.items():
        picture, pixels, image = read_picture(path, SPEC)
        assert (picture.width, picture.height, picture.sha256) == (9600, 9600, sha256_of(path))
        assert min(image.size) >= 1024
        assert np.abs(pixels - small).mean() <= 1, kind


MASTERS = sorted((ROOT / "examples" / "art_institute").rglob("*.jpg"))[::8]


def models(tiny_model: Path) -> list[Path]:
    return [tiny_model, *DEMO_MODELS[:1]]


def test_a_master_and_the_jpeg_made_from_it_are_nearest(tiny_model: Path, tmp_path: Path) -> None:
    """Of works of the sample collection, enlarged as a scan is and given 16 bits of noise."""
    rng = np.random.default_rng(5)
    for number, path in enumerate(MASTERS):
        image = Image.open(path).convert("RGB")
        samples = np.asarray(image.resize((image.width * 2, image.height * 2))).astype(np.int64)
        samples = (samples * 257 + rng.normal(0, 300, samples.shape)).clip(0, 65535)
        deep = pyvips.Image.new_from_array(samples.astype(np.uint16))
        master = deep.copy(interpretation="rgb16")
        master.tiffsave(str(tmp_path / f"{number}.tif"), compression="deflate", tile=True)
        Image.fromarray((samples / 257).astype(np.uint8)).save(tmp_path / f"{number}.jpg")
    for folder in models(tiny_model):
        model = load_model(folder)
        spec = model.manifest.preprocessing
        encoder = Encoder(model, 16)
        masters, jpegs = (
            encoder.encode(
                np.stack(
                    [
                        read_picture(tmp_path / f"{number}.{ending}", spec)[1]
                        for number in range(len(MASTERS))
                    ]
                )
            )
            for ending in ("tif", "jpg")
        )
        cosines = masters @ jpegs.T
        assert (cosines.argmax(axis=1) == np.arange(len(MASTERS))).all(), folder
        assert cosines.diagonal().min() >= 0.99, folder


def header_of(kind: str, size: tuple[int, int]) -> bytes:
    """A file that says it has that size and holds next to nothing."""
    if kind == "PNG":
        header = struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, 0)
        data = chunk(b"IDAT", zlib.compress(bytes(100)))
        return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data
    if kind == "TIFF":
        file = io.BytesIO()
        directory = TiffImagePlugin.ImageFileDirectory_v2()
        for tag, value in {256: size[0], 257: size[1], 258: (16,) * 3, 262: 2, 277: 3}.items():
            directory[tag] = value
        directory[273], directory[278], directory[279] = 8, size[1], 100
        file.write(b"II*\0" + struct.pack("<I", 8))
        directory.save(file)
        return file.getvalue()
    data = encoded(photo(), kind)
    small = struct.pack(">HH", 120, 160) if kind == "JPEG" else struct.pack("<II", 160, 120)
    large = struct.pack(">HH", size[1], size[0]) if kind == "JPEG" else struct.pack("<II", *size)
    return data.replace(small, large, 1)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG", "BMP"])
def test_more_than_500_megapixels_are_refused_on_the_header(tmp_path: Path, kind: str) -> None:
    path = put(tmp_path, header_of(kind, (25_000, 20_001)))
    with pytest.raises(ImageRejected) as caught:
        decode_file(path)
    assert caught.value.slug == "too-many-pixels"
    assert str(caught.value) == "at most 500 megapixels; received 25000 x 20001"


def interlaced(size: tuple[int, int]) -> bytes:
    header = struct.pack(">IIBBBBB", *size, 16, 6, 0, 0, 1)
    data = chunk(b"IDAT", zlib.compress(bytes(100)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data


def progressive(size: tuple[int, int]) -> bytes:
    data = encoded(photo(), "JPEG", progressive=True, subsampling=0)
    return data.replace(struct.pack(">HH", 120, 160), struct.pack(">HH", size[1], size[0]), 1)


def scan_by_scan(size: tuple[int, int]) -> bytes:
    """Not progressive, but a scan for each colour: the head of the first one is that far true."""
    data = encoded(photo(), "JPEG", subsampling=0)
    at = data.index(b"\xff\xda\x00\x0c\x03")
    head = b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00"
    data = data[:at] + head + data[at + 14 :]
    return data.replace(struct.pack(">HH", 120, 160), struct.pack(">HH", size[1], size[0]), 1)


def avif(size: tuple[int, int]) -> bytes:
    return encoded(photo(), "AVIF").replace(struct.pack(">II", 160, 120), struct.pack(">II", *size))


@pytest.mark.parametrize(
    ("make", "side"),
    [(interlaced, 20_000), (progressive, 20_000), (scan_by_scan, 20_000), (avif, 14_000)],
)
def test_what_cannot_be_decoded_in_parts_is_refused_on_its_header(
    tmp_path: Path, make: Callable[[tuple[int, int]], bytes], side: int
) -> None:
    path = put(tmp_path, make((side, side)))
    with pytest.raises(ImageRejected) as caught:
        decode_file(path)
    assert caught.value.slug == "too-much-memory", caught.value
    assert "decoding may take 2.1 GB" in str(caught.value)


def test_damaged_files_are_named_and_the_rest_goes_on(
    tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    art = tmp_path / "art"
    art.mkdir()
    whole = {
        "strips.tif": encoded(photo(), "TIFF"),
        "tiles.tif": vips(photo(), 16).tiffsave_buffer(compression="deflate", tile=True),
        "lab.tif": vips(photo()).colourspace("lab").tiffsave_buffer(),
        "picture.jp2": encoded(photo(), "JPEG2000"),
        "picture.j2k": encoded(photo(), "JPEG2000", no_jp2=True),
    }
    for name, data in whole.items():
        (art / name).write_bytes(data)
        (art / f"cut-{name}").write_bytes(data[: len(data) // 3])
        (art / f"head-{name}").write_bytes(data[:20])
        broken = bytearray(data)
        broken[4:60] = bytes(56)
        (art / f"broken-{name}").write_bytes(broken)
    arguments = ["index", art, "--model", tiny_model, "--releases", tmp_path / "r"]
    code = artkin.main([*map(str, arguments), "--max-bad", "100"])
    said = capsys.readouterr()
    assert (code, said.err) == (0, "")
    assert "5 works, 5 of them embedded now" in said.out
    skipped = [line for line in said.out.splitlines() if line.startswith("skipped")]
    assert len(skipped) == 15
    assert {line.split(": ")[1] for line in skipped} <= {"image-corrupt", "unsupported-image"}


def test_large_damaged_files_are_named(tmp_path: Path) -> None:
    for kind in ("TIFF", "PNG", "WEBP"):
        options = {"compress_level": 1} if kind == "PNG" else {}
        data = encoded(large(), kind, **options)
        with pytest.raises(ImageRejected) as caught:
            reduced(put(tmp_path, data[: len(data) // 2]), kind)
        assert caught.value.slug == "image-corrupt", kind
        assert "\n" not in str(caught.value)


def test_a_file_that_changes_while_it_is_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "growing.bmp"
    photo(3000, 3000).save(path)
    ended = threading.Event()

    def grow() -> None:
        with path.open("ab", buffering=0) as file:
            while not ended.wait(0.001):
                file.write(b"\0")

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        assert slug_of(path) == "changed-while-read"
    finally:
        ended.set()
        writer.join()
    assert slug_of(path) is None


def test_libvips_writes_nothing_and_reads_no_other_format(tmp_path: Path) -> None:
    """Not even one that it knows: SVG. In an interpreter of its own, so that all output counts."""
    data = vips(photo()).colourspace("lab").tiffsave_buffer()
    put(tmp_path, data)
    (tmp_path / "cut").write_bytes(data[: len(data) // 2])
    (tmp_path / "svg").write_text('<svg xmlns="http://www.w3.org/2000/svg" width="99"/>')
    code = (
        "import contextlib, sys\n"
        "from pathlib import Path\n"
        "from index.archive import decode_file\n"
        "for name in ('picture', 'cut', 'svg'):\n"
        "    with contextlib.suppress(Exception):\n"
        f"        decode_file(Path({str(tmp_path)!r}) / name)\n"
        "assert 'pyvips' in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=ROOT)
    assert done.stdout + done.stderr == b""
    assert slug_of(tmp_path / "svg") == "unsupported-image"
