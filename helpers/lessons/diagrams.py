"""Diagrams of how an image is generated: the pipeline, attention, guidance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from helpers.lessons.plots import ORANGE, SKY_BLUE, VERMILION, YELLOW

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from PIL import Image

TRAINED, FIXED = SKY_BLUE, YELLOW  # parts with trained weights, parts without


def _box(axes: Axes, x: float, y: float, text: str, colour: str = "white") -> None:
    style = {"boxstyle": "round,pad=0.5", "facecolor": colour, "edgecolor": "#333333"}
    axes.text(x, y, text, ha="center", va="center", fontsize=10, bbox=style, linespacing=1.4)


def _arrow(
    axes: Axes, start: tuple[float, float], end: tuple[float, float], text: str = ""
) -> None:
    style = {"arrowstyle": "-|>", "color": "#333333", "shrinkA": 0, "shrinkB": 0, "lw": 1.5}
    axes.annotate("", end, start, arrowprops=style)
    middle = ((start[0] + end[0]) / 2 + 0.03, (start[1] + end[1]) / 2)
    axes.text(*middle, text, fontsize=9, va="center", style="italic")


def pipeline_diagram(pipeline: DiffusionPipeline, num_inference_steps: int = 20) -> Figure:
    """Draw the way from a prompt and a seed to a picture, with the shapes of this very pipeline."""
    from matplotlib.figure import Figure

    unet, words = pipeline.unet.config, pipeline.tokenizer.model_max_length
    latents = f"{unet.in_channels} x {unet.sample_size} x {unet.sample_size}"
    side = unet.sample_size * pipeline.vae_scale_factor
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.set(xlim=(0, 10), ylim=(0, 3.4))
    axes.axis("off")
    upper, lower = 2.75, 0.9
    _box(axes, 0.8, upper, "prompt\na sentence")
    _box(axes, 2.7, upper, f"tokenizer\n{words} numbers", FIXED)
    width = pipeline.text_encoder.config.hidden_size
    _box(axes, 5.2, upper, f"text encoder\n{words} x {width} numbers", TRAINED)
    _box(axes, 0.8, lower, "seed\none number")
    _box(axes, 2.7, lower, f"noise\n{latents}", FIXED)
    loop = f"UNet says what is noise in it,\nscheduler takes some away\n{num_inference_steps} times"
    _box(axes, 5.2, lower, loop, TRAINED)
    _box(axes, 7.7, lower, f"VAE decoder\nfrom {latents}", TRAINED)
    _box(axes, 9.4, lower, f"picture\n3 x {side} x {side}")
    for start, end, y in ((1.3, 2.05, upper), (3.35, 4.35, upper), (1.3, 2.05, lower)):
        _arrow(axes, (start, y), (end, y))
    for start, end in ((3.35, 3.95), (6.45, 6.95), (8.45, 8.85)):
        _arrow(axes, (start, lower), (end, lower))
    _arrow(axes, (5.2, upper - 0.42), (5.2, lower + 0.6), "cross-attention")
    return figure


def guidance_diagram(
    without: Image.Image, with_prompt: Image.Image, guided: Image.Image, guidance_scale: float
) -> Figure:
    """Lay three foreseen pictures out along an arrow: without the prompt, with it, and beyond."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.9))
    titles = ("without the prompt", "with the prompt", f"guided, {guidance_scale:g} times as far")
    for left, picture, title in zip(
        (0.02, 0.28, 0.72), (without, with_prompt, guided), titles, strict=True
    ):
        axes = figure.add_axes((left, 0.2, 0.25, 0.66))
        axes.imshow(picture)
        axes.set_title(title, fontsize=11)
        axes.axis("off")
    line = figure.axes[0]
    style = {"arrowstyle": "-|>", "color": VERMILION, "lw": 2.5}
    for start, end in ((0.145, 0.405), (0.405, 0.845)):
        line.annotate("", (end, 0.12), (start, 0.12), "figure fraction", arrowprops=style)
    return figure


def attention_sizes(unet_config: Mapping[str, Any], words: int = 77) -> list[tuple[str, int, int]]:
    """Where the UNet compares places with one another, and what it compares: (name, rows, columns).

    Each attention layer asks for every place of its level how much it has to do with every other
    place (self-attention) and with every word of the prompt (cross-attention): a table of scores.
    """
    sizes = []
    for level, block in enumerate(unet_config["down_block_types"]):
        side = unet_config["sample_size"] // 2**level
        if "CrossAttn" in block:
            places = f"{side} x {side} places"
            sizes.append((f"{places}, with one another", side**2, side**2))
            sizes.append((f"{places}, with {words} words", side**2, words))
    return sizes


def attention_plot(sizes: Sequence[tuple[str, int, int]], title: str) -> Figure:
    """Draw how many scores each kind of attention layer makes for one picture and one head."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1.2 + 0.45 * len(sizes)), layout="constrained")
    axes = figure.subplots()
    scores = [rows * columns for _, rows, columns in sizes]
    colours = [TRAINED if rows == columns else ORANGE for _, rows, columns in sizes]
    bars = axes.barh([name for name, _, _ in sizes], scores, color=colours)
    axes.bar_label(bars, labels=[f"{score:,}" for score in scores], padding=4)
    axes.set(xscale="log", xlabel="scores for one picture and one head", title=title)
    axes.margins(x=0.2)
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    return figure
