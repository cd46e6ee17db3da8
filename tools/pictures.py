"""Draw the README's pictures with the embedded model: a grid, and four portraits that form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from PIL import Image

from helpers import get_inputs, image_grid, load_pipeline

DOCS = Path(__file__).resolve().parents[1] / "docs"
PROMPTS = (
    "portrait photo of a old warrior chief, blue on red, side profile",
    "oil painting of a young queen, green on pink, front view, smiling",
    "comic book drawing of the oldest wizard, purple on yellow, looking at the camera",
    "watercolour of a pirate, red on white, side profile, serious eyes",
    "portrait photo of a young astronaut, yellow on blue, looking at the camera",
    "pencil sketch of a knight, teal on orange, side profile, looking away",
    "portrait photo of a old ranger, orange on teal, front view",
    "oil painting of a jester, white on purple, hard rim lighting photography",
)
FORMING = PROMPTS[:4]
WIDTH, COLOURS, SECONDS = 192, 96, 0.18  # of a picture, of the animation, a frame


@torch.no_grad()
def form(pipeline: Any) -> list[Image.Image]:
    """One frame for each of 20 steps: what `FORMING` looks like by then, side by side."""
    frames = []

    def watch(pipe: Any, step: int, t: torch.Tensor, tensors: dict[str, Any]) -> dict[str, Any]:
        clean = pipe.scheduler.model_outputs[-1]  # DPM-Solver++ keeps what it foresees
        pixels = pipe.vae.decode(clean / pipe.vae.config.scaling_factor).sample
        images = pipe.image_processor.postprocess(pixels)
        row = Image.new("RGB", (WIDTH * len(images), WIDTH))
        for number, image in enumerate(images):
            picture = image.resize((WIDTH, WIDTH), Image.Resampling.LANCZOS)
            row.paste(picture, (number * WIDTH, 0))
        frames.append(row.quantize(COLOURS))
        return tensors

    inputs = get_inputs(len(FORMING), prompt=FORMING)
    pipeline(**inputs, callback_on_step_end=watch)
    return frames


def main() -> None:
    """Write docs/grid.jpg and docs/forming.gif."""
    pipeline = load_pipeline(device="cpu", scheduler="DPMSolverMultistepScheduler")
    images = pipeline(**get_inputs(len(PROMPTS), prompt=PROMPTS)).images
    image_grid(images, 2, 4).save(DOCS / "grid.jpg", quality=92)
    first, *others = form(pipeline)
    stay = [int(1000 * SECONDS)] * len(others) + [2500]  # milliseconds; the last one can be seen
    options = {"append_images": others, "duration": stay, "loop": 0, "optimize": True}
    first.save(DOCS / "forming.gif", save_all=True, **options)


if __name__ == "__main__":
    main()
