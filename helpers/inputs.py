"""Make a pipeline's inputs: a seed per image, a prompt per image, and the prompt's length."""

from __future__ import annotations

import inspect
import operator
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from helpers.pipelines import StableDiffusion


def make_generators(seeds: int | Iterable[int]) -> list[torch.Generator]:
    """Make one CPU generator per image, each with its own seed.

    The noise is drawn on the CPU even for a GPU, so that a seed means the same image whatever the
    device, the size of the batch and the place in it. A generator moves on each time it is used:
    make new ones for each call of the pipeline.

    Args:
        seeds: one seed or several, whole numbers from 0 to 2**64 - 1.

    Raises:
        ValueError: there is no seed, or one is not such a number.

    Source: diffusers, "Reproducible pipelines".

    Example:
        >>> [generator.initial_seed() for generator in make_generators([0, 1, 7])]
        [0, 1, 7]
    """
    lone = not isinstance(seeds, Iterable) or getattr(seeds, "ndim", 1) == 0  # of a tensor
    several = [seeds] if lone else list(seeds)  # type: ignore[arg-type]
    if not several:
        raise ValueError("There is no seed: give one for each image, such as range(4).")
    return [torch.Generator("cpu").manual_seed(_check_seed(seed)) for seed in several]


def get_inputs(
    batch_size: int = 1,
    prompt: str | Sequence[str] = "portrait photo of a old warrior chief",
    num_inference_steps: int = 20,
    seeds: Iterable[int] | None = None,
) -> dict[str, list[str] | list[torch.Generator] | int]:
    """Make the arguments of one call of the pipeline: a seed per image, 0 to batch_size - 1.

    Args:
        batch_size: how many images to draw at once.
        prompt: what to draw, the same for every image; or a list, one for each.
        num_inference_steps: how many steps the scheduler takes.
        seeds: other seeds than 0 to batch_size - 1, one for each image.

    Raises:
        ValueError: no image or no step is asked for, or the seeds or the prompts are not one for
            each image.

    Source: diffusers, "Effective and efficient diffusion", `get_inputs`.

    Example:
        >>> inputs = get_inputs(batch_size=2)
        >>> inputs["prompt"]
        ['portrait photo of a old warrior chief', 'portrait photo of a old warrior chief']
        >>> [generator.initial_seed() for generator in inputs["generator"]]
        [0, 1]
    """
    if batch_size < 1:
        raise ValueError(f"A batch of {batch_size} draws nothing: use a batch_size of at least 1.")
    if num_inference_steps < 1:
        raise ValueError(
            f"{num_inference_steps} steps draw nothing: use a num_inference_steps of at least 1."
        )
    generator = make_generators(range(batch_size) if seeds is None else seeds)
    if len(generator) != batch_size:
        raise ValueError(
            f"{len(generator)} seeds do not fit a batch of {batch_size}: give one for each image."
        )
    prompts = [prompt] * batch_size if isinstance(prompt, str) else list(prompt)
    if len(prompts) != batch_size:
        raise ValueError(
            f"{len(prompts)} prompts do not fit a batch of {batch_size}: give one for each image."
        )
    return {
        "prompt": prompts,
        "generator": generator,
        "num_inference_steps": num_inference_steps,
    }


def cut_words(prompt: str, pipeline: StableDiffusion) -> str:
    """Return the end of a prompt that the pipeline will not read, "" if it reads it all.

    CLIP's text encoder takes 77 tokens, two of which mark the start and the end. A pipeline with a
    T5 encoder beside it (Stable Diffusion 3, Flux) reads on with that. A word of textual inversion
    takes as many tokens as it has vectors.

    Args:
        prompt: what to draw.
        pipeline: any with one tokenizer or several.

    Example:
        >>> from helpers import load_pipeline
        >>> cut_words("old " * 75 + "warrior chief", load_pipeline(device="cpu"))
        'warrior chief'
    """
    return min((_cut_by(prompt, one, pipeline) for one in _tokenizers(pipeline)), key=len)


def _cut_by(prompt: str, tokenizer: Any, pipeline: StableDiffusion) -> str:
    """The words that one of the pipeline's tokenizers leaves no room for."""
    room = tokenizer.model_max_length
    if "t5" in type(tokenizer).__name__.lower():
        asked = inspect.signature(pipeline.__call__).parameters.get("max_sequence_length")
        room = asked.default if asked else room
    special = tokenizer.num_special_tokens_to_add()
    words, read = prompt.split(), 0
    for count, word in enumerate(words):
        expand = getattr(pipeline, "maybe_convert_prompt", lambda word, _: word)
        read += len(tokenizer(expand(word, tokenizer), add_special_tokens=False).input_ids)
        if read > room - special:
            return " ".join(words[count:])
    return ""


def _tokenizers(pipeline: StableDiffusion) -> list[Any]:
    names = ("tokenizer", "tokenizer_2", "tokenizer_3")
    return [one for name in names if (one := getattr(pipeline, name, None)) is not None]


def unknown_words(prompt: str, pipeline: StableDiffusion) -> list[str]:
    """Return the words that the pipeline's tokenizer has no token for, and reads in pieces.

    A small model that learned its tokens from its own captions has never seen such a word. A large
    one may know it from its pieces.

    Args:
        prompt: what to draw.
        pipeline: any whose `tokenizer` is CLIP's.

    Example:
        >>> from helpers import load_pipeline
        >>> unknown_words("a Knight on a bicycle", load_pipeline(device="cpu"))
        ['bicycle']
    """
    words = dict.fromkeys(re.findall(r"[^\W\d_]+", prompt))
    read = [one.tokenize for one in _tokenizers(pipeline)]
    return [word for word in words if all(len(tokenize(word)) > 1 for tokenize in read)]


def _check_seed(seed: Any) -> int:
    try:
        number = operator.index(seed)
    except TypeError:
        number = -1
    if not 0 <= number < 2**64:
        raise ValueError(f"{seed!r} is not a seed: use a whole number from 0 to 2**64 - 1.")
    return number
