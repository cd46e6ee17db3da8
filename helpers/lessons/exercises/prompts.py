"""Check seeds and words by what the pictures show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from helpers.inputs import cut_words, make_generators
from helpers.judge import Judge, read_attributes
from helpers.lessons.exercises.checking import checks, compare

if TYPE_CHECKING:
    from helpers.pipelines import StableDiffusion


@checks(int, "a seed")
def seed_that_shows(
    answer: int,
    pipeline: StableDiffusion,
    prompt: str,
    judge: Judge,
    wanted: Mapping[str, str],
    **settings: object,
) -> str:
    """Does the picture of this seed show what the prompt leaves open?

    Args:
        answer: a seed.
        pipeline: draws it, with `settings`.
        prompt: what is drawn.
        judge: reads the picture.
        wanted: the values that the judge should read, by attribute.

    Example:
        >>> seed_that_shows("seven", None, "", None, {})
        "Not yet: the answer is a seed, not 'seven'."
    """
    image = pipeline(prompt, generator=make_generators(answer), **settings).images[0]
    read = read_attributes([image], judge).iloc[0]
    return compare(read.to_dict(), wanted, f"seed {answer}")


@checks(str, "a prompt")
def prompt_that_shows(
    answer: str,
    pipeline: StableDiffusion,
    judge: Judge,
    wanted: Mapping[str, str],
    seeds: Sequence[int],
    **settings: object,
) -> str:
    """Do most pictures of this prompt show all of these attributes?

    Args:
        answer: a prompt.
        pipeline: draws it, with `settings`.
        judge: reads the pictures.
        wanted: the values that the judge should read, by attribute.
        seeds: the seeds to draw it with.

    Example:
        >>> prompt_that_shows(7, None, None, {}, [])
        'Not yet: the answer is a prompt, not 7.'
    """
    generators = make_generators(seeds)
    images = pipeline([answer] * len(generators), generator=generators, **settings).images
    read = read_attributes(images, judge)
    hits = (read[list(wanted)] == list(wanted.values())).all(axis="columns").sum()
    if 2 * hits > len(images):
        return f"Right: {hits} of {len(images)} pictures show all of it."
    usual = {attribute: read[attribute].mode()[0] for attribute in wanted}
    return compare(usual, wanted, "most pictures")


@checks(str, "a negative prompt")
def negative_prompt_that_removes(
    answer: str,
    pipeline: StableDiffusion,
    prompt: str,
    judge: Judge,
    unwanted: tuple[str, str],
    seeds: Sequence[int],
    **settings: object,
) -> str:
    """Is the unwanted thing rarer with this negative prompt than without?

    Args:
        answer: a negative prompt.
        pipeline: draws with it, and without.
        prompt: what is drawn.
        judge: reads the pictures.
        unwanted: an attribute and its value, such as ("mood", "smiling").
        seeds: the seeds to draw it with.

    Example:
        >>> negative_prompt_that_removes(None, None, "", None, ("mood", "smiling"), [])
        'Not tried yet: put a negative prompt in the place of None.'
    """
    attribute, value = unwanted
    count = []
    for negative in (None, answer):
        told = {"negative_prompt": negative and [negative] * len(seeds), **settings}
        images = pipeline([prompt] * len(seeds), generator=make_generators(seeds), **told).images
        count.append(int((read_attributes(images, judge)[attribute] == value).sum()))
    said = (
        f"with it, {value} shows in {count[1]} of {len(seeds)} pictures; without it, in {count[0]}."
    )
    return f"Right: {said}" if count[1] < count[0] else f"Not yet: {said}"


@checks(str, "some words")
def word_that_was_cut(answer: str, pipeline: StableDiffusion, prompt: str) -> str:
    """Did the pipeline never see these words of the prompt?

    Args:
        answer: words of the prompt.
        pipeline: whose tokenizer decides.
        prompt: a prompt that is longer than the text encoder reads.

    Example:
        >>> word_that_was_cut(None, None, "")
        'Not tried yet: put some words in the place of None.'
    """
    words = " ".join(answer.lower().split())
    if not words or words not in prompt.lower():
        return f"Not yet: {answer!r} does not stand in the prompt."
    if words not in cut_words(prompt, pipeline).lower():
        return f"Not yet: the pipeline has read {answer!r}. How many tokens does it read?"
    return f"Right: {answer!r} stands beyond what the text encoder reads."
