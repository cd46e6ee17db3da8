"""Grids: what lies where, what is written below it, what is refused; display and distance."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from helpers import image_distance, image_grid, show
from helpers.grids import explain_black
from helpers.lessons.plots import describe_lines, plot_lines

COLORS = ["red", "green", "blue", "yellow", "purple", "orange", "black", "gray"]


def squares(count, size=(256, 192)):
    return [Image.new("RGB", size, COLORS[index % len(COLORS)]) for index in range(count)]


@pytest.mark.parametrize(
    ("count", "given", "rows", "cols"),
    [(1, {}, 1, 1), (3, {}, 1, 3), (4, {}, 2, 2), (5, {}, 2, 3), (7, {}, 3, 3), (8, {}, 2, 4)]
    + [(11, {}, 3, 4), (64, {}, 8, 8), (5, {"rows": 2}, 2, 3), (5, {"cols": 2}, 3, 2)],
)
def test_a_grid_is_nearly_square_unless_rows_or_columns_are_given(count, given, rows, cols):
    assert image_grid(squares(count), **given).size == (256 * cols, 192 * rows)


@pytest.mark.parametrize(("width", "shown"), [(8, 256), (128, 256), (256, 256), (300, 300)])
def test_small_images_are_enlarged_to_be_seen(width, shown):
    assert image_grid([Image.new("RGB", (width, width))] * 4).size == (2 * shown, 2 * shown)


@pytest.mark.parametrize(
    ("count", "arguments", "message"),
    [
        (5, {"rows": 2, "cols": 2}, r"5 images do not fill a grid of 2 x 2: change one"),
        (4, {"rows": 0}, "at least one row and one column"),
        (0, {}, "no image: give at least one"),
        (2, {"labels": ["one"]}, "1 labels do not fit 2 images: give one for each"),
    ],
)
def test_a_wrong_count_is_refused_in_words(count, arguments, message):
    with pytest.raises(ValueError, match=message):
        image_grid(squares(count), **arguments)


@pytest.mark.parametrize("function", [lambda a, b: image_grid([a, b]), image_distance])
@pytest.mark.parametrize(
    ("other", "message"),
    [
        (Image.new("RGB", (8, 8)), "one size"),
        (torch.zeros(3, 8, 8), "is not an image: give PIL images"),
        ("a.png", "is not an image: give PIL images"),
    ],
)
def test_images_of_two_sizes_and_what_is_no_image_are_refused(function, other, message):
    with pytest.raises(ValueError, match=message):
        function(*squares(1), other)


def ink(strip):
    """The part of a white strip that is written on: left, top, right, bottom."""
    return strip.convert("L").point(lambda value: 255 if value < 128 else 0).getbbox()


@pytest.mark.parametrize("size", [(256, 192), (300, 300)])
def test_labels_are_drawn_below_each_picture_and_leave_it_alone(size):
    images = squares(3, size)
    grid = image_grid(images, cols=2, labels=["seed 0", 1, 2.5])
    cell = grid.height // 2
    assert grid.getpixel((grid.width - 1, grid.height - 1)) == (255, 255, 255)  # the gap
    for index, image in enumerate(images):
        x, y = index % 2 * size[0], index // 2 * cell
        picture = grid.crop((x, y, x + size[0], y + size[1]))
        assert picture.tobytes() == image.tobytes()
        assert ink(grid.crop((x, y + size[1], x + size[0], y + cell)))


@pytest.mark.parametrize(
    "label",
    ["DPMSolverMultistepScheduler, 20 steps, 0.39 s, guidance 7.5, seed 12345678", "a" * 200],
)
def test_a_long_label_is_wrapped_or_shrunk_until_it_touches_nothing(label):
    grid = image_grid(squares(3, (256, 256)), rows=1, labels=[label, label, "short"])
    for x in (0, 256, 512):
        strip = grid.crop((x, 256, x + 256, grid.height))
        left, top, right, bottom = ink(strip)
        assert min(left, strip.width - right) >= 8 and min(top, strip.height - bottom) > 0


@pytest.fixture
def displayed(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, **rest: shown.append((data, rest)))
    return shown


@pytest.mark.parametrize(("width", "shown"), [(128, 384), (256, 512), (512, 512)])
def test_a_picture_is_shown_large_enough_to_see_with_its_alt_text(displayed, width, shown):
    show(Image.new("RGB", (width, width), "red"), alt="A red square.")
    [(data, rest)] = displayed
    assert rest["metadata"] == {"image/jpeg": {"alt": "A red square."}}
    jpeg = Image.open(io.BytesIO(base64.b64decode(data["image/jpeg"])))
    assert (jpeg.format, jpeg.size) == ("JPEG", (shown, shown))
    assert np.abs(np.asarray(jpeg, float) - (255, 0, 0)).max() <= 3
    assert data["text/plain"] == "A red square."


def test_a_figure_is_shown_as_png_with_its_alt_text(displayed):
    lines = {"PNDM": {10: 21.4, 20: 9.0}, "Euler": {10: 8.0, 20: 9.0}}
    figure = plot_lines(lines, title="Distance", xlabel="steps", ylabel="of 255")
    show(figure, alt=describe_lines(lines, "Distance"))
    [(data, rest)] = displayed
    assert "PNDM: 21 at 10, 9 at 20. Euler" in rest["metadata"]["image/png"]["alt"]
    assert Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).size[0] >= 640


def test_the_distance_agrees_with_numpy():
    random = np.random.default_rng(0)
    a, b = random.integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    expected = np.sqrt(np.mean((a.astype(float) - b.astype(float)) ** 2))
    distance = image_distance(Image.fromarray(a), Image.fromarray(b))
    assert distance == pytest.approx(expected)


@pytest.mark.parametrize(
    ("colors", "which"),
    [(["red", "black"], "Image 2 is"), (["black", "red", "black"], "Images 1, 3 are")],
)
def test_black_images_are_explained_when_their_grid_is_shown(colors, which, displayed, capsys):
    grid = image_grid([Image.new("RGB", (8, 8), color) for color in colors])
    assert capsys.readouterr().out == ""
    show(grid, alt="A grid.")
    (sentence,) = capsys.readouterr().out.splitlines()
    assert sentence.startswith(f"{which} black: either the model's safety checker")
    assert "try another seed" in sentence and "dtype='float32'" in sentence
    assert explain_black([Image.new("L", (8, 8), 1)]) == ""  # dark, but not black


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((2, 16, 16, 3), np.uint8),
        (Image.new("RGB", (16, 16)) for _ in range(2)),
        [np.zeros((16, 16, 3), np.uint8), Image.new("P", (16, 16))],
    ],
)
def test_arrays_and_generators_are_taken_as_images(images):
    assert image_grid(images).size == (512, 256)
    assert image_grid(np.zeros((16, 16, 3), np.uint8)).size == (256, 256)
