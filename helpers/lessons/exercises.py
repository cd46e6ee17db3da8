"""Check readers' answers: each check tries the answer and says in a sentence what it found.

Every check takes the answer first, which is `None` while the exercise is untouched, and returns a
sentence that begins with "Right", "Not yet" or "Not tried yet". None of them holds the solution.
"""

from __future__ import annotations

import logging
import numbers
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from itertools import pairwise
from statistics import median
from types import UnionType
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor

from helpers.grids import image_distance, image_grid, show
from helpers.inputs import make_generators, truncated_words
from helpers.judge import Judge, read_attributes
from helpers.lessons.plots import plot_images
from helpers.memory import LiveStorages, format_bytes

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

    from helpers.timing import Measurement

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
def halfway_between_prompts(
    answer: Image.Image, pipeline: DiffusionPipeline, prompts: tuple[str, str], seed: int = 0
) -> str:
    """Is this the image of the average of two prompts' embeddings?"""
    with torch.no_grad():
        vectors = [pipeline.encode_prompt(text, pipeline.device, 1, False)[0] for text in prompts]
    first, middle, last = (
        pipeline(
            prompt_embeds=embeds, generator=make_generators(seed), num_inference_steps=20
        ).images[0]
        for embeds in (vectors[0], (vectors[0] + vectors[1]) / 2, vectors[1])
    )
    labels = ("first prompt", "your image", "reference", "second prompt")
    grid = image_grid([first, answer, middle, last], rows=1, labels=labels)
    show(grid, alt="Your image and the reference, between the images of the two prompts.")
    distance = image_distance(answer, middle)
    if distance > SAME:
        return f"Not yet: its distance from the reference is {distance:.0f} of 255."
    return "Right: the image of the two prompts' average."


@checks(Callable, "a function")
def denoising_step(
    answer: Callable[..., torch.Tensor], pipeline: DiffusionPipeline, prompt: str, seed: int = 0
) -> str:
    """Does this function, in place of the scheduler's step, generate the image of DDIM?

    Args:
        answer: takes the latents, the predicted noise, and `alphas_cumprod` at this timestep and
            at the next; returns the next latents.
        pipeline: with any scheduler, which it keeps.
        prompt: what is generated, in 20 steps.
        seed: with this seed.
    """
    from diffusers import DDIMScheduler

    class Own(DDIMScheduler):
        def step(self, model_output: Any, timestep: Any, sample: Any, **kwargs: Any) -> tuple[Any]:
            kept, later = self.alphas_cumprod, timestep - 50  # 1,000 timesteps in 20 steps
            then = kept[later] if later >= 0 else self.final_alpha_cumprod
            return (answer(sample, model_output, kept[timestep], then),)

    before, images = pipeline.scheduler, []
    config = {**before.config, "timestep_spacing": "leading", "clip_sample": False}
    try:
        for scheduler in (Own, DDIMScheduler):
            pipeline.scheduler = scheduler.from_config(config)
            generator = make_generators(seed)
            run = pipeline(prompt, generator=generator, num_inference_steps=20)
            images.append(run.images[0])
    finally:
        pipeline.scheduler = before
    grid = image_grid(images, labels=["your step", "DDIMScheduler"])
    show(grid, alt="The image of your step beside the image of DDIMScheduler.")
    distance = image_distance(*images)
    if distance > SAME:
        return f"Not yet: its distance from the image of DDIM is {distance:.0f} of 255."
    return "Right: your step generates the image of DDIM."


@checks(Callable, "a function")
def slerp(
    answer: Callable[..., torch.Tensor],
    pipeline: DiffusionPipeline,
    prompt: str,
    seeds: tuple[int, int] = (0, 1),
) -> str:
    """Does this function interpolate between two noises on the sphere, so that noise stays noise?

    Args:
        answer: takes two tensors and a share from 0 to 1; returns a tensor.
        pipeline: generates an image from what it returns for one half.
        prompt: of that image.
        seeds: of the two noises.
    """
    unet = pipeline.unet
    shape = (1, unet.config.in_channels, unet.config.sample_size, unet.config.sample_size)
    a, b = (torch.randn(shape, generator=generator) for generator in make_generators(seeds))
    angle = torch.acos((a * b).sum() / (a.norm() * b.norm()))
    half = torch.sin(angle / 2) * (a + b) / torch.sin(angle)
    images = []
    for noise in (a, answer(a, b, 0.5), half, b):
        latents = noise.to(pipeline.device, unet.dtype)
        images.append(pipeline(prompt, latents=latents, num_inference_steps=20).images[0])
    labels = [f"seed {seeds[0]}", "your half", "reference", f"seed {seeds[1]}"]
    grid = image_grid(images, rows=1, labels=labels)
    show(grid, alt="Your image and the reference, between the images of the two seeds.")
    for share, wanted in ((0, a), (0.5, half), (1, b)):
        own = answer(a, b, share)
        if not torch.allclose(own, wanted, atol=1e-3):
            return (
                f"Not yet: at {share:g} the standard deviation is {own.std():.2f}, and that of the "
                f"reference {wanted.std():.2f}."
            )
    return "Right: noise at both ends, and noise of the same strength between them."


@checks(Callable, "a function")
def share_of_matches(
    answer: Callable[..., float], cases: Sequence[tuple[Mapping[str, str], Mapping[str, str]]]
) -> str:
    """Does this function return the share of wanted attributes that were read, for each case?"""
    for wanted, read in cases:
        share = sum(read[name] == value for name, value in wanted.items()) / len(wanted)
        if abs(answer(dict(wanted), dict(read)) - share) > 1e-6:
            found = answer(dict(wanted), dict(read))
            return f"Not yet: of {len(wanted)} attributes, {share:.0%} match, not {found:.0%}."
    return f"Right: the same share as ours, for all {len(cases)} images."


@checks(Image.Image, "an image")
def same_image(answer: Image.Image, image: Image.Image) -> str:
    """Is this the same image, generated again?"""
    if answer is image:
        return "Not yet: that is the image itself; generate it again."
    distance = image_distance(answer, image)
    if distance > SAME:
        return f"Not yet: its distance is {distance:.0f} of 255."
    return "Right: the same image, generated again."


@checks(set, "a set of labels")
def measurable_differences(answer: set[str], measurements: Sequence[Measurement]) -> str:
    """Are these the labels of the measurements that differ from their baseline beyond chance?"""
    for item in measurements:
        differs = item.is_faster is not None
        turns = f"{min(item.speedups):.2f} to {max(item.speedups):.2f}, noise {item.noise:.2f}"
        if differs is not (item.label in answer):
            found = "does differ" if differs else "could be chance"
            return f"Not yet: {item.label} {found} ({turns})."
    return f"Right: only {', '.join(sorted(answer)) or 'chance'} shows a difference."


@checks(int, "a number of steps")
def fewest_steps(
    answer: int,
    generate: Callable[[int], Sequence[Image.Image]],
    converged: Sequence[Image.Image],
    limit: float,
) -> str:
    """Is this the smallest number of steps whose images are within a distance of the converged?

    Args:
        answer: a number of steps.
        generate: makes the images with a number of steps.
        converged: the images to come near to.
        limit: the median distance that counts as near, of 255.
    """
    if not 1 < answer <= 50:
        return "Not yet: try between 2 and 50 steps."
    images = generate(answer)
    show_beside(images, converged, [f"{answer} steps", "converged"])
    reached = median_distance(images, converged)
    if reached > limit:
        return f"Not yet: with {answer} steps the distance is {reached:.1f}, more than {limit:g}."
    one_fewer = median_distance(generate(answer - 1), converged)
    if one_fewer <= limit:
        return f"Not yet: {answer - 1} steps are enough, with a distance of {one_fewer:.1f}."
    return f"Right: {answer} steps come to {reached:.1f}; one step fewer stays at {one_fewer:.1f}."


@checks(list, "a list of timesteps")
def nearer_timesteps(
    answer: list[int],
    generate: Callable[[list[int] | None], Sequence[Image.Image]],
    converged: Sequence[Image.Image],
    count: int = 10,
) -> str:
    """Do these timesteps come nearer to the converged images than as many of the scheduler's own?

    Args:
        answer: whole numbers from 999 down to 0.
        generate: makes the images with a list of timesteps, or with the scheduler's own for None.
        converged: the images to come near to.
        count: how many timesteps there must be.
    """
    if len(answer) != count:
        return f"Not yet: there are {len(answer)} timesteps, not {count}."
    if sorted(set(answer), reverse=True) != answer or not 0 <= answer[-1] <= answer[0] < 1000:
        return "Not yet: timesteps are whole numbers that fall, from 999 at most to 0 at least."
    images, usual = generate(answer), generate(None)
    show_beside(images, converged, ["your timesteps", "converged"])
    reached, before = median_distance(images, converged), median_distance(usual, converged)
    found = f"the distance is {reached:.1f} with yours and {before:.1f} with the scheduler's own."
    return f"Right: {found}" if reached < before else f"Not yet: {found}"


def median_distance(images: Sequence[Image.Image], others: Sequence[Image.Image]) -> float:
    """Return the median `image_distance` of two lists of images, pair by pair."""
    return median(image_distance(a, b) for a, b in zip(images, others, strict=True))


def show_beside(
    images: Sequence[Image.Image], references: Sequence[Image.Image], labels: Sequence[str]
) -> None:
    """Show up to four images, and the ones to compare them with in the row below."""
    count = min(4, len(images))
    rows = {labels[0]: images[:count], labels[1]: references[:count]}
    show(plot_images(rows, [""] * count), alt=f"{labels[0]} above, {labels[1]} below.")


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
    show(image, alt=f"The image of your seed, {answer}.")
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
    labels = [f"seed {seed}" for seed in seeds]
    show(image_grid(images, labels=labels), alt="The images of your prompt, by seed.")
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
    images, counts = [], []
    for negative in (None, answer):
        images.append(
            pipeline(
                [prompt] * len(seeds),
                generator=make_generators(seeds),
                negative_prompt=negative and [negative] * len(seeds),
                **inputs,
            ).images
        )
        counts.append(int((read_attributes(images[-1], judge)[attribute] == value).sum()))
    show_beside(images[1], images[0], [f"negative: {answer}", "no negative prompt"])
    found = f"with it, {counts[1]} of {len(seeds)} images show {value}; without it, {counts[0]} do."
    return f"Right: {found}" if counts[1] < counts[0] else f"Not yet: {found}"


@checks(str, "a prompt")
def prompt_for_drawing(
    answer: str,
    pipeline: DiffusionPipeline,
    judge: Judge,
    drawing: Image.Image,
    attributes: Sequence[str],
    seeds: Sequence[int],
) -> str:
    """Does the judge read the same in most images of this prompt as in the drawing?"""
    images = pipeline(
        [answer] * len(seeds), generator=make_generators(seeds), num_inference_steps=20
    ).images
    show_beside(images[:1], [drawing], ["your prompt", "the drawing"])
    read, wanted = (read_attributes(some, judge)[list(attributes)] for some in (images, [drawing]))
    values = wanted.iloc[0].to_dict()
    hits = int((read == wanted.iloc[0]).all(axis="columns").sum())
    if 2 * hits > len(images):
        return f"Right: in {hits} of {len(images)} images, the judge reads the same."
    return compare_attributes(read.mode().iloc[0].to_dict(), values, "most images")


@checks(str, "a prompt")
def prompt_as_read(
    answer: str, pipeline: DiffusionPipeline, long_prompt: str, seed: int = 0
) -> str:
    """Is this the part of a prompt that the text encoder reads, and does it make the same image?"""
    if cut := truncated_words(answer, pipeline):
        return f"Not yet: of this prompt, {cut!r:.60} is still not read."
    logging.disable(logging.WARNING)  # the pipeline's, which says where it stops reading
    try:
        images = [
            pipeline(text, generator=make_generators(seed), num_inference_steps=20).images[0]
            for text in (answer, long_prompt)
        ]
    finally:
        logging.disable(logging.NOTSET)
    show_beside(images[:1], images[1:], ["your prompt", "the long prompt"])
    distance = image_distance(*images)
    if distance > SAME:
        return f"Not yet: the distance between the two images is {distance:.0f} of 255."
    left_out = truncated_words(long_prompt, pipeline)
    return f"Right: the same image; {left_out!r} had no effect."


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


@checks(list, "a list of images")
def images_again(
    answer: Sequence[Image.Image], batch: Sequence[Image.Image], numbers: Sequence[int]
) -> str:
    """Are these the images of those numbers of a batch, counted from 0, generated again?"""
    wanted = [batch[number] for number in numbers]
    if len(answer) != len(wanted):
        return f"Not yet: there are {len(answer)} images, not {len(wanted)}."
    if any(image is other for image in answer for other in batch):
        return "Not yet: these are the images of the batch themselves; generate them again."
    show_beside(answer, wanted, ["yours", "of the batch"])
    distances = [image_distance(a, b) for a, b in zip(answer, wanted, strict=True)]
    if max(distances) > SAME:
        return f"Not yet: the distances are {', '.join(f'{value:.0f}' for value in distances)}."
    return f"Right: images {' and '.join(map(str, numbers))} came out again, without the others."


@checks(Callable, "a function")
def finds_largest_batch(answer: Callable[[Callable[[int], bool]], int]) -> str:
    """Does this function find the largest batch that fits, in few attempts?

    Args:
        answer: called with a function `fits`, which says of a batch size whether it fits; returns
            the largest that does.
    """
    for largest in (1, 2, 7, 16, 37, 100):
        tried: list[int] = []

        def fits(size: int, largest: int = largest, tried: list[int] = tried) -> bool:
            tried.append(size)
            if len(tried) > 1000:
                raise RuntimeError("it has tried a thousand sizes")
            return size <= largest

        found = answer(fits)
        if found != largest:
            return f"Not yet: where {largest} fit, it returns {found} after trying {tried[:12]}."
        most = 2 * largest.bit_length() + 1
        if len(tried) > most:
            return f"Not yet: where {largest} fit, it takes {len(tried)} attempts; {most} will do."
    return f"Right: where 100 fit, it tries {', '.join(map(str, tried))}."


@checks(float, "a number of bytes")
def bytes_of_scores(answer: float, config: Mapping[str, Any], batch_size: int) -> str:
    """Is this what the attention scores of the largest level take, in float16, within 2%?

    Args:
        answer: bytes.
        config: of a U-Net with a number of heads for each level.
        batch_size: images at once, with guidance.
    """
    levels = zip(config["down_block_types"], config["attention_head_dim"], strict=True)
    count = max(
        2 * 2 * batch_size * heads * (config["sample_size"] // 2**level) ** 4 * 2
        for level, (block, heads) in enumerate(levels)
        if block.startswith("CrossAttn")
    )
    if abs(answer / count - 1) > 0.02:
        many = "few" if answer < count else "many"
        return f"Not yet: {format_bytes(answer)} are too {many}. Which levels have attention?"
    return f"Right: the scores take {format_bytes(answer)}."


@checks(Callable, "a function")
def pays_off(answer: Callable[[float, float, float], int | None]) -> str:
    """Does it return after how many images a wait is earned back, and None if it never is?

    Args:
        answer: called with the seconds of waiting, of an image before, and of an image after.
    """
    cases = ((60.0, 2.0, 1.0, 60), (90.0, 3.0, 2.5, 180), (50.0, 1.0, 0.7, 167), (0.5, 2.0, 1.0, 1))
    for wait, before, after, expected in cases:
        count = answer(wait, before, after)
        if count is None or abs(count - expected) > 1:
            told = f"for {wait:g} s of waiting, {before:g} s before and {after:g} s after"
            return f"Not yet: {told}, it returns {count!r:.20} and not {expected}."
    for after in (1.0, 1.5):
        if (count := answer(60.0, 1.0, after)) is not None:
            return (
                f"Not yet: if an image takes {after:g} s instead of 1 s, it returns {count!r:.20}."
            )
    return "Right: it pays off after the wait divided by what each image saves."


@checks(Callable, "a function")
def attention_in_parts(
    answer: Callable[[Tensor, Tensor, Tensor], Tensor],
    pipeline: DiffusionPipeline,
    processor: Callable[[Callable], Any],
    generate: Callable[[DiffusionPipeline], Sequence[Image.Image]],
) -> str:
    """Is it attention with only a part of the scores in memory at once, for the same image?

    Args:
        answer: called with query, key and value, (batch, positions, channels) each.
        pipeline: gets a processor that calls the answer.
        processor: makes an attention processor of a function.
        generate: makes images with the pipeline.
    """
    query, key, value = torch.randn(3, 2, 1000, 16, generator=torch.manual_seed(0))
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value)
    with LiveStorages(ignored=(query, key, value)) as storages:
        found = answer(query, key, value)
    if found.shape != expected.shape:
        return f"Not yet: its shape is {tuple(found.shape)}, not {tuple(expected.shape)}."
    if (error := (found - expected).abs().max().item()) > 1e-4:
        return f"Not yet: its numbers differ from attention's by up to {error:.2g}."
    scores = query.shape[0] * query.shape[1] * key.shape[1] * query.element_size()
    if storages.peak > scores / 2:
        needed = format_bytes(storages.peak)
        return f"Not yet: it takes {needed}; all scores together would take {format_bytes(scores)}."
    reference = generate(pipeline)
    pipeline.unet.set_attn_processor(processor(answer))
    images = generate(pipeline)
    show_beside(images, reference, ["your attention", "SDPA"])
    if (distance := image_distance(images[0], reference[0])) > SAME:
        return f"Not yet: with it, the image's distance is {distance:.0f} of 255."
    return (
        f"Right: at most {format_bytes(storages.peak)} at once, of {format_bytes(scores)} scores."
    )


@checks(Callable, "a function")
@torch.no_grad()
def decode_in_two_parts(
    answer: Callable[[Callable[[Tensor], Tensor], Tensor], Tensor],
    pipeline: DiffusionPipeline,
    prompt: str,
) -> str:
    """Does it decode latents in two overlapping parts, nearer to the image than without overlap?

    Args:
        answer: called with `decode`, which turns latents into pixels, and latents
            (1, channels, height, width); returns pixels (1, 3, height, width).
        pipeline: the pipeline whose VAE decodes.
        prompt: the prompt of the image.
    """
    generator = make_generators(0)
    latents = (
        pipeline(prompt, generator=generator, num_inference_steps=20, output_type="latent").images
        / pipeline.vae.config.scaling_factor
    )
    width = latents.shape[-1]
    widths: list[int] = []

    def decode(part: Tensor) -> Tensor:
        widths.append(part.shape[-1])
        return pipeline.vae.decode(part).sample

    halves = torch.cat([decode(part) for part in latents.chunk(2, dim=-1)], dim=-1)
    whole = decode(latents)
    widths.clear()
    joined = answer(decode, latents)
    if len(widths) != 2 or max(widths) > 3 * width // 4:
        return f"Not yet: it decodes parts of widths {widths}; two of at most {3 * width // 4} fit."
    if joined.shape != whole.shape:
        return f"Not yet: its shape is {tuple(joined.shape)}, not {tuple(whole.shape)}."
    mine, at_once, naive = pipeline.image_processor.postprocess(torch.cat([joined, whole, halves]))
    labels = ["your two parts", "decoded at once"]
    show_beside([mine], [at_once], labels)
    distance, limit = image_distance(mine, at_once), image_distance(naive, at_once)
    found = f"the distance from the image is {distance:.1f}, and {limit:.1f} without overlap."
    return f"Right: {found}" if distance < limit / 2 else f"Not yet: {found}"


@checks(Image.Image, "an image")
def keeps_part(
    answer: Image.Image,
    image: Image.Image,
    kept: tuple[int, int, int, int],
    changed: tuple[int, int, int, int],
) -> str:
    """Does this image keep one part of another, and change the other part?

    Args:
        kept, changed: parts as (left, upper, right, lower), in pixels.
    """
    near, far = (image_distance(answer.crop(box), image.crop(box)) for box in (kept, changed))
    found = f"the part to keep is {near:.0f} of 255 away, the other part {far:.0f}"
    if near > 20:
        return f"Not yet: {found}. Which part of a mask is kept, the white or the black one?"
    if far < 2 * near or far < SAME:
        return f"Not yet: {found}. Generate the other part anew."
    return f"Right: {found}."


@checks(list, "a list of images")
def round_trip(answer: list[Image.Image], home: Image.Image, away: Image.Image) -> str:
    """Do these images go from one image to another and back, without a jump?"""
    if len(answer) < 7:
        return f"Not yet: {len(answer)} images are too few for three on each way."
    if max(image_distance(answer[0], home), image_distance(answer[-1], home)) > SAME:
        return "Not yet: the first image and the last must both be that of the first seed."
    if min(image_distance(image, away) for image in answer) > SAME:
        return "Not yet: no image is that of the other seed."
    steps = [image_distance(a, b) for a, b in pairwise(answer)]
    if max(steps) >= image_distance(home, away):
        return f"Not yet: one step is a jump, of {max(steps):.0f} of 255."
    return f"Right: {len(answer)} images, no two neighbors more than {max(steps):.0f} of 255 apart."
