"""Bytes to pixels: what is taken, what is refused and why, and the same pixels for one picture."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from index.space.errors import ImageRejected
from index.space.picture_limits import COLLECTION_LIMITS, UPLOAD_LIMITS, sniff
from index.space.preprocessing import Preprocessing, decode, is_greyscale, read_file, to_pixels
from tests import bad_pictures
from tests.bad_pictures import encoded, photo

# Pillow's own; that users don't see them is tested in an interpreter without pytest's filters.
pytestmark = pytest.mark.filterwarnings("ignore:::PIL")

GOLDEN = Path(__file__).parent / "golden"
ROOT = Path(__file__).parents[2]
SPEC = Preprocessing(height=64, width=48)
# What a camera writes for a picture that must be turned: tag value -> how its pixels lie.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def pixels_of(data: bytes) -> np.ndarray:
    return to_pixels(decode(data, COLLECTION_LIMITS), SPEC)


def rotated(orientation: int, kind: str) -> bytes:
    image = photo()
    exif = Image.Exif()
    exif[0x0112] = orientation
    if orientation in TURNS:
        image = image.transpose(TURNS[orientation])
    return encoded(image, kind, exif=exif, quality=95)


@pytest.mark.parametrize(("name", "case"), bad_pictures.rejected().items())
def test_a_bad_upload_is_refused_with_its_reason(name: str, case: tuple[bytes, str]) -> None:
    data, slug = case
    with pytest.raises(ImageRejected) as caught:
        decode(data, UPLOAD_LIMITS)
    assert caught.value.slug == slug, name
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "data"), bad_pictures.accepted().items())
def test_an_odd_upload_is_taken(name: str, data: bytes) -> None:
    image = decode(data, UPLOAD_LIMITS)
    assert image.mode == "RGB", name
    assert image.size == (160, 120)


@pytest.mark.parametrize("kind", ["TIFF", "GIF", "BMP", "AVIF", "JPEG2000", "PNG", "WEBP", "JPEG"])
def test_the_owner_may_have_more_formats(kind: str) -> None:
    image = decode(encoded(photo(), kind), COLLECTION_LIMITS)
    assert np.abs(np.asarray(image, int) - np.asarray(photo(), int)).mean() < 12


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_all_orientations_give_the_same_pixels(orientation: int, kind: str) -> None:
    assert np.array_equal(pixels_of(rotated(orientation, kind)), pixels_of(encoded(photo(), "PNG")))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_orientations_of_a_jpeg_give_nearly_the_same_pixels(orientation: int) -> None:
    difference = pixels_of(rotated(orientation, "JPEG")).astype(int) - pixels_of(
        encoded(photo(), "JPEG", quality=95)
    )
    assert np.abs(difference).max() <= 8  # the blocks of JPEG lie elsewhere in a turned picture


def test_transparency_is_laid_on_white() -> None:
    clear = Image.new("RGBA", (40, 30), (200, 0, 0, 0))
    clear.putpixel((0, 0), (10, 20, 30, 255))
    image = decode(encoded(clear, "PNG"), UPLOAD_LIMITS)
    assert image.getpixel((20, 20)) == (255, 255, 255)
    assert image.getpixel((0, 0)) == (10, 20, 30)


@pytest.mark.parametrize("mode", ["P", "LA"])
def test_transparency_of_palettes_and_grey_is_laid_on_white(mode: str) -> None:
    image = Image.new("RGBA", (40, 30), (90, 90, 90, 255))
    image.paste((0, 0, 0, 0), (0, 0, 20, 30))
    converted = image.quantize(8) if mode == "P" else image.convert("LA")
    decoded = decode(encoded(converted, "PNG"), UPLOAD_LIMITS)
    assert decoded.getpixel((5, 5)) == (255, 255, 255)
    assert decoded.getpixel((35, 5)) == (90, 90, 90)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bits_look_like_their_8_bit_twin(kind: str) -> None:
    ramp = np.arange(256, dtype=np.uint16)[None, :].repeat(40, axis=0)
    deep = decode(encoded(Image.fromarray(ramp * 257), kind), COLLECTION_LIMITS)
    flat = decode(encoded(Image.fromarray(ramp.astype(np.uint8)), kind), COLLECTION_LIMITS)
    assert np.array_equal(np.asarray(deep), np.asarray(flat))


def test_a_dark_16_bit_picture_stays_dark() -> None:
    dark = np.linspace(0, 200, 40 * 40).reshape(40, 40).astype(np.uint16)
    image = decode(encoded(Image.fromarray(dark), "PNG"), COLLECTION_LIMITS)
    assert np.asarray(image).max() <= 1


def test_cmyk_has_its_colours() -> None:
    image = decode(encoded(photo().convert("CMYK"), "JPEG", quality=95), UPLOAD_LIMITS)
    assert np.abs(np.asarray(image, int) - np.asarray(photo(), int)).mean() < 6


def test_a_colour_profile_is_converted() -> None:
    linear = ImageCms.createProfile("XYZ")  # anything that is not sRGB moves the colours
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    same = decode(encoded(photo(), "PNG", icc_profile=profile), UPLOAD_LIMITS)
    assert np.abs(np.asarray(same, int) - np.asarray(photo(), int)).max() <= 2
    foreign = ImageCms.ImageCmsProfile(linear).tobytes()
    decode(encoded(photo(), "PNG", icc_profile=foreign), UPLOAD_LIMITS)


def test_a_profile_of_another_colour_model_is_ignored() -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    image = decode(encoded(photo(), "PNG", icc_profile=lab), UPLOAD_LIMITS)
    assert np.array_equal(np.asarray(image), np.asarray(photo()))


def test_the_first_picture_of_several_is_taken() -> None:
    frames = [photo(), Image.new("RGB", (160, 120), "red")]
    for kind in ("TIFF", "GIF", "MPO"):
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
        image = decode(data, COLLECTION_LIMITS)
        assert np.abs(np.asarray(image, int) - np.asarray(photo(), int)).mean() < 12, kind


def test_a_large_jpeg_is_decoded_smaller_yet_looks_the_same() -> None:
    large = photo(4200, 3100)
    image = decode(encoded(large, "JPEG", quality=95), UPLOAD_LIMITS)
    assert min(image.size) >= 1024
    assert image.width < 4200
    reference = to_pixels(large, SPEC).astype(int)
    assert np.abs(to_pixels(image, SPEC) - reference).mean() < 1


def test_a_solid_picture_has_nothing_to_compare() -> None:
    with pytest.raises(ImageRejected) as caught:
        pixels_of(encoded(Image.new("RGB", (50, 50), "teal"), "PNG"))
    assert caught.value.slug == "blank-image"


def test_pixels_are_squashed_to_the_models_shape() -> None:
    pixels = pixels_of(encoded(photo(300, 30), "PNG"))
    assert pixels.shape == (64, 48, 3)
    assert pixels.dtype == np.uint8


def test_fine_hatching_is_averaged_not_sampled() -> None:
    hatched = np.zeros((3000, 3000, 3), np.uint8)
    hatched[:, ::2] = 255
    hatched[:1500] //= 2
    pixels = to_pixels(Image.fromarray(hatched), SPEC).astype(int)
    assert np.abs(pixels[:30] - 63).max() <= 2
    assert np.abs(pixels[34:] - 127).max() <= 2


def test_black_and_white_is_told_from_colour_and_sepia() -> None:
    grey = photo().convert("L").convert("RGB")
    assert is_greyscale(np.asarray(grey))
    assert is_greyscale(pixels_of(encoded(grey, "JPEG", quality=60)))
    assert not is_greyscale(np.asarray(photo()))
    sepia = np.asarray(grey).astype(float) * [1.0, 0.85, 0.6]
    assert not is_greyscale(sepia.astype(np.uint8))


@pytest.mark.parametrize(("coloured", "is_grey"), [(100, True), (101, False)])
@pytest.mark.parametrize("first", [0, 5000, 9800])
def test_one_pixel_of_a_hundred_may_have_colour(coloured: int, is_grey: bool, first: int) -> None:
    pixels = np.full((10_000, 3), 90, np.uint8)
    pixels[first : first + coloured, 0] = 103
    assert is_greyscale(pixels.reshape(100, 100, 3)) == is_grey


def test_a_file_the_system_refuses_is_rejected_by_name_of_the_reason(tmp_path: Path) -> None:
    with pytest.raises(ImageRejected) as caught:
        read_file(tmp_path / "gone.png")
    assert caught.value.slug == "unreadable-file"


def test_content_decides_not_the_name() -> None:
    assert sniff(encoded(photo(), "JPEG")[:32]) == "JPEG"
    assert sniff(encoded(photo(), "WEBP")[:32]) == "WEBP"
    assert sniff(b"RIFF\0\0\0\0WAVEfmt ") is None
    assert sniff(b"") is None


def test_odd_pictures_print_nothing() -> None:
    code = (
        "import contextlib\n"
        "from index.space.picture_limits import COLLECTION_LIMITS, UPLOAD_LIMITS\n"
        "from index.space.preprocessing import decode\n"
        "from tests.bad_pictures import accepted, rejected\n"
        "for data in [*accepted().values(), *(case[0] for case in rejected().values())]:\n"
        "    for limits in (UPLOAD_LIMITS, COLLECTION_LIMITS):\n"
        "        with contextlib.suppress(Exception):\n"
        "            decode(data, limits)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=ROOT)
    assert done.stdout + done.stderr == b""


@pytest.mark.parametrize("name", ["golden.png", "golden.jpg"])
def test_golden_pixels(name: str) -> None:
    """Version 1 must give these pixels for ever; another outcome needs a new VERSION."""
    expected = np.load(GOLDEN / "pixels.npz")[name]
    received = pixels_of((GOLDEN / name).read_bytes())
    assert np.abs(received.astype(int) - expected).max() <= 1


def test_golden_pictures_can_be_made_again(tmp_path: Path) -> None:
    subprocess.run([sys.executable, GOLDEN / "make_golden.py", tmp_path], check=True)
    for name in ("golden.png", "golden.jpg"):
        made = np.asarray(Image.open(tmp_path / name))
        assert np.array_equal(made, np.asarray(Image.open(GOLDEN / name))), name


def test_cutting_a_picture_anywhere_is_answered() -> None:
    for kind in ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP"):
        data = encoded(photo(40, 30), kind)
        slugs = {slug_of(data[:end]) for end in range(0, len(data), max(1, len(data) // 60))}
        assert slugs <= {None, "empty-file", "unsupported-image", "image-corrupt"}, kind


def test_no_flipped_bytes_raise_anything_but_a_rejection() -> None:
    rng = np.random.default_rng(3)
    for kind in ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "JPEG2000", "AVIF"):
        data = encoded(photo(40, 30), kind)
        for _ in range(80):
            broken = bytearray(data)
            for place in rng.integers(0, min(len(data), 400), 3):
                broken[place] = rng.integers(256)
            slug_of(bytes(broken))


def slug_of(data: bytes) -> str | None:
    """Why a picture is rejected, or None; any other error is a fault."""
    try:
        to_pixels(decode(data, COLLECTION_LIMITS), SPEC)
    except ImageRejected as error:
        return error.slug
    return None
