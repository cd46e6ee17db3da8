"""The playground's widgets, and the HTML that shows images and messages."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass, field

import ipywidgets
from PIL import Image, ImageOps

from labs.images import Settings

THUMBNAIL = 96  # pixels
STYLE = f"""<style>
.playground-thumbnail {{position: relative; overflow: visible; width: {THUMBNAIL + 8}px}}
.playground-thumbnail .widget-html-content {{padding: 4px 4px 2em; line-height: 0}}
.playground-thumbnail > button {{position: absolute; inset: 0; width: 100%; height: 100%;
  padding: 0; background: transparent; display: flex; align-items: flex-end;
  justify-content: center; line-height: 2em; font-size: 80%}}
</style>"""
BUTTONS = {
    "generate": ("Generate", "primary", "Generate with these settings"),
    "stop": ("Stop", "warning", "Stop after the current step"),
    "bring_back": ("Bring settings back", "", "Set the controls to the settings of this image"),
}
PARTS = ("message", "progress", "images", "code")


@dataclass(frozen=True)
class Result:
    """A generated image as a PNG with its settings inside, those settings, and code for it."""

    png: bytes = field(repr=False)
    settings: Settings
    code: str = field(repr=False, default="")

    @property
    def image(self) -> Image.Image:
        """The image itself, in RGB."""
        return Image.open(io.BytesIO(self.png)).convert("RGB")


def make_controls(
    schedulers: Sequence[str], scheduler: str, size: int | None
) -> dict[str, ipywidgets.Widget]:
    """Make a labelled control for each setting, by its name.

    Args:
        schedulers: the names to choose from.
        scheduler: the one that is chosen at first.
        size: the side of an image in pixels; None leaves out the controls for it.
    """
    controls = {
        "prompt": ipywidgets.Textarea(
            "portrait photo of a old warrior chief", description="Prompt", rows=3
        ),
        "negative_prompt": ipywidgets.Textarea(description="Negative prompt", rows=2),
        "seed": ipywidgets.Text("0", description="Seed"),  # too long for a browser's numbers
        "keep_seed": ipywidgets.Checkbox(True, description="Keep this seed", indent=False),
        "num_inference_steps": ipywidgets.BoundedIntText(20, min=1, max=1000, description="Steps"),
        "guidance_scale": ipywidgets.BoundedFloatText(
            7.5, min=0, max=100, step=0.5, description="Guidance scale"
        ),
        "scheduler": ipywidgets.Dropdown(
            value=scheduler, options=schedulers, description="Scheduler"
        ),
    }
    for side in ("width", "height") if size else ():
        controls[side] = ipywidgets.BoundedIntText(
            size, min=8, max=8192, step=8, description=side.capitalize()
        )
    controls["num_images"] = ipywidgets.BoundedIntText(1, min=1, max=16, description="Images")
    controls["preview"] = ipywidgets.Checkbox(True, description="Show previews", indent=False)
    controls["compare"] = ipywidgets.Checkbox(False, description="Compare two", indent=False)
    for control in controls.values():
        # Sent when complete: a click on Generate could overtake text that is sent key by key.
        if control.has_trait("continuous_update"):
            control.continuous_update = False
        control.layout.width = "auto"
        control.style.description_width = "8.5em"
    return controls


def make_buttons() -> dict[str, ipywidgets.Button]:
    """Make the buttons, by name; those that have nothing to act on yet are disabled."""
    return {
        name: ipywidgets.Button(
            description=text,
            button_style=style,
            tooltip=tooltip,
            disabled=name != "generate",
            layout={"width": "auto"},
        )
        for name, (text, style, tooltip) in BUTTONS.items()
    }


def make_thumbnail(number: int, result: Result) -> ipywidgets.Box:
    """Make a small image with a button over it, the second child of the box."""
    source = to_url(ImageOps.fit(result.image, (THUMBNAIL, THUMBNAIL)))
    image = f'<img src="{source}" alt="" width="{THUMBNAIL}" height="{THUMBNAIL}">'
    button = ipywidgets.Button(tooltip=f"Show image {number + 1}: {result.settings.prompt}")
    thumbnail = ipywidgets.Box([ipywidgets.HTML(image), button])
    thumbnail.add_class("playground-thumbnail")
    return thumbnail


def lay_out(
    controls: dict[str, ipywidgets.Widget],
    buttons: dict[str, ipywidgets.Button],
    parts: dict[str, ipywidgets.HTML],
    upload: ipywidgets.FileUpload,
    strip: ipywidgets.Box,
) -> list[ipywidgets.Widget]:
    """Put the controls beside the images, or above them where the page is narrow.

    Args:
        parts: the HTML of `PARTS`, and a notice for each control.
        strip: the box for the thumbnails.
    """
    left = [
        widget
        for name, control in controls.items()
        if name != "compare"
        for widget in (control, parts[name])
    ]
    left += [_row(buttons["generate"], buttons["stop"]), parts["message"]]
    after = _row(buttons["bring_back"], upload, controls["compare"])
    right = [parts["progress"], parts["images"], after, strip, parts["code"]]
    columns = [
        ipywidgets.VBox(left, layout={"flex": "1 1 280px", "max_width": "34em"}),
        ipywidgets.VBox(right, layout={"flex": "2 1 280px"}),
    ]
    layout = {"flex_flow": "row wrap", "grid_gap": "1em"}
    return [ipywidgets.HTML(STYLE), ipywidgets.Box(columns, layout=layout)]


def _row(*widgets: ipywidgets.Widget) -> ipywidgets.Box:
    return ipywidgets.Box(widgets, layout={"flex_flow": "row wrap", "align_items": "center"})


def to_url(image: Image.Image) -> str:
    """Write an image as a URL that holds its data.

    Example:
        >>> to_url(Image.new("RGB", (8, 8)))[:22]
        'data:image/png;base64,'
    """
    png = io.BytesIO()
    image.save(png, format="PNG")
    return _png_url(png.getvalue())


def _png_url(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def status(text: str) -> str:
    """Write a sentence that a screen reader reads out when it changes."""
    return f'<span role="status">{html.escape(text)}</span>' if text else ""


def progress_bar(done: float, text: str) -> str:
    """Write a bar for a share from 0 to 1, with text below it."""
    bar = f'<progress max="1" value="{done:.3f}" aria-label="Generated" style="width: 100%">'
    return f"{bar}</progress><br>{html.escape(text)}"


def figures(results: Sequence[Result]) -> str:
    """Write results as figures side by side, each with its settings and a link to save it."""
    return _side_by_side([_result_figure(result) for result in results])


def preview_figure(preview: Image.Image) -> str:
    """Write the preview of an image that is being generated as a figure."""
    text = "A preview of the image."
    return _side_by_side([_figure(to_url(preview), text, text)])


def code(result: Result) -> str:
    """Write the code for a result, folded."""
    pre = '<pre tabindex="0" style="overflow-x: auto; line-height: 1.4">'
    return f"<details><summary>Show code</summary>{pre}{html.escape(result.code)}</pre></details>"


def _side_by_side(figures: list[str]) -> str:
    return f'<div style="display: flex; flex-wrap: wrap; gap: 1em">{"".join(figures)}</div>'


def _result_figure(result: Result) -> str:
    settings, url = result.settings, _png_url(result.png)
    lines = [settings.prompt]
    if settings.negative_prompt:
        lines.append(f"negative prompt: {settings.negative_prompt}")
    lines.append(
        f"seed {settings.seed}, {settings.num_inference_steps} steps, "
        f"guidance scale {settings.guidance_scale:g}, {settings.scheduler}"
    )
    link = (
        f'<a download="seed-{settings.seed}.png" href="{url}" '
        'style="text-decoration: underline">Save as PNG</a>'
    )
    alt = f"Generated with seed {settings.seed} for the prompt: {settings.prompt}."
    return _figure(url, alt, "<br>".join([*map(html.escape, lines), link]))


def _figure(url: str, alt: str, caption: str) -> str:
    return (
        '<figure style="margin: 0; flex: 1 1 240px; max-width: 384px">'
        f'<img src="{url}" alt="{html.escape(alt)}" style="width: 100%; height: auto">'
        f'<figcaption style="line-height: 1.4; overflow-wrap: anywhere">{caption}</figcaption>'
        "</figure>"
    )
