"""Make a pipeline's inputs: one prompt and one seed per image."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

import torch

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline


class Inputs(TypedDict):
    """The arguments of one call of a pipeline."""

    prompt: list[str]
    generator: list[torch.Generator]
    num_inference_steps: int


def make_generators(seeds: int | Iterable[int]) -> list[torch.Generator]:
    """Make one CPU generator per image, each with its own seed.

    The noise is drawn on the CPU even for a GPU, so that a seed means the same image whatever the
    device, the batch size and the place in the batch. A generator moves on each time it is used:
    make new ones for each call of the pipeline.

    Args:
        seeds: one seed or several, whole numbers from 0 to 2**64 - 1.

    Raises:
        ValueError: there is no seed, or one is not such a number.

    Source: diffusers, "Reproducible pipelines".
    """
    single = not isinstance(seeds, Iterable) or getattr(seeds, "ndim", 1) == 0
    numbers: list[Any] = [seeds] if single else list(seeds)  # type: ignore[arg-type]
    if not numbers:
        raise ValueError("There is no seed: give one for each image, such as range(4).")
    return [torch.Generator("cpu").manual_seed(_check_seed(number)) for number in numbers]


def get_inputs(
    batch_size: int = 1,
    prompt: str | Sequence[str] = "portrait photo of a old warrior chief",
    num_inference_steps: int = 20,
    seeds: Iterable[int] | None = None,
) -> Inputs:
    """Make the arguments of one call of the pipeline: a seed per image, 0 to batch_size - 1.

    Args:
        batch_size: how many images to generate at once.
        prompt: the prompt of every image, or a list with one for each.
        num_inference_steps: how many steps the scheduler takes.
        seeds: other seeds than 0 to batch_size - 1, one for each image.

    Raises:
        ValueError: batch size or steps are not whole numbers above 0, or the seeds or prompts are
            not one for each image.

    Source: diffusers, "Effective and efficient diffusion", `get_inputs`.

    Example:
        >>> inputs = get_inputs(batch_size=2)
        >>> [generator.initial_seed() for generator in inputs["generator"]]
        [0, 1]
    """
    batch_size = _check_count(batch_size, "batch_size")
    num_inference_steps = _check_count(num_inference_steps, "num_inference_steps")
    generators = make_generators(range(batch_size) if seeds is None else seeds)
    prompts = [prompt] * batch_size if isinstance(prompt, str) else list(prompt)
    for name, values in (("seeds", generators), ("prompts", prompts)):
        if len(values) != batch_size:
            raise ValueError(
                f"{len(values)} {name} do not fit a batch of {batch_size}: give one for each image."
            )
    for text in prompts:
        if not isinstance(text, str):
            raise ValueError(f"{text!r} is not a prompt: give text for each image.")
    return {
        "prompt": prompts,
        "generator": generators,
        "num_inference_steps": num_inference_steps,
    }


def truncated_words(prompt: str, pipeline: DiffusionPipeline) -> str:
    """Return the end of a prompt that the pipeline's text encoders cut off, "" if there is none.

    CLIP's text encoder reads 77 tokens, two of which mark the start and the end. A pipeline with a
    T5 encoder as well (Stable Diffusion 3, Flux) reads on with that. A word of textual inversion
    takes as many tokens as it has vectors.

    Args:
        prompt: the prompt.
        pipeline: any with one tokenizer or several.

    Example:
        >>> from helpers import load_pipeline
        >>> truncated_words("old " * 75 + "warrior chief", load_pipeline(device="cpu"))
        'warrior chief'
    """
    names = ("tokenizer", "tokenizer_2", "tokenizer_3")
    tokenizers = [getattr(pipeline, name, None) for name in names]
    ends = [_truncated_by(prompt, tokenizer, pipeline) for tokenizer in tokenizers if tokenizer]
    return min(ends, key=len, default="")


def _truncated_by(prompt: str, tokenizer: Any, pipeline: DiffusionPipeline) -> str:
    room = tokenizer.model_max_length
    if "t5" in type(tokenizer).__name__.lower():
        length = inspect.signature(pipeline.__call__).parameters.get("max_sequence_length")
        room = length.default if length else room
    expand = getattr(pipeline, "maybe_convert_prompt", lambda word, _: word)
    room -= tokenizer.num_special_tokens_to_add()
    words = prompt.split()
    for count, word in enumerate(words):
        room -= len(tokenizer(expand(word, tokenizer), add_special_tokens=False).input_ids)
        if room < 0:
            return " ".join(words[count:])
    return ""


def _check_seed(seed: Any) -> int:
    number = _to_whole(seed)
    if not 0 <= number < 2**64:
        raise ValueError(f"{seed!r} is not a seed: use a whole number from 0 to 2**64 - 1.")
    return number


def _check_count(value: Any, name: str) -> int:
    number = _to_whole(value)
    if number < 1:
        raise ValueError(f"{name} must be a whole number of at least 1, not {value!r}.")
    return number


def _to_whole(value: Any) -> int:
    """A whole number of any library, or -1 for anything else."""
    try:
        return operator.index(value)
    except TypeError:
        return -1
