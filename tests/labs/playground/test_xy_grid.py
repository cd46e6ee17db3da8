"""Two settings against each other: what is drawn, how often, what lies where, what is refused."""

import inspect
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from helpers import MODELS_FOLDER, get_inputs, use_scheduler, use_vae
from labs.playground import xy_grid

SIDE = 256
STEPS = ("num_inference_steps", [5, 10, 20])
SEEDS = ("seed", [3, 4])


class Recorder:
    """Stands in for a pipeline: notes each call, and answers with a picture of its own."""

    def __init__(self):
        self.calls = []
        self.fail_at = None

    def __call__(self, prompt="", num_inference_steps=50, guidance_scale=7.5, generator=None):
        if len(self.calls) == self.fail_at:
            self.fail_at = None
            raise KeyboardInterrupt
        seed = generator[0].initial_seed()
        self.calls.append((prompt, num_inference_steps, guidance_scale, seed))
        colour = (num_inference_steps % 256, seed, int(guidance_scale * 10))
        return SimpleNamespace(images=[Image.new("RGB", (SIDE, SIDE), colour)])


@pytest.fixture
def recorder():
    return Recorder()


def cell(grid, column, row, count):
    """The middle of the picture in that column and row, of `count` rows."""
    top = grid.height - count * SIDE
    return grid.getpixel(((column + 1) * SIDE + SIDE // 2, top + row * SIDE + SIDE // 2))


def test_each_pair_is_drawn_once_and_lies_in_its_place(recorder):
    grid = xy_grid(recorder, STEPS, SEEDS, prompt="a knight")
    assert sorted(recorder.calls) == [
        ("a knight", steps, 7.5, seed) for steps in (5, 10, 20) for seed in (3, 4)
    ]
    assert grid.width == 4 * SIDE
    for row, seed in enumerate((3, 4)):
        for column, steps in enumerate((5, 10, 20)):
            assert cell(grid, column, row, 2) == (steps, seed, 75)


def test_the_axes_are_labelled_and_their_corner_is_empty(recorder):
    grid = xy_grid(recorder, STEPS, SEEDS)
    top = grid.height - 2 * SIDE
    ink = [
        (255 - np.asarray(grid.crop(box).convert("L"))).any()
        for box in (
            (0, 0, SIDE, top),
            (SIDE, 0, 4 * SIDE, top),
            (0, top, SIDE, top + SIDE),
            (0, top + SIDE, SIDE, top + 2 * SIDE),
        )
    ]
    assert ink == [False, True, True, True]


def test_the_seed_is_0_unless_it_is_given(recorder):
    guidance = ("guidance_scale", [1.0, 7.5])
    xy_grid(recorder, STEPS, guidance)
    assert {call[3] for call in recorder.calls} == {0}
    xy_grid(recorder, STEPS, guidance, seed=9)
    assert recorder.calls[-1][3] == 9


def test_values_that_come_twice_are_drawn_once(recorder):
    xy_grid(recorder, ("seed", [1, 1, 2]), ("guidance_scale", [5.0, 5.0]))
    assert len(recorder.calls) == 2


def test_after_a_stop_it_goes_on_where_it_was(recorder):
    made = {}
    recorder.fail_at = 4
    with pytest.raises(KeyboardInterrupt):
        xy_grid(recorder, STEPS, SEEDS, made=made, prompt="a knight")
    assert len(made) == 4
    grid = xy_grid(recorder, STEPS, SEEDS, made=made, prompt="a knight")
    assert len(recorder.calls) == len(set(recorder.calls)) == 6
    assert grid.tobytes() == xy_grid(Recorder(), STEPS, SEEDS, prompt="a knight").tobytes()


def test_what_was_made_with_other_settings_is_not_taken(recorder):
    made = {}
    xy_grid(recorder, STEPS, SEEDS, made=made, prompt="a knight")
    xy_grid(recorder, STEPS, SEEDS, made=made, prompt="a queen")
    assert len(made) == len(recorder.calls) == 12


def test_black_pictures_are_explained_once_a_grid(recorder, capsys):
    xy_grid(recorder, ("seed", [0, 1]), ("num_inference_steps", [256, 5]), guidance_scale=0)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("Picture 1 of 4 is black: ")
    xy_grid(recorder, STEPS, SEEDS)
    assert "black" not in capsys.readouterr().out


# Words of the prompt


def prompts(recorder, *axes, **inputs):
    xy_grid(recorder, *axes, **inputs)
    return list(dict.fromkeys(call[0] for call in recorder.calls))


def test_words_of_the_prompt_are_replaced_by_each_value(recorder):
    ages = ("a old", ["the oldest", "a old", "a", "a young"])
    assert prompts(recorder, ages, SEEDS, prompt="photo of a old chief") == [
        f"photo of {age} chief" for age in ages[1]
    ]


def test_only_whole_words_are_replaced(recorder):
    found = prompts(recorder, ("old", ["young"]), SEEDS, prompt="an old golden bold chief, old.")
    assert found == ["an young golden bold chief, young."]


def test_no_replacement_is_replaced_again(recorder):
    swap = ("red", ["blue"]), ("blue", ["red"])
    assert prompts(recorder, *swap, prompt="red on blue") == ["blue on red"]


def test_longer_words_win(recorder):
    axes = ("old chief", ["queen"]), ("old", ["young"])
    assert prompts(recorder, *axes, prompt="old chief, old") == ["queen, young"]


def test_whole_prompts_are_an_axis_too(recorder):
    axes = ("prompt", ["a red knight", "a queen"]), ("red", ["red", "blue"])
    assert prompts(recorder, *axes) == ["a red knight", "a queen", "a blue knight"]


# Refusals


@pytest.mark.parametrize(
    ("x", "y", "inputs", "message"),
    [
        (("step", [1]), SEEDS, {}, "'step' is neither an argument of the pipeline nor words"),
        (("old", [1]), SEEDS, {"prompt": "gold"}, "'old' is neither an argument"),
        (SEEDS, SEEDS, {}, "Both axes are 'seed'"),
        (("seed", []), STEPS, {}, "The axis 'seed' has no values"),
        (SEEDS, STEPS, {"generator": None}, "generator moves on .* give a seed"),
        (("generator", [None]), STEPS, {}, "generator moves on"),
    ],
)
def test_what_cannot_be_drawn_is_refused_before_the_first_picture(recorder, x, y, inputs, message):
    with pytest.raises(ValueError, match=message):
        xy_grid(recorder, x, y, **inputs)
    assert not recorder.calls


# Progress


def test_progress_tells_the_time_left_and_is_silent_in_ci(recorder, monkeypatch, capsys):
    monkeypatch.setenv("CI", "true")
    xy_grid(recorder, STEPS, SEEDS)
    assert capsys.readouterr().out == ""
    monkeypatch.delenv("CI")
    xy_grid(recorder, STEPS, SEEDS)
    lines = capsys.readouterr().out.split("\r")
    assert lines[1].strip() == "0 of 6 pictures"
    assert "about" in lines[2] and "s left" in lines[2]
    assert lines[-1].strip() == "6 of 6 pictures" and lines[-1].endswith("\n")


# With a pipeline


def test_a_cell_is_the_picture_that_its_settings_draw(pipeline):
    made = {}
    xy_grid(pipeline, ("num_inference_steps", [2, 3]), SEEDS, made=made, prompt="a knight")
    inputs = get_inputs(prompt="a knight", num_inference_steps=3, seeds=[4])
    alone = pipeline(**{**inputs, "prompt": "a knight"}).images[0]
    assert list(made.values())[-1].tobytes() == alone.tobytes()


def test_schedulers_are_an_axis_and_the_pipeline_keeps_its_own(pipeline):
    before = pipeline.scheduler
    names = ("scheduler", ["PNDMScheduler", "DDIMScheduler"])
    made = {}
    xy_grid(pipeline, names, ("seed", [0]), made=made, prompt="a knight", num_inference_steps=3)
    first, second = made.values()
    assert first.tobytes() != second.tobytes()
    assert pipeline.scheduler is before
    with pytest.raises(ValueError, match="'EulerScheduler' is not a scheduler that fits"):
        xy_grid(pipeline, ("scheduler", ["EulerScheduler"]), ("seed", [0]), prompt="a knight")
    assert pipeline.scheduler is before


def test_pictures_of_several_sizes_get_room(pipeline):
    sizes = ("height", [64, 128])
    grid = xy_grid(pipeline, sizes, ("seed", [0]), prompt="a knight", num_inference_steps=1)
    assert grid.width == 3 * 256


def test_it_is_short_enough_to_be_shown():
    assert len(inspect.getsource(xy_grid).splitlines()) <= 55


# Nothing wrong without a word


def test_what_another_model_made_is_not_taken(pipeline):
    made = {}
    grid = {"x": ("seed", [0]), "y": ("guidance_scale", [2.0]), "prompt": "a knight"}
    grid |= {"num_inference_steps": 1, "made": made}
    xy_grid(pipeline, **grid)
    xy_grid(pipeline, **grid)
    assert len(made) == 1
    other = str(MODELS_FOLDER / "tiny-portraits-early" / "vae")
    xy_grid(use_vae(pipeline, other), **grid)
    assert len(made) == 2
    xy_grid(use_scheduler(pipeline, "DDIMScheduler"), **grid)
    assert len(made) == 3


def test_a_height_without_a_width_is_heeded(pipeline):
    made = {}
    xy_grid(pipeline, ("height", [64]), SEEDS, made=made, prompt="a knight", num_inference_steps=1)
    assert {image.size for image in made.values()} == {(128, 64)}


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (("seed", [0, 1, -1]), "-1 is not a seed"),
        (("scheduler", ["DDIMScheduler", "Euler"]), "'Euler' is not a scheduler that fits"),
        (
            ("num_inference_steps", [5, 0]),
            "num_inference_steps 0 cannot be drawn",
        ),
        (("width", [64, 100]), "width 100 cannot be drawn: use a multiple of 8"),
        (("num_inference_steps", "5,10,20"), "has the text '5,10,20' for values: give a list"),
    ],
)
def test_a_value_that_cannot_be_drawn_is_refused_before_the_rest_is(pipeline, x, message):
    made = {}
    with pytest.raises(ValueError, match=message):
        xy_grid(pipeline, x, ("guidance_scale", [1.0]), made=made, prompt="a knight")
    assert made == {}


def test_values_may_come_from_a_generator(recorder):
    seeds = (seed for seed in range(3))
    assert (
        xy_grid(recorder, ("seed", seeds), ("guidance_scale", [1.0]), prompt="a").width == 4 * SIDE
    )


def test_a_long_number_does_not_shrink_the_labels(recorder):
    def top(value):
        return xy_grid(recorder, ("guidance_scale", [1.5, value]), SEEDS, prompt="a").height

    assert top(11 / 3) == top(3.667)
