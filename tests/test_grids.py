"""Grids: what lies where, what is written below it, what is refused; display and distance."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from helpers import Measurement, image_distance, image_grid, show
from helpers.grids import explain_black
from helpers.lessons.plots import describe_comparison, plot_comparison

COLOURS = ["red", "green", "blue", "yellow", "purple", "orange", "black", "gray"]


def squares(count, size=(256, 192)):
    return [Image.new("RGB", size, COLOURS[index % len(COLOURS)]) for index in range(count)]


@pytest.mark.parametrize(
    ("count", "rows", "cols"),
    [(1, 1, 1), (2, 1, 2), (3, 1, 3), (4, 2, 2), (5, 2, 3), (6, 2, 3), (7, 3, 3), (8, 2, 4)]
    + [(9, 3, 3), (11, 3, 4), (12, 3, 4), (16, 4, 4), (64, 8, 8)],
)
def test_a_grid_is_near_square_when_not_told(count, rows, cols):
    assert image_grid(squares(count)).size == (256 * cols, 192 * rows)


@pytest.mark.parametrize(
    ("shape", "size"),
    [({"rows": 1}, (5, 1)), ({"rows": 2}, (3, 2)), ({"cols": 2}, (2, 3))],
)
def test_what_is_not_given_is_worked_out(shape, size):
    cols, rows = size
    assert image_grid(squares(5), **shape).size == (256 * cols, 192 * rows)


def test_pictures_lie_in_reading_order_and_gaps_are_white():
    images = squares(5)
    grid = image_grid(images, cols=3)
    for index, image in enumerate(images):
        x, y = index % 3 * 256, index // 3 * 192
        assert grid.crop((x, y, x + 256, y + 192)).tobytes() == image.tobytes()
    assert grid.getpixel((600, 240)) == (255, 255, 255)


@pytest.mark.parametrize(("width", "shown"), [(8, 256), (128, 256), (256, 256), (300, 300)])
def test_small_pictures_are_enlarged_to_be_seen(width, shown):
    grid = image_grid([Image.new("RGB", (width, width))] * 4)
    assert grid.size == (2 * shown, 2 * shown)


def test_any_mode_will_do():
    grid = image_grid([Image.new(mode, (256, 256)) for mode in ("RGB", "RGBA", "L", "P")])
    assert (grid.size, grid.mode) == ((512, 512), "RGB")


@pytest.mark.parametrize(
    ("count", "arguments", "message"),
    [
        (5, {"rows": 2, "cols": 2}, r"5 images do not fill a grid of 2 x 2 = 4: change rows"),
        (3, {"rows": 2, "cols": 2}, r"3 images do not fill a grid of 2 x 2 = 4: change rows"),
        (4, {"rows": 0}, "at least one row and one column"),
        (4, {"cols": -1}, "at least one row and one column"),
        (0, {}, "no image: give at least one"),
        (2, {"labels": ["one"]}, "1 labels do not fit 2 images: give one for each"),
        (2, {"labels": []}, "0 labels do not fit 2 images: give one for each"),
    ],
)
def test_a_wrong_count_is_refused_in_words(count, arguments, message):
    with pytest.raises(ValueError, match=message):
        image_grid(squares(count), **arguments)


def test_pictures_of_two_sizes_are_refused():
    with pytest.raises(ValueError, match="must have one size"):
        image_grid([*squares(1), *squares(1, size=(8, 8))])


# Labels


def ink(strip):
    """The part of a white strip that is written on: left, top, right, bottom."""
    return strip.convert("L").point(lambda value: 255 if value < 128 else 0).getbbox()


def strips(labels, size):
    """The strip below each picture of a row, with the label that is drawn in it."""
    width, height = size
    grid = image_grid(squares(len(labels), size), rows=1, labels=labels)
    boxes = [(x * width, height, (x + 1) * width, grid.height) for x in range(len(labels))]
    return [grid.crop(box) for box in boxes]


@pytest.mark.parametrize("size", [(256, 192), (300, 300), (512, 512)])
def test_labels_are_drawn_below_each_picture_and_leave_it_alone(size):
    images = squares(4, size)
    grid = image_grid(images, cols=2, labels=["seed 0", 1, 2.5, "20 steps"])
    cell = grid.height // 2
    for index, image in enumerate(images):
        x, y = index % 2 * size[0], index // 2 * cell
        picture = grid.crop((x, y, x + size[0], y + size[1]))
        assert picture.tobytes() == image.tobytes()
        assert ink(grid.crop((x, y + size[1], x + size[0], y + cell)))


@pytest.mark.parametrize(
    "label",
    [
        "DPMSolverMultistepScheduler",
        "DPMSolverMultistepScheduler, 20 steps, 0.39 s, guidance 7.5, seed 12345678",
        "portrait photo of the oldest warrior chief, tribal panther make up",
    ],
)
def test_a_long_label_is_wrapped_or_shrunk_until_nothing_is_cut(label):
    for strip in strips([label, "short"], (256, 256)):
        left, top, right, bottom = ink(strip)
        assert min(left, top, strip.width - right, strip.height - bottom) > 0


def test_a_label_that_needs_more_lines_gets_more_room_for_all():
    short, _ = strips(["seed 0", "seed 1"], (256, 256))
    long, beside = strips(["seed 0 " * 8, "seed 1"], (256, 256))
    assert long.height == beside.height > short.height


def test_labels_grow_with_the_pictures():
    heights = []
    for size in ((256, 256), (768, 768)):
        _, top, _, bottom = ink(strips(["seed 0"], size)[0])
        heights.append(bottom - top)
    assert heights[1] > 2 * heights[0] > 0


def test_an_empty_label_leaves_its_strip_white():
    empty, written = strips(["", "seed 1"], (256, 256))
    assert ink(empty) is None
    assert ink(written)


# Display


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
    measurements = [Measurement("50 steps", [], 2.0, 0.1)]
    show(plot_comparison(measurements), alt=describe_comparison(measurements))
    [(data, rest)] = displayed
    assert "50 steps 2.000" in rest["metadata"]["image/png"]["alt"]
    assert Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).size[0] >= 640


@pytest.mark.parametrize("alt", ["", "  "])
def test_an_empty_alt_text_is_refused(displayed, alt):
    with pytest.raises(ValueError, match="alt text is empty: describe in a sentence"):
        show(squares(1)[0], alt=alt)
    assert not displayed


# Distance


def test_the_distance_is_the_root_mean_square_over_pixels_and_bands():
    a, b = Image.new("RGB", (2, 1), "black"), Image.new("RGB", (2, 1), "black")
    b.putpixel((1, 0), (30, 60, 90))
    assert image_distance(a, a) == 0
    assert image_distance(a, b) == image_distance(b, a)
    expected = ((30**2 + 60**2 + 90**2) / 6) ** 0.5
    assert image_distance(a, b) == pytest.approx(expected)


def test_the_distance_agrees_with_numpy():
    random = np.random.default_rng(0)
    a, b = random.integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    expected = np.sqrt(np.mean((a.astype(float) - b.astype(float)) ** 2))
    distance = image_distance(Image.fromarray(a), Image.fromarray(b))
    assert distance == pytest.approx(expected)


def test_pictures_of_two_sizes_cannot_be_compared():
    with pytest.raises(ValueError, match="of one size"):
        image_distance(*squares(1), *squares(1, size=(8, 8)))


@pytest.mark.parametrize(
    ("colours", "which"),
    [
        (["black"], "Image 1 is"),
        (["red", "black"], "Image 2 is"),
        (["black", "red", "black"], "Images 1, 3 are"),
    ],
)
def test_black_images_are_explained_when_their_grid_is_shown(colours, which, displayed, capsys):
    grid = image_grid([Image.new("RGB", (8, 8), colour) for colour in colours])
    assert capsys.readouterr().out == ""
    show(grid, alt="A grid.")
    (sentence,) = capsys.readouterr().out.splitlines()
    assert sentence.startswith(f"{which} black: either the model's safety checker")
    assert "try another seed" in sentence
    assert "dtype='float32'" in sentence


def test_a_black_picture_is_explained_where_it_is_shown(capsys):
    show(Image.new("RGB", (8, 8)), alt="Nothing.")
    assert "Image 1 is black" in capsys.readouterr().out


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_dark_picture_is_not_black(mode):
    dark = Image.new("RGB", (8, 8))
    dark.putpixel((3, 3), (1, 1, 1))
    assert explain_black([dark.convert(mode)]) == ""


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((2, 16, 16, 3), np.uint8),
        (Image.new("RGB", (16, 16)) for _ in range(2)),
        [np.zeros((16, 16, 3), np.uint8), Image.new("RGB", (16, 16))],
    ],
)
def test_arrays_and_generators_are_taken_as_images(images):
    assert image_grid(images).size == (512, 256)


@pytest.mark.parametrize("images", [torch.zeros(2, 3, 8, 8), ["a.png"], [None]])
def test_what_is_no_image_is_refused_in_a_sentence(images):
    with pytest.raises(ValueError, match="is not an image: give PIL images"):
        image_grid(images)


def test_a_single_image_is_a_grid_of_one():
    assert image_grid(Image.new("RGB", (16, 16))).size == (256, 256)
