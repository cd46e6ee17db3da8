"""Make the README's pictures: a grid and four portraits that form, drawn by the embedded model, and
for each notebook a small copy of one of its own pictures."""

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
FORMING = PROMPTS[:4]
WIDTH, COLOURS, SECONDS = 192, 96, 0.18  # of a picture, of the animation, a frame
# The notebooks, each with the number of the picture that stands for it.
SHOWN = {
    "00_start_here": 1,
    "01_how_a_picture_is_made": 5,
    "02_speed": 5,
    "03_memory": 3,
    "04_quality": 0,
    "05_faster": -1,
    "06_choose_a_gpu": 2,
    "07_many_pictures": 0,
    "08_playground": 2,
}
SMALL = (240, 135)  # pixels


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


def pictures_of(path: Path) -> list[Image.Image]:
    """All the pictures that a notebook has stored, in order."""
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
    first, *others = form(pipeline)
    stay = [int(1000 * SECONDS)] * len(others) + [2500]  # milliseconds; the last one can be seen
    options = {"append_images": others, "duration": stay, "loop": 0, "optimize": True}
    first.save(DOCS / "forming.gif", save_all=True, **options)
    (DOCS / "notebooks").mkdir(exist_ok=True)
    for name, number in SHOWN.items():
        picture = pictures_of(DOCS.parent / "notebooks" / f"{name}.ipynb")[number]
        small = ImageOps.pad(picture, SMALL, Image.Resampling.LANCZOS, color="white")
        small.save(DOCS / "notebooks" / f"{name}.jpg", quality=90)


if __name__ == "__main__":
    main()
