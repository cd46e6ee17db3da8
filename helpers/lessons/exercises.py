"""Check readers' answers: each check tries the answer and says in a sentence what it found.

Every check takes the answer first, which is `None` while the exercise is untouched, and returns a
sentence that begins with "Right", "Not yet" or "Not tried yet".
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from itertools import pairwise
from statistics import median
from types import UnionType
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor

from helpers.grids import image_distance, image_grid, require_images, show
from helpers.inputs import make_generators, truncated_words
from helpers.judge import Judge, read_attributes
from helpers.lessons.plots import plot_images
from helpers.memory import LiveStorages, format_bytes

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline as Pipeline

    from helpers.timing import Measurement

Images = Sequence[Image.Image]
Attributes = Mapping[str, str]
Function = Callable[..., Any]
Box = tuple[int, int, int, int]  # left, upper, right, lower

SAME = 5.0  # of 255, between an image of a batch and the same image alone (0.3 in bfloat16)
STEPS = {"num_inference_steps": 20}


class NotYet(Exception):
    """What is wrong with an answer, in a sentence."""


def require(condition: object, found: str) -> str:
    """Return what was found if the condition holds, else raise `NotYet` with it."""
    if not condition:
        raise NotYet(found)
    return found


def checks(
    expected: type | UnionType, called: str
) -> Callable[[Callable[..., str]], Callable[..., str]]:
    """Turn a function that returns what is right, or raises `NotYet`, into a check.

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
            kinds = float | int if expected is float else expected
            if not isinstance(answer, kinds) or isinstance(answer, bool):
                return f"Not yet: the answer must be {called}, not {answer!r:.60}."
            try:
                return f"Right: {check(answer, *args, **kwargs)}"
            except NotYet as hint:
                return f"Not yet: {hint}"
            except Exception as error:  # whatever the answer breaks, the notebook runs on
                return f"Not yet: with this answer the call raises {type(error).__name__}: {error}"

        return checked

    return decorate


def require_same(image: Image.Image, reference: Image.Image, called: str) -> None:
    """Require that two images are the same but for rounding."""
    distance = image_distance(image, reference)
    require(distance <= SAME, f"its distance from {called} is {distance:.0f} of 255.")


def require_attributes(read: Attributes, wanted: Attributes, where: str) -> None:
    """Require that the judge reads what was asked for."""
    wrong = [name for name in wanted if read[name] != wanted[name]]
    found = ", ".join(f"{name} is {read[name]}, not {wanted[name]}" for name in wrong)
    require(not wrong, f"with {where}, {found}.")


def generate_images(
    pipeline: Pipeline, prompt: str, seeds: int | Sequence[int], **inputs: Any
) -> list[Image.Image]:
    """Generate an image of the prompt for each seed."""
    generators = make_generators(seeds)
    return pipeline([prompt] * len(generators), generator=generators, **inputs).images


def median_distance(images: Images, others: Images) -> float:
    """Return the median `image_distance` of two lists of images, pair by pair."""
    return median(image_distance(a, b) for a, b in zip(images, others, strict=True))


def show_beside(images: Images, references: Images, labels: Sequence[str]) -> None:
    """Show up to four images, and the ones to compare them with in the row below."""
    count = min(4, len(images))
    rows = {labels[0]: images[:count], labels[1]: references[:count]}
    show(plot_images(rows, [""] * count), alt=f"{labels[0]} above, {labels[1]} below.")


@checks(Image.Image | list, "an image, or a list of images")
def same_images(answer: Image.Image | Images, references: Image.Image | Images) -> str:
    """Are these the same images, generated again?"""
    yours, others = require_images(answer), require_images(references)
    require(len(yours) == len(others), f"there are {len(yours)} images, not {len(others)}.")
    copied = any(image is other for image in yours for other in others)
    require(not copied, "these are the images themselves; generate them again.")
    show_beside(yours, others, ["yours", "reference"])
    distances = [image_distance(a, b) for a, b in zip(yours, others, strict=True)]
    found = ", ".join(f"{value:.0f}" for value in distances)
    require(max(distances) <= SAME, f"the distance from the reference, of 255, is {found}.")
    return "the same, generated again."


@checks(Image.Image, "an image")
def halfway_between_prompts(
    answer: Image.Image, pipeline: Pipeline, prompts: Sequence[str], seed: int
) -> str:
    """Is this the image of the average of two prompts' embeddings?"""
    with torch.no_grad():
        a, b = (pipeline.encode_prompt(text, pipeline.device, 1, False)[0] for text in prompts)
    first, middle, last = (
        pipeline(prompt_embeds=embeds, generator=make_generators(seed), **STEPS).images[0]
        for embeds in (a, (a + b) / 2, b)
    )
    labels = ("first prompt", "your image", "reference", "second prompt")
    grid = image_grid([first, answer, middle, last], rows=1, labels=labels)
    show(grid, alt="Your image and the reference, between the images of the two prompts.")
    require_same(answer, middle, "the reference")
    return "the image of the two prompts' average."


@checks(Image.Image, "an image")
def keeps_part(answer: Image.Image, image: Image.Image, kept: Box, changed: Box) -> str:
    """Does this image keep one part of another image, and change a second part?"""
    near, far = (image_distance(answer.crop(box), image.crop(box)) for box in (kept, changed))
    found = f"the part to keep is {near:.0f} of 255 away, the other part {far:.0f}"
    hint = "Which part of a mask is kept, the white or the black one?"
    require(near <= 20, f"{found}. {hint}")
    require(far >= max(2 * near, SAME), f"{found}. Generate the other part anew.")
    return f"{found}."


@checks(list, "a list of images")
def round_trip(answer: list[Image.Image], home: Image.Image, away: Image.Image) -> str:
    """Do these images go from one image to another and back, without a jump?"""
    count = len(answer)
    require(count >= 7, f"{count} images are too few: with seven, two lie between the ends.")
    ends = max(image_distance(image, home) for image in (answer[0], answer[-1]))
    require(ends <= SAME, "the first image and the last must both be that of the first seed.")
    nearest = min(image_distance(image, away) for image in answer)
    require(nearest <= SAME, "no image is that of the other seed.")
    step = max(image_distance(a, b) for a, b in pairwise(answer))
    require(step < image_distance(home, away), f"one step is a jump, of {step:.0f} of 255.")
    return f"{count} images, no two neighbors more than {step:.0f} of 255 apart."


@checks(int, "a seed")
def seed_that_shows(
    answer: int, pipeline: Pipeline, prompt: str, judge: Judge, wanted: Attributes, **inputs: Any
) -> str:
    """Does the judge read the wanted values, by attribute, in the image of this seed?"""
    images = generate_images(pipeline, prompt, answer, **inputs)
    show(images[0], alt=f"The image of your seed, {answer}.")
    require_attributes(read_attributes(images, judge).iloc[0], wanted, f"seed {answer}")
    return f"with seed {answer}, the judge reads {', '.join(wanted.values())}."


@checks(str, "a prompt")
def prompt_that_shows(
    answer: str,
    pipeline: Pipeline,
    judge: Judge,
    wanted: Attributes,
    seeds: Sequence[int],
    **inputs: Any,
) -> str:
    """Do most images of this prompt show all of the wanted values?"""
    images = generate_images(pipeline, answer, seeds, **inputs)
    labels = [f"seed {seed}" for seed in seeds]
    show(image_grid(images, labels=labels), alt="The images of your prompt, by seed.")
    read = read_attributes(images, judge)[list(wanted)]
    hits = int((read == list(wanted.values())).all(axis="columns").sum())
    found = f"{hits} of {len(images)} images show all of it."
    if 2 * hits <= len(images):
        require_attributes(read.mode().iloc[0], wanted, "these images, most often")
    return require(2 * hits > len(images), found)


@checks(str, "a negative prompt")
def negative_prompt_that_removes(
    answer: str,
    pipeline: Pipeline,
    prompt: str,
    judge: Judge,
    unwanted: tuple[str, str],
    seeds: Sequence[int],
    **inputs: Any,
) -> str:
    """Does this negative prompt make a value, such as ("mood", "smiling"), rarer?"""
    attribute, value = unwanted
    without = generate_images(pipeline, prompt, seeds, **inputs)
    negative = {"negative_prompt": [answer] * len(seeds)}
    images = generate_images(pipeline, prompt, seeds, **negative, **inputs)
    before, count = (
        int((read_attributes(made, judge)[attribute] == value).sum()) for made in (without, images)
    )
    show_beside(images, without, [f"negative: {answer}", "no negative prompt"])
    found = f"with it, {count} of {len(seeds)} images show {value}; without it, {before} do."
    return require(count < before, found)


@checks(str, "a prompt")
def prompt_as_read(answer: str, pipeline: Pipeline, long_prompt: str) -> str:
    """Is this the part of a prompt that the text encoder reads, and does it make the same image?"""
    cut = truncated_words(answer, pipeline)
    require(not cut, f"of this prompt, {cut!r:.60} is still not read.")
    logging.disable(logging.WARNING)  # the pipeline's, which says where it stops reading
    try:
        yours, reference = (
            generate_images(pipeline, text, 0, **STEPS) for text in (answer, long_prompt)
        )
    finally:
        logging.disable(logging.NOTSET)
    show_beside(yours, reference, ["your prompt", "the long prompt"])
    require_same(yours[0], reference[0], "the image of the long prompt")
    return f"the same image; {truncated_words(long_prompt, pipeline)!r} had no effect."


@checks(set, "a set of labels")
def measurable_differences(answer: set[str], measurements: Sequence[Measurement]) -> str:
    """Are these the labels of the measurements that differ from their baseline beyond chance?"""
    for item in measurements:
        found = "could be chance" if item.is_faster is None else "does differ"
        turns = f"{min(item.speedups):.2f} to {max(item.speedups):.2f}"
        agrees = (item.is_faster is not None) is (item.label in answer)
        require(agrees, f"{item.label} {found} ({turns}, timing noise {item.noise:.2f}).")
    require(answer <= {item.label for item in measurements}, "there is no such label.")
    return f"only {', '.join(sorted(answer)) or 'chance'} shows a difference."


@checks(int, "a number of steps")
def fewest_steps(answer: int, generate: Function, converged: Images, limit: float) -> str:
    """Is this the smallest number of steps with a median distance from the converged images that
    is within the limit, of 255?"""
    require(1 < answer <= 50, "try between 2 and 50 steps.")
    images = generate(answer)
    show_beside(images, converged, [f"{answer} steps", "converged"])
    reached = median_distance(images, converged)
    require(reached <= limit, f"with {answer} steps the distance is {reached:.1f}, over {limit:g}.")
    fewer = median_distance(generate(answer - 1), converged)
    require(fewer > limit, f"{answer - 1} steps are enough, with a distance of {fewer:.1f}.")
    return f"{answer} steps come to {reached:.1f}; one step fewer stays at {fewer:.1f}."


@checks(list, "a list of timesteps")
def nearer_timesteps(
    answer: list[int], generate: Function, converged: Images, count: int = 10
) -> str:
    """Do these timesteps come nearer to the converged images than the scheduler's own, which
    `generate` takes for None?"""
    require(len(answer) == count, f"there are {len(answer)} timesteps, not {count}.")
    falls = sorted(set(answer), reverse=True) == answer and 0 <= answer[-1] <= answer[0] < 1000
    require(falls, "timesteps are whole numbers that fall, from 999 at most to 0 at least.")
    images, usual = generate(answer), generate(None)
    show_beside(images, converged, ["your timesteps", "converged"])
    reached, before = median_distance(images, converged), median_distance(usual, converged)
    found = f"the distance is {reached:.1f} with yours and {before:.1f} with the scheduler's own."
    return require(reached < before, found)


@checks(float, "a number of bytes")
def bytes_of_scores(answer: float, config: Mapping[str, Any], batch_size: int) -> str:
    """Is this what the attention scores of a U-Net's largest level take, in float16 and with
    guidance, within 2%?"""
    levels = zip(config["down_block_types"], config["attention_head_dim"], strict=True)
    count = max(
        2 * 2 * batch_size * heads * (config["sample_size"] // 2**level) ** 4 * 2
        for level, (block, heads) in enumerate(levels)
        if block.startswith("CrossAttn")
    )
    wrong = f"{format_bytes(answer)} are too {'few' if answer < count else 'many'}."
    require(abs(answer / count - 1) <= 0.02, f"{wrong} Which levels have attention?")
    return f"the scores take {format_bytes(answer)}."


@checks(Callable, "a function")
def returns(answer: Function, cases: Sequence[tuple[Any, Any]], tolerance: float = 1e-6) -> str:
    """Does this function return the expected number, or None, for each tuple of arguments?"""
    for arguments, expected in cases:
        found = answer(*arguments)
        either = None in (found, expected)
        near = found is expected if either else abs(found - expected) <= tolerance
        listed = ", ".join(map(repr, arguments))
        require(near, f"for {listed}, it returns {found!r:.20} and not {expected!r}.")
    return f"it returns what is expected in all {len(cases)} cases."


@checks(Callable, "a function")
def denoising_step(answer: Function, pipeline: Pipeline, prompt: str, seed: int) -> str:
    """Does this function, in place of the scheduler's step, generate the image of DDIM?

    Args:
        answer: takes the latents, the predicted noise, and `alphas_cumprod` at this timestep and
            at the next; returns the next latents.
    """
    from diffusers import DDIMScheduler

    class WithAnswer(DDIMScheduler):
        def step(self, model_output: Any, timestep: Any, sample: Any, **kwargs: Any) -> tuple[Any]:
            kept, later = self.alphas_cumprod, timestep - 50  # 1,000 timesteps in 20 steps
            then = kept[later] if later >= 0 else self.final_alpha_cumprod
            return (answer(sample, model_output, kept[timestep], then),)

    copied, images = copy.copy(pipeline), []  # a copy shares the weights
    config = {**copied.scheduler.config, "timestep_spacing": "leading", "clip_sample": False}
    for scheduler in (WithAnswer, DDIMScheduler):
        copied.scheduler = scheduler.from_config(config)
        images += generate_images(copied, prompt, seed, **STEPS)
    show_beside(images[:1], images[1:], ["your step", "DDIMScheduler"])
    require_same(*images, "the image of DDIM")
    return "your step generates the image of DDIM."


@checks(Callable, "a function")
def slerp(answer: Function, pipeline: Pipeline, prompt: str, seeds: Sequence[int]) -> str:
    """Does this function of two noises and a share, 0 to 1, interpolate on the sphere?"""
    unet = pipeline.unet
    shape = (1, unet.config.in_channels, unet.config.sample_size, unet.config.sample_size)
    a, b = (torch.randn(shape, generator=generator) for generator in make_generators(seeds))
    angle = torch.acos((a * b).sum() / (a.norm() * b.norm()))
    half = torch.sin(angle / 2) * (a + b) / torch.sin(angle)
    images = [
        pipeline(prompt, latents=noise.to(pipeline.device, unet.dtype), **STEPS).images[0]
        for noise in (a, answer(a, b, 0.5), half, b)
    ]
    labels = [f"seed {seeds[0]}", "your half", "reference", f"seed {seeds[1]}"]
    grid = image_grid(images, rows=1, labels=labels)
    show(grid, alt="Your image and the reference, between the images of the two seeds.")
    for share, wanted in ((0, a), (0.5, half), (1, b)):
        yours = answer(a, b, share)
        found = f"at {share:g} the standard deviation is {yours.std():.2f}"
        hint = f"{found}, and that of the reference {wanted.std():.2f}."
        require(torch.allclose(yours, wanted, atol=1e-3), hint)
    return "noise at both ends, and noise of the same strength between them."


@checks(Callable, "a function")
def finds_largest_batch(answer: Function) -> str:
    """Does this function find the largest batch size that its argument says fits, quickly?"""
    for largest in (1, 2, 7, 16, 37, 100):
        tried: list[int] = []

        def fits(size: int, largest: int = largest, tried: list[int] = tried) -> bool:
            tried.append(size)
            if len(tried) > 1000:
                raise RuntimeError("it has tried a thousand sizes")
            return size <= largest

        found, most = answer(fits), 2 * largest.bit_length() + 1
        where = f"where {largest} fit, it"
        require(found == largest, f"{where} returns {found} after trying {tried[:12]}.")
        require(len(tried) <= most, f"{where} takes {len(tried)} attempts; {most} will do.")
    return f"where 100 fit, it tries {', '.join(map(str, tried))}."


@checks(Callable, "a function")
def attention_in_parts(
    answer: Function, pipeline: Pipeline, processor: Function, generate: Function
) -> str:
    """Is it attention with only a part of the scores in memory at once, for the same image?

    Args:
        answer: called with query, key and value, (batch, positions, channels) each.
        processor: makes an attention processor of a function, which the pipeline gets.
        generate: makes images with the pipeline.
    """
    query, key, value = torch.randn(3, 2, 1000, 16, generator=torch.manual_seed(0))
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value)
    with LiveStorages(ignored=(query, key, value)) as storages:
        found = answer(query, key, value)
    error = (found - expected).abs().max().item()
    require(error <= 1e-4, f"its numbers differ from attention's by up to {error:.2g}.")
    scores = query.shape[0] * query.shape[1] * key.shape[1] * query.element_size()
    needed, total = format_bytes(storages.peak), format_bytes(scores)
    few = storages.peak <= scores / 2
    require(few, f"it takes {needed}; all scores together would take {total}.")
    reference = generate(pipeline)
    pipeline.unet.set_attn_processor(processor(answer))
    images = generate(pipeline)
    show_beside(images, reference, ["your attention", "SDPA"])
    require_same(images[0], reference[0], "the image with SDPA")
    return f"at most {needed} at once, of {total} scores."


@checks(Callable, "a function")
@torch.no_grad()
def decode_in_two_parts(answer: Function, pipeline: Pipeline, prompt: str) -> str:
    """Does it decode latents in two overlapping parts, nearer to the image than without overlap?

    Args:
        answer: called with `decode`, which turns latents into pixels, and latents
            (1, channels, height, width); returns pixels (1, 3, height, width).
    """
    vae, widths = pipeline.vae, []
    latents = generate_images(pipeline, prompt, 0, output_type="latent", **STEPS)
    latents = latents / vae.config.scaling_factor

    def decode(part: Tensor) -> Tensor:
        widths.append(part.shape[-1])
        return vae.decode(part).sample

    halves = torch.cat([decode(part) for part in latents.chunk(2, dim=-1)], dim=-1)
    whole = decode(latents)
    widths.clear()
    joined, most = answer(decode, latents), 3 * latents.shape[-1] // 4
    fits = len(widths) == 2 and max(widths) <= most
    require(fits, f"it decodes parts of widths {widths}; two of at most {most} fit.")
    mine, at_once, naive = pipeline.image_processor.postprocess(torch.cat([joined, whole, halves]))
    show_beside([mine], [at_once], ["your two parts", "decoded at once"])
    distance, limit = image_distance(mine, at_once), image_distance(naive, at_once)
    found = f"the distance from the image is {distance:.1f}, and {limit:.1f} without overlap."
    return require(distance < limit / 2, found)
