"""Make a pipeline's inputs: one prompt and one seed per image."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from contextlib import suppress
from numbers import Integral
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline


def make_generators(seeds: int | Iterable[int]) -> list[torch.Generator]:
    """Make one CPU generator per image, each with its own seed.

    The noise is drawn on the CPU even for a GPU, so that a seed means the same image whatever the
    device and the batch. A generator moves on when it is used: make new ones for each call.

    Raises:
        ValueError: a seed is no whole number, below 0 or above 2**64 - 1.

    Source: diffusers, "Reproducible pipelines".
    """
    single = not isinstance(seeds, Iterable) or getattr(seeds, "ndim", 1) == 0
    numbers = []
    for seed in [seeds] if single else seeds:
        with suppress(TypeError):  # a seed that is no whole number
            if 0 <= (number := operator.index(seed)) < 2**64:
                numbers.append(number)
                continue
        raise ValueError(f"A seed is a whole number from 0 to 2**64 - 1, not {seed!r:.60}.")
    return [torch.Generator("cpu").manual_seed(number) for number in numbers]


def list_prompts(prompts: str | Iterable[str], count: int) -> list[str]:
    """Return a prompt for each of `count` images, from one for all of them or one for each.

    Raises:
        ValueError: a prompt is not text, or they are not `count`.
    """
    single = isinstance(prompts, str) or not isinstance(prompts, Iterable)
    listed = [prompts] * count if single else list(prompts)
    for prompt in listed:
        if not isinstance(prompt, str):
            raise ValueError(f"A prompt must be text, not {prompt!r:.60}.")
    if len(listed) != count:
        raise ValueError(f"{len(listed)} prompts do not fit {count} images: give one for each.")
    return listed


def get_inputs(
    batch_size: int = 1,
    prompt: str | Sequence[str] = "portrait photo of a old warrior chief",
    num_inference_steps: int = 20,
    seeds: Iterable[int] | None = None,
) -> dict[str, Any]:
    """Make the arguments of one call of the pipeline: a seed per image, 0 to batch_size - 1.

    Args:
        prompt: the prompt of every image, or a list with one for each.
        seeds: other seeds than 0 to batch_size - 1, one for each image.

    Raises:
        ValueError: batch size or steps are below 1, a prompt is not text, a seed is not a whole
            number from 0 to 2**64 - 1, or there is not one of each for each image.

    Source: diffusers, "Effective and efficient diffusion", `get_inputs`.
    """
    for number in (batch_size, num_inference_steps):
        if not isinstance(number, Integral) or number < 1:
            raise ValueError(f"Batch size and steps are whole numbers from 1 on, not {number!r}.")
    generators = make_generators(range(batch_size) if seeds is None else seeds)
    if len(generators) != batch_size:
        raise ValueError(f"{len(generators)} seeds do not fit a batch of {batch_size} images.")
    return {
        "prompt": list_prompts(prompt, batch_size),
        "generator": generators,
        "num_inference_steps": num_inference_steps,
    }


def truncated_words(prompt: str, pipeline: DiffusionPipeline) -> str:
    """Return the end of a prompt that all of the pipeline's text encoders cut off, or "".

    CLIP's text encoder reads 77 tokens, two of which mark the start and the end. A word of textual
    inversion takes as many tokens as it has vectors.
    """
    words, ends = prompt.split(), []
    expand = getattr(pipeline, "maybe_convert_prompt", lambda word, _: word)
    for name in ("tokenizer", "tokenizer_2", "tokenizer_3"):
        if (tokenizer := getattr(pipeline, name, None)) is None:
            continue
        room, read = tokenizer.model_max_length - tokenizer.num_special_tokens_to_add(), 0
        for word in words:
            room -= len(tokenizer(expand(word, tokenizer), add_special_tokens=False).input_ids)
            if room < 0:
                break
            read += 1
        ends.append(" ".join(words[read:]))
    return min(ends, key=len, default="")
