"""Exercises: each check gives a hint where a wrong answer looks right, and stops no notebook.

The notebooks in notebooks/solutions, which tests run, hold a right and a wrong answer to each.
"""

from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.lessons import exercises
from helpers.timing import Measurement


def grey(level):
    return Image.new("RGB", (8, 8), (level, level, level))


def two_halves(upper, lower):
    image = Image.new("RGB", (8, 8), upper)
    image.paste(lower, (0, 4, 8, 8))
    return image


def trip(levels):
    images = [grey(level) for level in levels]
    return exercises.round_trip(images, home=grey(0), away=grey(100))


NOISY = Measurement("noisy", [], 1.0, 0.1, speedups=(1.2, 1.3), noise=1.4)
BATCH = [grey(0), grey(50), grey(100)]
STARTING = two_halves("red", "green")

steps = partial(
    exercises.fewest_steps,
    generate=lambda count: [grey(100 // count)],
    converged=[grey(0)],
    limit=20,
)
timesteps = partial(
    exercises.nearer_timesteps, generate=lambda _: BATCH[:1], converged=[grey(0)], count=2
)
differences = partial(exercises.measurable_differences, measurements=[NOISY])
same = partial(exercises.same_images, references=[BATCH[0], BATCH[2]])
keeps = partial(exercises.keeps_part, image=STARTING, kept=(0, 0, 8, 4), changed=(0, 4, 8, 8))
largest = exercises.finds_largest_batch
unet = {"down_block_types": ["CrossAttn"], "attention_head_dim": [2], "sample_size": 8}
scores = partial(exercises.bytes_of_scores, config=unet, batch_size=1)
halves_of = partial(exercises.returns, cases=[((2, 4), 0.5), ((1, 0), None)])


@pytest.mark.parametrize("check", [steps, timesteps, differences, same, largest])
def test_an_exercise_left_alone_or_answered_with_nonsense_gets_a_sentence(check):
    assert check(None).startswith("Not tried yet: replace None with ")
    for nonsense in ([], True, {"a": 1}):
        assert check(nonsense).startswith("Not yet: ")


@pytest.mark.parametrize(
    ("check", "answer", "said"),
    [
        (steps, np.uint8(5), "Right: 5 steps come to 20.0; one step fewer stays at 25.0"),
        (steps, torch.tensor(5), "Right: 5 steps"),
        (steps, 4, "Not yet: with 4 steps the distance is 25.0, over 20"),
        (steps, 8, "Not yet: 7 steps are enough"),
        (steps, 51, "Not yet: try between 2 and 50"),
        (steps, 5.5, "Not yet: the answer must be a number of steps, not 5.5"),
        (timesteps, [900], "Not yet: there are 1 timesteps, not 2"),
        (timesteps, [1000, 900], "Not yet: timesteps are whole numbers that fall"),
        (differences, {"noisy"}, "Not yet: noisy could be chance (1.20 to 1.30, timing"),
        (same, grey(0), "Not yet: there are 1 images, not 2"),
        (same, [BATCH[0], grey(100)], "Not yet: these are the images themselves"),
        (keeps, STARTING, "Not yet: "),  # nothing changed
        (keeps, two_halves("blue", "red"), "Not yet: the part to keep is"),
        (trip, [0, 50, 100, 50, 0], "Not yet: 5 images are too few"),
        (trip, [0, 10, 30, 60, 70, 90, 100], "Not yet: the first image and the last"),
        (trip, [0, 20, 40, 60, 40, 20, 0], "Not yet: no image is that of the other seed"),
        (trip, [0, 0, 0, 100, 70, 30, 0], "Not yet: one step is a jump"),
        (largest, lambda fits: 1, "Not yet: where 2 fit, it returns 1"),
        (largest, lambda fits: all(iter(lambda: fits(1), None)), "Not yet: with this answer the"),
        (scores, 2 * 2 * 2 * 64**2 * 2, "Right: "),  # a whole number is a number, too
        (halves_of, lambda a, b: a / b, "Not yet: with this answer the call raises ZeroDivision"),
    ],
)
def test_a_wrong_answer_gets_a_hint_that_fits_it(check, answer, said):
    assert check(answer).startswith(said)


def test_attention_that_keeps_all_scores_is_told_apart(pipeline):
    def classic(query, key, value):
        return (query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5).softmax(dim=-1) @ value

    said = exercises.attention_in_parts(classic, pipeline, None, None)
    assert said.startswith("Not yet: it takes 16")
