"""`make pictures`: generate the README's images: portraits, and how they form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers.utils.torch_utils import randn_tensor
from PIL import Image

from helpers import image_grid, load_pipeline, make_generators

DOCS = Path(__file__).resolve().parents[1] / "docs"
PORTRAITS = {  # prompts, as the README repeats them, and seeds
    "portrait photo of a old warrior chief, blue on red, side profile": 0,
    "oil painting of a young queen, green on pink, front view, smiling": 14,
    "comic book drawing of the oldest wizard, purple on yellow, looking at the camera": 3,
    "portrait photo of a young astronaut, yellow on blue, looking at the camera": 2,
}
STEPS, WIDTH, COLORS = 20, 128, 64  # of the animation: pixels of a portrait, colors of a frame
EVERY = 2  # steps from frame to frame, so that the file stays small
FIRST_FRAME, FRAME, LAST_FRAME = 800, 360, 2500  # milliseconds


@torch.no_grad()
def animate(pipeline: Any) -> list[Image.Image]:
    """Return the decoded latents before the first step and after each, side by side."""
    config, generators = pipeline.unet.config, make_generators(PORTRAITS.values())
    size = (len(generators), config.in_channels, config.sample_size, config.sample_size)
    noise = randn_tensor(size, generator=generators)
    frames: list[Image.Image] = []

    def add_frame(_: Any, step: int, t: object, tensors: dict[str, Any]) -> dict[str, Any]:
        pixels = pipeline.vae.decode(tensors["latents"] / pipeline.vae.config.scaling_factor).sample
        row = Image.new("RGB", (WIDTH * len(pixels), WIDTH))
        for number, image in enumerate(pipeline.image_processor.postprocess(pixels)):
            row.paste(image.resize((WIDTH, WIDTH), Image.Resampling.LANCZOS), (number * WIDTH, 0))
        frames.append(row.quantize(COLORS))
        return tensors

    add_frame(pipeline, 0, None, {"latents": noise})
    options = {"num_inference_steps": STEPS, "latents": noise, "callback_on_step_end": add_frame}
    pipeline(list(PORTRAITS), **options)
    return frames


def main() -> None:
    """Write docs/grid.jpg and docs/forming.gif."""
    pipeline = load_pipeline(device="cpu", scheduler="DPMSolverMultistepScheduler")
    generators = make_generators(PORTRAITS.values())
    images = pipeline(list(PORTRAITS), generator=generators, num_inference_steps=STEPS).images
    grid = image_grid(images, 1, len(images), labels=list(PORTRAITS))
    grid.save(DOCS / "grid.jpg", quality=92)
    first, *others = animate(pipeline)[::EVERY]
    durations = [FIRST_FRAME, *[FRAME] * (len(others) - 1), LAST_FRAME]
    options = {"append_images": others, "duration": durations, "loop": 0, "optimize": True}
    first.save(DOCS / "forming.gif", save_all=True, **options)


if __name__ == "__main__":
    main()
