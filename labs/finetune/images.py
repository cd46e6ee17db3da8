"""Read the images of a folder for training, and refuse those that nothing can be learned from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageOps

from labs.images.generate import to_rgb

FEWEST, MOST = 4, 500
LARGEST = 50_000_000  # pixels of one image
KINDS = {".jpeg", ".jpg", ".png", ".webp"}


def load_images(folder: str | Path, size: int) -> list[Image.Image]:
    """Read every image of a folder, cropped to its central square and resized.

    Args:
        folder: holds PNG, JPEG or WebP files; other files are passed over.
        size: pixels across, as the model generates them.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: a file cannot be read, or `check_images` refuses the images.
    """
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"{folder} is not a folder: give one that holds your images.")
    files = sorted(path for path in Path(folder).iterdir() if path.suffix.lower() in KINDS)
    _check_count(len(files))
    images = {file.name: _read(file, size) for file in files}
    check_images(images)
    return list(images.values())


def check_images(images: Sequence[Image.Image] | Mapping[str, Image.Image]) -> None:
    """Refuse images that a training would fail on or learn nothing from.

    Args:
        images: a list, or images by the name that a message should give them.

    Raises:
        ValueError: there are too few or too many, or one is too large or of one color only.
    """
    named = images if isinstance(images, Mapping) else dict(enumerate(images))
    _check_count(len(named))
    for name, image in named.items():
        if image.width * image.height > LARGEST:
            raise ValueError(
                f"Image {name} is too large, {image.width} x {image.height} pixels: make it "
                f"smaller than {LARGEST // 1_000_000} megapixels."
            )
        if all(low == high for low, high in image.convert("RGB").getextrema()):
            raise ValueError(f"Image {name} has one color only, at least in its central square.")


def _check_count(count: int) -> None:
    if not FEWEST <= count <= MOST:
        raise ValueError(
            f"{count} images are too few to learn from, or too many to hold in memory: give "
            f"{FEWEST} to {MOST}, better 16 to 32."
        )


def _read(file: Path, size: int) -> Image.Image:
    try:
        with Image.open(file) as image:
            if image.width * image.height > LARGEST:
                return Image.new("1", image.size)  # it is refused by its size, unread
            return ImageOps.fit(to_rgb(image), (size, size))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"{file.name} cannot be read as an image ({error}): remove it from the folder, or save "
            "it again as JPEG."
        ) from error
