"""Images for training: read from a folder, or refused with a sentence."""

import pytest
from PIL import Image

from labs.finetune import check_images, load_images
from labs.finetune import images as module


def gradient(size=(40, 30)):
    return Image.linear_gradient("L").resize(size).convert("RGB")


@pytest.fixture
def folder(tmp_path):
    for number in range(4):
        gradient().save(tmp_path / f"{number}.png")
    return tmp_path


def test_images_are_cropped_to_the_models_size(folder):
    (folder / "notes.txt").write_text("not an image")
    images = load_images(folder, 16)
    assert [image.size for image in images] == [(16, 16)] * 4
    assert {image.mode for image in images} == {"RGB"}


def test_a_photo_is_turned_upright(folder):
    photo, exif = gradient((30, 40)), Image.Exif()
    photo.putpixel((0, 0), (255, 0, 0))
    exif[0x0112] = 3  # upside down
    photo.save(folder / "0.png", exif=exif)
    assert load_images(folder, 30)[0].getpixel((0, 0)) != (255, 0, 0)


def test_a_folder_that_cannot_be_used(folder, monkeypatch):
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        load_images(folder / "missing", 16)
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 no more")
    with pytest.raises(ValueError, match=r"broken.jpg cannot be read as an image"):
        load_images(folder, 16)
    (folder / "broken.jpg").unlink()
    monkeypatch.setattr(module, "LARGEST", 1000)  # refused unread
    with (
        monkeypatch.context() as patch,
        pytest.raises(ValueError, match="4 images are .* too many"),
    ):
        patch.setattr(module, "MOST", 3)
        load_images(folder, 16)
    with pytest.raises(ValueError, match=r"Image 0.png is too large, 40 x 30 pixels"):
        load_images(folder, 16)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([gradient()] * 3, "3 images are too few"),
        ([gradient()] * 501, "501 images are .* too many to hold in memory: give 4 to 500"),
        ([gradient()] * 4 + [Image.new("RGB", (8, 8), "red")], "Image 4 has one color only"),
    ],
)
def test_images_that_nothing_can_be_learned_from(images, message):
    with pytest.raises(ValueError, match=message):
        check_images(images)
