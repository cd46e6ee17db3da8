"""Check readers' answers: each check tries the answer and says in a sentence what it found.

Every check takes the answer first, which is `None` while the exercise is untouched, and returns a
sentence that begins with "Right", "Not yet" or "Not tried yet". None of them holds the solution.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from types import UnionType
from typing import TYPE_CHECKING, Any

from PIL import Image

from helpers.grids import image_distance
from helpers.inputs import make_generators, truncated_words
from helpers.judge import Judge, adherence, read_attributes
from helpers.memory import format_bytes

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline, SchedulerMixin

POINT = 0.01  # of adherence: a smaller difference does not count
SAME = 5.0  # of 255, between an image of a batch and the same image alone (0.3 in bfloat16)
NUMBERS: dict[Any, type] = {int: numbers.Integral, float: numbers.Real}


def checks(
    expected: type | UnionType, called: str
) -> Callable[[Callable[..., str]], Callable[..., str]]:
    """Turn a function into a check: a missing answer, or one of another type, gets a sentence.

    Args:
        expected: the type of the answer; numbers of NumPy and PyTorch count as numbers.
        called: what the answer is, with its article, such as "a seed".
    """

    def decorate(check: Callable[..., str]) -> Callable[..., str]:
        @wraps(check)
        def checked(answer: object, *args: object, **kwargs: object) -> str:
            if answer is None:
                return f"Not tried yet: replace None with {called}."
            if hasattr(answer, "item") and getattr(answer, "ndim", 0) == 0:
                answer = answer.item()  # a number of NumPy or PyTorch
            if not isinstance(answer, NUMBERS.get(expected, expected)) or isinstance(answer, bool):
                return f"Not yet: the answer must be {called}, not {answer!r:.60}."
            try:
                return check(answer, *args, **kwargs)
            except Exception as error:  # whatever the answer breaks, the notebook runs on
                return f"Not yet: with this answer the call raises {type(error).__name__}: {error}"

        return checked

    return decorate


def compare_attributes(read: Mapping[str, str], wanted: Mapping[str, str], where: str) -> str:
    """Compare what was read with what was asked for, in a sentence."""
    wrong = [name for name in wanted if read[name] != wanted[name]]
    if wrong:
        found = ", ".join(f"{name} is {read[name]}, not {wanted[name]}" for name in wrong)
        return f"Not yet: with {where}, {found}."
    return f"Right: with {where}, the judge reads {', '.join(map(str, wanted.values()))}."


@checks(Image.Image, "an image")
def same_as_pipeline(
    answer: Image.Image, pipeline: DiffusionPipeline, seed: int, **inputs: Any
) -> str:
    """Is this the image that the pipeline generates with this seed and these arguments?"""
    image = pipeline(generator=make_generators(seed), **inputs).images[0]
    distance = image_distance(answer, image)
    if distance > SAME:
        return f"Not yet: its distance from the pipeline's image is {distance:.0f} of 255."
    return "Right: the pipeline generates the same image."


@checks(Image.Image, "an image")
def image_of_batch(answer: Image.Image, batch: Sequence[Image.Image], index: int) -> str:
    """Is this image number `index` of the batch, counted from 0, generated again on its own?"""
    if answer is batch[index]:
        return "Not yet: that is the image of the batch itself; generate it again, alone."
    distances = [image_distance(answer, image) for image in batch]
    nearest = min(range(len(batch)), key=distances.__getitem__)
    if distances[nearest] > SAME:
        return (
            "Not yet: it is not in the batch. Use the same prompt, scheduler and number of steps, "
            "and a generator with the seed that the image had."
        )
    if nearest != index:
        return (
            f"Not yet: that is image {nearest}, counted from 0. "
            f"Use the prompt and the seed of image {index}."
        )
    return f"Right: image {index} came out again, without the others."


@checks(Image.Image, "an image")
def same_image(answer: Image.Image, image: Image.Image) -> str:
    """Is this the same image, generated again?"""
    if answer is image:
        return "Not yet: that is the image itself; generate it again."
    distance = image_distance(answer, image)
    if distance > SAME:
        return f"Not yet: its distance is {distance:.0f} of 255."
    return "Right: the same image, generated again."


@checks(int, "a number of tokens")
def count_tokens(answer: int, pipeline: DiffusionPipeline, sentence: str) -> str:
    """Does the tokenizer make this many tokens of the sentence, start and end included?"""
    count = len(pipeline.tokenizer(sentence).input_ids)
    if answer != count:
        direction = "few" if answer < count else "many"
        return f"Not yet: {answer} is too {direction}. Do the start and the end count too?"
    return f"Right: it takes {count} of the {pipeline.tokenizer.model_max_length} tokens."


@checks(int, "a number of steps")
def fewest_steps(
    answer: int, pipeline: DiffusionPipeline, prompts: Sequence[str], judge: Judge
) -> str:
    """Is this the smallest number of steps that keeps the adherence of 20 steps, within a point?"""

    def measure(steps: int) -> float:
        generators = make_generators(range(len(prompts)))
        images = pipeline(list(prompts), generator=generators, num_inference_steps=steps).images
        return adherence(images, prompts, judge).stack().mean()

    if not 1 < answer < 20:
        return "Not yet: try between 2 and 19 steps."
    target, reached = measure(20), measure(answer)
    if reached < target - POINT:
        return (
            f"Not yet: the adherence is {reached:.0%} with {answer} steps and {target:.0%} with 20."
        )
    if any(measure(steps) >= target - POINT for steps in range(2, answer)):
        return f"Not yet: {answer} steps are enough, but a smaller number is too."
    return f"Right: {answer} steps keep the {target:.0%}, and fewer lose some of it."


@checks(object, "a scheduler")
def nearer_scheduler(
    answer: SchedulerMixin,
    pipeline: DiffusionPipeline,
    prompts: Sequence[str],
    converged: Sequence[Image.Image],
) -> str:
    """Is this scheduler, in 10 steps, nearer to the converged images than the pipeline's own?

    Args:
        answer: a scheduler, made with `from_config`.
        pipeline: with the scheduler to beat, which it keeps.
        prompts: the prompts, generated with seeds from 0.
        converged: the images to come near to, one for each prompt.
    """
    if not hasattr(answer, "set_timesteps"):
        return f"Not yet: {answer!r:.60} is not a scheduler; make one with from_config."
    before, distances = pipeline.scheduler, []
    try:
        for pipeline.scheduler in (before, answer):
            generators = make_generators(range(len(prompts)))
            images = pipeline(list(prompts), generator=generators, num_inference_steps=10).images
            pairs = zip(images, converged, strict=True)
            distances.append(sum(image_distance(a, b) for a, b in pairs) / len(images))
    finally:
        pipeline.scheduler = before
    if distances[1] >= distances[0]:
        return f"Not yet: its distance is {distances[1]:.1f}, the present one's {distances[0]:.1f}."
    return f"Right: its distance is {distances[1]:.1f}, the present one's {distances[0]:.1f}."


@checks(int, "a seed")
def seed_that_shows(
    answer: int,
    pipeline: DiffusionPipeline,
    prompt: str,
    judge: Judge,
    wanted: Mapping[str, str],
    **inputs: object,
) -> str:
    """Does the judge read the wanted values, by attribute, in the image of this seed?"""
    image = pipeline(prompt, generator=make_generators(answer), **inputs).images[0]
    read = read_attributes([image], judge).iloc[0]
    return compare_attributes(read.to_dict(), wanted, f"seed {answer}")


@checks(str, "a prompt")
def prompt_that_shows(
    answer: str,
    pipeline: DiffusionPipeline,
    judge: Judge,
    wanted: Mapping[str, str],
    seeds: Sequence[int],
    **inputs: object,
) -> str:
    """Do most images of this prompt show all of the wanted values?"""
    generators = make_generators(seeds)
    images = pipeline([answer] * len(generators), generator=generators, **inputs).images
    read = read_attributes(images, judge)
    hits = (read[list(wanted)] == list(wanted.values())).all(axis="columns").sum()
    if 2 * hits > len(images):
        return f"Right: {hits} of {len(images)} images show all of it."
    most = {attribute: read[attribute].mode()[0] for attribute in wanted}
    return compare_attributes(most, wanted, "most images")


@checks(str, "a negative prompt")
def negative_prompt_that_removes(
    answer: str,
    pipeline: DiffusionPipeline,
    prompt: str,
    judge: Judge,
    unwanted: tuple[str, str],
    seeds: Sequence[int],
    **inputs: object,
) -> str:
    """Does this negative prompt make a value, such as ("mood", "smiling"), rarer?"""
    attribute, value = unwanted
    counts = []
    for negative in (None, answer):
        negatives = negative and [negative] * len(seeds)
        generators = make_generators(seeds)
        images = pipeline(
            [prompt] * len(seeds), generator=generators, negative_prompt=negatives, **inputs
        ).images
        counts.append(int((read_attributes(images, judge)[attribute] == value).sum()))
    found = f"with it, {counts[1]} of {len(seeds)} images show {value}; without it, {counts[0]} do."
    return f"Right: {found}" if counts[1] < counts[0] else f"Not yet: {found}"


@checks(str, "words of the prompt")
def word_that_was_truncated(answer: str, pipeline: DiffusionPipeline, prompt: str) -> str:
    """Are these words of the prompt beyond what the text encoder reads?"""
    words = " ".join(answer.lower().split())
    if not words or words not in prompt.lower():
        return f"Not yet: {answer!r} is not in the prompt."
    if words not in truncated_words(prompt, pipeline).lower():
        return f"Not yet: the pipeline has read {answer!r}. How many tokens does it read?"
    return f"Right: {answer!r} is beyond what the text encoder reads."


@checks(int, "a batch size")
def largest_batch_that_fits(
    answer: int, bytes_of_batch: Callable[[int], int], budget: float
) -> str:
    """Is this the largest batch whose memory stays within the budget?

    Args:
        answer: a batch size.
        bytes_of_batch: the bytes that a batch of a given size takes.
        budget: bytes.
    """
    if answer < 1:
        return "Not yet: a batch has at least one image."
    needed, one_more = bytes_of_batch(answer), bytes_of_batch(answer + 1)
    if needed > budget:
        return f"Not yet: it takes {format_bytes(needed)}, more than {format_bytes(budget)}."
    if one_more <= budget:
        return f"Not yet: {answer + 1} fit too, with {format_bytes(one_more)}."
    return f"Right: {format_bytes(needed)}; one more image would take {format_bytes(one_more)}."


@checks(dict, "settings in a dict")
def settings_that_fit(
    answer: dict[str, Any], bytes_of_settings: Callable[[dict[str, Any]], int], budget: float
) -> str:
    """Does the memory with these settings stay within the budget, in bytes?"""
    needed = bytes_of_settings(answer)
    if needed > budget:
        return f"Not yet: it takes {format_bytes(needed)}, more than {format_bytes(budget)}."
    return f"Right: it takes {format_bytes(needed)}, less than {format_bytes(budget)}."
