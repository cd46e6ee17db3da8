"""Exercises: each check tells right from wrong, gives a hint, and never stops the notebook.

The notebooks in notebooks/solutions, which tests run, hold a right and a wrong answer to each.
"""

from functools import partial

import numpy as np
import pandas
import pytest
import torch
from PIL import Image

from helpers.lessons import exercises
from helpers.timing import Measurement

PROMPT = "oil painting of a queen, green on pink"


@pytest.mark.parametrize(
    "check",
    [
        exercises.fewest_steps,
        exercises.nearer_timesteps,
        exercises.measurable_differences,
        exercises.same_images,
        exercises.finds_largest_batch,
        exercises.bytes_of_scores,
        exercises.prompt_that_shows,
    ],
)
def test_an_exercise_left_alone_or_answered_with_nonsense_gets_a_sentence(check):
    assert check(None).startswith("Not tried yet: replace None with ")
    for nonsense in ([], True, {"a": 1}):
        assert check(nonsense).startswith("Not yet: ")


def test_what_an_answer_breaks_is_told_and_not_raised(pipeline, judge):
    said = exercises.seed_that_shows(2**70, pipeline, PROMPT, judge, {"mood": "smiling"})
    assert said.startswith("Not yet: with this answer the call raises ")


# Checks without a pipeline


def grey(level):
    return Image.new("RGB", (8, 8), (level, level, level))


def two_halves(upper, lower):
    image = Image.new("RGB", (8, 8), upper)
    image.paste(lower, (0, 4, 8, 8))
    return image


def generate_timesteps(timesteps):
    return [grey(30 if timesteps is None else 9 if timesteps[-1] == 500 else 60)]


def generate_steps(steps):
    return [grey(100 // steps)]


CLEAR = Measurement("clear", [], 1.0, 0.1, speedups=(1.2, 1.3), noise=1.1)
NOISY = Measurement("noisy", [], 1.0, 0.1, speedups=(1.2, 1.3), noise=1.4)
BATCH = [grey(0), grey(50), grey(100)]
UNET = {
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "attention_head_dim": (1, 2),
    "sample_size": 16,
}
KEPT, CHANGED = (0, 0, 8, 4), (0, 4, 8, 8)
STARTING = two_halves("red", "green")

steps = partial(exercises.fewest_steps, generate=generate_steps, converged=[grey(0)], limit=20)
timesteps = partial(
    exercises.nearer_timesteps, generate=generate_timesteps, converged=[grey(0)], count=2
)
differences = partial(exercises.measurable_differences, measurements=[CLEAR, NOISY])
same = partial(exercises.same_images, references=[BATCH[0], BATCH[2]])
scores = partial(exercises.bytes_of_scores, config=UNET, batch_size=1)
keeps = partial(exercises.keeps_part, image=STARTING, kept=KEPT, changed=CHANGED)
trip = partial(exercises.round_trip, home=grey(0), away=grey(100))
largest = exercises.finds_largest_batch
halves_of = partial(exercises.returns, cases=[((2, 4), 0.5), ((4, 4), 1), ((1, 0), None)])


def bisect(fits):
    good, bad = 1, 2
    while fits(bad):
        good, bad = bad, 2 * bad
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if fits(middle) else (good, middle)
    return good


def one_by_one(fits):
    return next(size for size in range(1, 10**6) if not fits(size + 1))


@pytest.mark.parametrize(
    ("check", "answer", "said"),
    [
        (steps, 5, "Right: 5 steps come to 20.0; one step fewer stays at 25.0"),
        (steps, np.uint8(5), "Right: 5 steps"),
        (steps, torch.tensor(5), "Right: 5 steps"),
        (steps, 4, "Not yet: with 4 steps the distance is 25.0, more than 20"),
        (steps, 8, "Not yet: 7 steps are enough"),
        (steps, 51, "Not yet: try between 2 and 50"),
        (steps, 1, "Not yet: try between 2 and 50"),
        (steps, 5.5, "Not yet: the answer must be a number of steps, not 5.5"),
        (timesteps, [900, 500], "Right: the distance is 9.0 with yours and 30.0"),
        (timesteps, [900, 800], "Not yet: the distance is 60.0 with yours"),
        (timesteps, [900], "Not yet: there are 1 timesteps, not 2"),
        (timesteps, [500, 900], "Not yet: timesteps are whole numbers that fall"),
        (timesteps, [1000, 900], "Not yet: timesteps are whole numbers that fall"),
        (differences, {"clear"}, "Right: only clear shows a difference."),
        (differences, {"clear", "noisy"}, "Not yet: noisy could be chance (1.20 to 1.30, timing"),
        (differences, set(), "Not yet: clear does differ"),
        (same, [grey(0), grey(100)], "Right: the same, generated again."),
        (same, [grey(0), grey(50)], "Not yet: the distance from the reference, of 255, is 0, 50"),
        (same, grey(0), "Not yet: there are 1 images, not 2"),
        (same, [BATCH[0], grey(100)], "Not yet: these are the images themselves"),
        (scores, 2 * 2 * 2 * 64**2 * 2, "Right: the scores take 0.1 MB."),  # an int for a float
        (scores, 2.0 * 2 * 256**2 * 2, "Not yet: 0.5 MB are too many."),
        (keeps, two_halves("red", "blue"), "Right: "),
        (keeps, STARTING, "Not yet: "),  # nothing changed
        (keeps, two_halves("blue", "red"), "Not yet: the part to keep is"),
        (trip, [0, 30, 70, 100, 70, 30, 0], "Right: 7 images, no two neighbors more"),
        (trip, [0, 50, 100, 50, 0], "Not yet: 5 images are too few"),
        (trip, [0, 10, 30, 60, 70, 90, 100], "Not yet: the first image and the last"),
        (trip, [0, 20, 40, 60, 40, 20, 0], "Not yet: no image is that of the other seed"),
        (trip, [0, 0, 0, 100, 70, 30, 0], "Not yet: one step is a jump"),
        (largest, bisect, "Right: where 100 fit, it tries 2, 4, 8,"),
        (largest, one_by_one, "Not yet: where 16 fit, it takes 16 attempts"),
        (largest, lambda fits: 1, "Not yet: where 2 fit, it returns 1"),
        (largest, lambda fits: all(iter(lambda: fits(1), None)), "Not yet: with this answer the"),
        (halves_of, lambda a, b: a / b if b else None, "Right: it returns what is expected in all"),
        (halves_of, lambda a, b: None, "Not yet: for 2, 4, it returns None and not 0.5"),
        (halves_of, lambda a, b: a / (b or 1), "Not yet: for 1, 0, it returns 1.0 and not None"),
        (halves_of, lambda a, b: a / b, "Not yet: with this answer the call raises ZeroDivision"),
    ],
)
def test_a_right_answer_is_accepted_and_a_wrong_one_gets_a_hint(check, answer, said):
    if check is trip:
        answer = [grey(level) for level in answer]
    assert check(answer).startswith(said)


@pytest.mark.parametrize(("after", "said"), [(0, "Right: "), (2, "Not yet: "), (1, "Right: ")])
def test_a_negative_prompt_that_removes(pipeline, monkeypatch, after, said):
    moods = iter([["smiling", "smiling"], ["smiling"] * after + ["serious"] * (2 - after)])
    read = lambda images, judge: pandas.DataFrame({"mood": next(moods)})  # noqa: E731
    monkeypatch.setattr(exercises, "read_attributes", read)
    given = (pipeline, PROMPT, None, ("mood", "smiling"), range(2))
    found = exercises.negative_prompt_that_removes("smiling", *given, num_inference_steps=1)
    assert found == f"{said}with it, {after} of 2 images show smiling; without it, 2 do."


def test_attention_in_parts(pipeline):
    def classic(query, key, value):
        return (query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5).softmax(dim=-1) @ value

    def in_parts(query, key, value):
        return torch.cat([classic(part, key, value) for part in query.split(64, dim=1)], dim=1)

    def swap(function):
        used.append(function)
        return pipeline.unet.attn_processors

    used, generate = [], lambda _: [grey(0)]
    check = partial(exercises.attention_in_parts, pipeline=pipeline, processor=swap)
    assert check(lambda query, key, value: query, generate=generate).startswith("Not yet: its numb")
    assert check(classic, generate=generate).startswith("Not yet: it takes 16")
    assert check(in_parts, generate=generate).startswith("Right: at most ") and used == [in_parts]
