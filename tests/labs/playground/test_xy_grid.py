"""Grids of two inputs: what is generated, where it is pasted, what is refused."""

from types import SimpleNamespace

import pytest
from diffusers import StableDiffusionImg2ImgPipeline
from PIL import Image

from helpers import make_generators
from labs.playground import replace_words, xy_grid

SIDE = 256
STEPS = ("num_inference_steps", [5, 10, 20])
SEEDS = ("seed", [3, 4])


class Recorder:
    """Stands in for a pipeline: records each call, and returns an image of one color."""

    scheduler = None

    def __init__(self):
        self.calls = []

    def set_progress_bar_config(self, **_):
        pass

    def __call__(self, prompt="", num_inference_steps=50, guidance_scale=7.5, generator=None):
        seed = generator[0].initial_seed()
        self.calls.append((prompt, num_inference_steps, guidance_scale, seed))
        color = (num_inference_steps % 256, seed, int(guidance_scale * 10))
        return SimpleNamespace(images=[Image.new("RGB", (SIDE, SIDE), color)])


@pytest.fixture
def recorder():
    return Recorder()


def cell(grid, column, row, rows):
    """Return the image in that column and row of a grid."""
    top = grid.height - rows * SIDE
    left, upper = (column + 1) * SIDE, top + row * SIDE
    return grid.crop((left, upper, left + SIDE, upper + SIDE))


def test_each_pair_is_generated_once_and_pasted_in_its_place(recorder):
    steps = ("num_inference_steps", iter([5, 10, 20]))  # any iterable will do
    grid = xy_grid(recorder, steps, ("seed", [3.0, "4"]), prompt="a knight")
    pairs = [(steps, seed) for seed in (3, 4) for steps in (5, 10, 20)]
    assert recorder.calls == [("a knight", steps, 7.5, seed) for steps, seed in pairs]
    assert grid.width == 4 * SIDE
    for number, (steps, seed) in enumerate(pairs):
        image = cell(grid, number % 3, number // 3, 2)
        assert image.getpixel((SIDE // 2, SIDE // 2)) == (steps, seed, 75)
    top = grid.crop((SIDE, 0, grid.width, grid.height - 2 * SIDE))
    for label in (top, cell(grid, -1, 0, 2), cell(grid, -1, 1, 2)):
        assert label.convert("L").getextrema()[0] < 255


def test_black_images_are_explained(recorder, capsys):
    xy_grid(recorder, ("seed", [0, 1]), ("num_inference_steps", [256, 5]), guidance_scale=0)
    assert "Image 1 is black" in capsys.readouterr().out


def test_whole_words_of_the_prompt_are_replaced_by_each_value(recorder):
    ages = (replace_words("a old"), ["the oldest", "a old", "a"])
    colors = (replace_words("red"), ["red", "blue"])
    xy_grid(recorder, ages, colors, prompt="a old bored chief on red.")
    asked = [f"{age} bored chief on {color}." for color in colors[1] for age in ages[1]]
    assert [prompt for prompt, *_ in recorder.calls] == asked


@pytest.mark.parametrize(
    ("x", "y", "inputs", "message"),
    [
        ((replace_words("old"), [1]), SEEDS, {"prompt": ["old"]}, "'old' is not in the prompt"),
        (SEEDS, SEEDS, {}, "Both axes vary 'seed'"),
        (("seed", []), STEPS, {}, "needs at least one value"),
        (("num_inference_steps", [5, 0]), SEEDS, {}, "num_inference_steps should be a whole"),
        (("seed", [1, None]), STEPS, {}, "seed should be a whole number"),
        (("guidance_scale", [1, "high"]), STEPS, {}, "guidance_scale should be a number"),
        (("guidance", [1]), SEEDS, {}, "A Recorder has no argument 'guidance'"),
    ],
)
def test_what_cannot_be_used_is_refused_before_the_first_image(recorder, x, y, inputs, message):
    with pytest.raises((ValueError, TypeError), match=message):
        xy_grid(recorder, x, y, **inputs)
    assert not recorder.calls


def small(pipeline, x, y=("seed", [0]), **inputs):
    return xy_grid(pipeline, x, y, prompt="a knight", num_inference_steps=3, **inputs)


def test_schedulers_are_an_axis_and_the_pipeline_keeps_its_own(pipeline):
    before = pipeline.scheduler
    names = ["DDIMScheduler", "PNDMScheduler"]  # PNDM keeps state from step to step
    grid = small(pipeline, ("scheduler", names), SEEDS)
    for row, seed in enumerate(SEEDS[1]):
        generator = make_generators(seed)
        alone = pipeline("a knight", num_inference_steps=3, generator=generator).images[0]
        large = alone.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
        assert cell(grid, 1, row, 2).tobytes() == large.tobytes()
        assert cell(grid, 0, row, 2).tobytes() != large.tobytes()
    with pytest.raises(ValueError, match="'EulerScheduler' is not a scheduler that fits"):
        small(pipeline, ("scheduler", ["DDIMScheduler", "EulerScheduler"]))
    assert pipeline.scheduler is before


def test_a_height_without_a_width_has_an_effect(pipeline):
    alone, both = (small(pipeline, ("height", [64]), **sides) for sides in ({}, {"width": 128}))
    assert alone.tobytes() == both.tobytes()


def test_each_of_several_images_to_start_from_is_used(pipeline):
    img2img = StableDiffusionImg2ImgPipeline(**pipeline.components)
    images = [Image.new("RGB", (128, 128), color) for color in ("red", "white")]
    grid = xy_grid(img2img, ("image", images), SEEDS, prompt="a man", num_inference_steps=2)
    assert cell(grid, 0, 0, 2).tobytes() != cell(grid, 1, 0, 2).tobytes()
