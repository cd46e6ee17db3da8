"""`make pictures`: generate the README's images and a thumbnail for each notebook."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import nbformat
import torch
from PIL import Image, ImageOps

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
WIDTH = 192  # pixels of a portrait in the animation
COLOURS = 96  # of the animation
FRAME, LAST_FRAME = 180, 2500  # milliseconds
# The image of each notebook that becomes its thumbnail.
THUMBNAILS = {
    "00_start_here": 1,
    "01_inside_the_pipeline": 5,
    "02_speed": 5,
    "03_memory": 3,
    "04_quality": 0,
    "06_faster": -1,
    "07_choose_a_gpu": 2,
    "08_many_images": 0,
    "11_playground": 2,
}
THUMBNAIL_SIZE = (240, 135)  # pixels


@torch.no_grad()
def animate(pipeline: Any) -> list[Image.Image]:
    """Return a frame for each of 20 steps: the predicted clean images, side by side."""
    frames = []

    def add_frame(pipe: Any, step: int, t: torch.Tensor, tensors: dict[str, Any]) -> dict[str, Any]:
        clean = pipe.scheduler.model_outputs[-1]  # DPM-Solver++ keeps the predicted original sample
        pixels = pipe.vae.decode(clean / pipe.vae.config.scaling_factor).sample
        images = pipe.image_processor.postprocess(pixels)
        frame = Image.new("RGB", (WIDTH * len(images), WIDTH))
        for number, image in enumerate(images):
            portrait = image.resize((WIDTH, WIDTH), Image.Resampling.LANCZOS)
            frame.paste(portrait, (number * WIDTH, 0))
        frames.append(frame.quantize(COLOURS))
        return tensors

    pipeline(**get_inputs(4, prompt=PROMPTS[:4]), callback_on_step_end=add_frame)
    return frames


def stored_images(path: Path) -> list[Image.Image]:
    """Return all images in the outputs of a notebook, in order."""
    outputs = [
        output["data"]
        for cell in nbformat.read(path, as_version=4).cells
        for output in cell.get("outputs", [])
        if "data" in output
    ]
    kinds = ("image/jpeg", "image/png")
    stored = [data[kind] for data in outputs for kind in kinds if kind in data]
    return [Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB") for text in stored]


def main() -> None:
    """Write docs/grid.jpg, docs/forming.gif and docs/notebooks/."""
    pipeline = load_pipeline(device="cpu", scheduler="DPMSolverMultistepScheduler")
    images = pipeline(**get_inputs(len(PROMPTS), prompt=PROMPTS)).images
    image_grid(images, 2, 4).save(DOCS / "grid.jpg", quality=92)
    first, *others = animate(pipeline)
    durations = [FRAME] * len(others) + [LAST_FRAME]
    options = {"append_images": others, "duration": durations, "loop": 0, "optimize": True}
    first.save(DOCS / "forming.gif", save_all=True, **options)
    (DOCS / "notebooks").mkdir(exist_ok=True)
    for name, number in THUMBNAILS.items():
        image = stored_images(DOCS.parent / "notebooks" / f"{name}.ipynb")[number]
        small = ImageOps.pad(image, THUMBNAIL_SIZE, Image.Resampling.LANCZOS, color="white")
        small.save(DOCS / "notebooks" / f"{name}.jpg", quality=90)


if __name__ == "__main__":
    main()
