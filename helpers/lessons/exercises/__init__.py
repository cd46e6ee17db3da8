"""Check a reader's answers: each check tries the answer out and says what it found.

Every check takes the answer first, `None` while the exercise is untouched, and returns a sentence
that begins with "Right", "Not yet" or "Not tried yet". None of them knows the solution: they draw,
forecast or read with what the reader gives.
"""

from helpers.lessons.exercises.checking import POINT, SAME
from helpers.lessons.exercises.drawing import (
    count_tokens,
    fewest_steps,
    image_of_batch,
    nearer_scheduler,
    same_as_pipeline,
    same_picture,
)
from helpers.lessons.exercises.prompts import (
    negative_prompt_that_removes,
    prompt_that_shows,
    seed_that_shows,
    word_that_was_cut,
)

__all__ = [
    "POINT",
    "SAME",
    "count_tokens",
    "fewest_steps",
    "image_of_batch",
    "nearer_scheduler",
    "negative_prompt_that_removes",
    "prompt_that_shows",
    "same_as_pipeline",
    "same_picture",
    "seed_that_shows",
    "word_that_was_cut",
]
