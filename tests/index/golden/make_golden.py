"""Make the golden pictures again: `python make_golden.py FOLDER [--pixels]`.

Asymmetric and colourful, so that a wrong turn, mirror image, channel order or ground shows.
With --pixels their pixels are written too: only after a change of `preprocessing.VERSION`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw


def golden() -> Image.Image:
    """300 x 200: a ramp in each channel, an F, a red corner and a green disc."""
    y, x = np.mgrid[0:200, 0:300]
    ramps = np.stack([x * 255 // 299, y * 255 // 199, (x + y) * 255 // 498], axis=-1)
    image = Image.fromarray(ramps.astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for box in ((40, 40, 60, 170), (40, 40, 130, 60), (40, 95, 105, 115)):
        draw.rectangle(box, fill=(250, 240, 20))
    draw.rectangle((250, 0, 299, 40), fill=(220, 10, 10))
    draw.ellipse((180, 110, 260, 190), fill=(10, 160, 60))
    return image


def make(folder: Path) -> None:
    """Write golden.png, half transparent, and golden.jpg, turned by its EXIF tag."""
    clear = golden().convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    clear.save(folder / "golden.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = golden().transpose(Image.Transpose.ROTATE_90)
    turned.save(folder / "golden.jpg", quality=92, exif=exif)


if __name__ == "__main__":
    target = Path(sys.argv[1])
    make(target)
    if "--pixels" in sys.argv:
        from index.space.picture_limits import COLLECTION_LIMITS
        from index.space.preprocessing import Preprocessing, decode, to_pixels

        spec = Preprocessing(height=64, width=48)
        names = ("golden.png", "golden.jpg")
        decoded = {n: decode((target / n).read_bytes(), COLLECTION_LIMITS) for n in names}
        np.savez_compressed(
            target / "pixels.npz", **{n: to_pixels(image, spec) for n, image in decoded.items()}
        )
