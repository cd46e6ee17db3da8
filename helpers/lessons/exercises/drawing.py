"""Check pictures, settings and schedulers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from PIL import Image

from helpers.grids import image_distance
from helpers.inputs import make_generators
from helpers.judge import Judge, adherence
from helpers.lessons.exercises.checking import POINT, SAME, checks

if TYPE_CHECKING:
    from diffusers import SchedulerMixin

    from helpers.pipelines import StableDiffusion


@checks(Image.Image, "a picture")
def same_as_pipeline(
    answer: Image.Image, pipeline: StableDiffusion, seed: int, **wanted: Any
) -> str:
    """Is this the picture that the pipeline draws with these arguments?

    Args:
        answer: a picture.
        pipeline: draws the one to compare with.
        seed: of its generator.
        wanted: the pipeline's arguments.

    Example:
        >>> same_as_pipeline("a portrait", None, seed=0)
        "Not yet: the answer is a picture, not 'a portrait'."
    """
    image = pipeline(generator=make_generators(seed), **wanted).images[0]
    away = image_distance(answer, image)
    if away > SAME:
        return f"Not yet: it is {away:.0f} of 255 away from what the pipeline draws."
    return "Right: the pipeline draws the same picture."


@checks(Image.Image, "a picture")
def image_of_batch(answer: Image.Image, batch: Sequence[Image.Image], index: int) -> str:
    """Is this picture number `index` of the batch, drawn again?

    Args:
        answer: the picture, drawn alone.
        batch: the pictures of the batch, of the same size.
        index: which one was asked for, counted from 0.

    Example:
        >>> batch = [Image.new("RGB", (8, 8), colour) for colour in ("red", "green", "blue")]
        >>> image_of_batch(batch[1].copy(), batch, index=2)
        'Not yet: that is image 1, counted from 0. Take the prompt and the seed of image 2.'
        >>> image_of_batch(batch[2].copy(), batch, index=2)
        'Right: image 2 came again, without the others.'
    """
    if answer is batch[index]:
        return "Not yet: that is the batch's own picture; draw it again, alone."
    distances = [image_distance(answer, image) for image in batch]
    nearest = min(range(len(batch)), key=distances.__getitem__)
    if distances[nearest] > SAME:
        return (
            "Not yet: it is none of the batch. Take the same prompt and number of steps, and a "
            "generator with the seed that the image had."
        )
    if nearest != index:
        return (
            f"Not yet: that is image {nearest}, counted from 0. "
            f"Take the prompt and the seed of image {index}."
        )
    return f"Right: image {index} came again, without the others."


@checks(Image.Image, "a picture")
def same_picture(answer: Image.Image, picture: Image.Image) -> str:
    """Is this the picture, drawn again?

    Args:
        answer: a picture.
        picture: the one to be drawn again.

    Example:
        >>> picture = Image.new("RGB", (8, 8), "red")
        >>> same_picture(picture.copy(), picture)
        'Right: the same picture, drawn again.'
    """
    if answer is picture:
        return "Not yet: that is the picture itself; draw it again."
    away = image_distance(answer, picture)
    if away > SAME:
        return f"Not yet: it is {away:.0f} of 255 away. Change nothing in the lines that you run."
    return "Right: the same picture, drawn again."


@checks(int, "a number")
def count_tokens(answer: int, pipeline: StableDiffusion, sentence: str) -> str:
    """Does the tokenizer make this many tokens of the sentence, start and end included?

    Args:
        answer: a number of tokens.
        pipeline: whose tokenizer reads it.
        sentence: what it reads.

    Example:
        >>> from helpers import load_pipeline
        >>> count_tokens(2, load_pipeline(device="cpu"), "a queen")
        'Not yet: 2 is too few. Do the start and the end count too?'
    """
    count = len(pipeline.tokenizer(sentence).input_ids)
    if answer != count:
        much = "few" if answer < count else "many"
        return f"Not yet: {answer} is too {much}. Do the start and the end count too?"
    return f"Right: it takes {count} of the {pipeline.tokenizer.model_max_length} tokens."


@checks(int, "a number of steps")
def fewest_steps(
    answer: int, pipeline: StableDiffusion, prompts: Sequence[str], judge: Judge
) -> str:
    """Is this the fewest steps that keep the adherence of 20, within a point?

    Args:
        answer: a number of steps, below 20.
        pipeline: with the scheduler in question.
        prompts: what to draw, one picture each, with seeds from 0.
        judge: reads the pictures.

    Example:
        >>> fewest_steps(None, None, [], None)
        'Not tried yet: put a number of steps in the place of None.'
    """

    def found(steps: int) -> float:
        generators = make_generators(range(len(prompts)))
        images = pipeline(list(prompts), generator=generators, num_inference_steps=steps).images
        return adherence(images, prompts, judge).stack().mean()

    if not 1 < answer < 20:
        return "Not yet: look between 2 and 19 steps."
    bar, here = found(20), found(answer)
    if here < bar - POINT:
        return f"Not yet: the adherence is {here:.0%} with {answer} steps and {bar:.0%} with 20."
    if any(found(steps) >= bar - POINT for steps in range(2, answer)):
        return f"Not yet: {answer} steps are enough, but a smaller number is too."
    return f"Right: {answer} steps keep the {bar:.0%}, and fewer lose some."


@checks(object, "a scheduler")
def nearer_scheduler(
    answer: SchedulerMixin,
    pipeline: StableDiffusion,
    prompts: Sequence[str],
    converged: Sequence[Image.Image],
) -> str:
    """Does this scheduler, in 10 steps, come nearer to the converged pictures than the present one?

    Args:
        answer: a scheduler, made with `from_config`.
        pipeline: with the scheduler to beat; it is given back as it was.
        prompts: what was drawn, with seeds from 0.
        converged: the pictures to come near to, one for each prompt.

    Example:
        >>> nearer_scheduler("Euler", None, [], [])
        "Not yet: 'Euler' is not a scheduler; make one with from_config."
    """
    if not hasattr(answer, "set_timesteps"):
        return f"Not yet: {answer!r:.60} is not a scheduler; make one with from_config."
    present, away = pipeline.scheduler, []
    try:
        for pipeline.scheduler in (present, answer):
            generators = make_generators(range(len(prompts)))
            images = pipeline(list(prompts), generator=generators, num_inference_steps=10).images
            pairs = zip(images, converged, strict=True)
            away.append(sum(image_distance(a, b) for a, b in pairs) / len(images))
    finally:
        pipeline.scheduler = present
    if away[1] >= away[0]:
        return f"Not yet: it is {away[1]:.1f} away, the present one {away[0]:.1f}."
    return f"Right: {away[1]:.1f} away in 10 steps, where the present one is {away[0]:.1f}."
