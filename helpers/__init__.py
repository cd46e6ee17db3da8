"""The tutorial's helpers: load a pipeline, make its inputs, measure it, show what it drew."""

from typing import TYPE_CHECKING, Any

from helpers.grids import image_distance, image_grid, show, xy_grid
from helpers.inputs import cut_words, get_inputs, make_generators, unknown_words
from helpers.judge import (
    Judge,
    adherence,
    load_judge,
    read_attributes,
    wanted_attributes,
)
from helpers.loading import (
    MODELS,
    MODELS_FOLDER,
    Model,
    load_pipeline,
    pick_device,
    pick_dtype,
    use_scheduler,
)
from helpers.settings import Settings, read_settings, save_image
from helpers.timing import Measurement, compare, describe, measure, plot_comparison

if TYPE_CHECKING:
    from helpers.widgets import playground

__all__ = [
    "MODELS",
    "MODELS_FOLDER",
    "Judge",
    "Measurement",
    "Model",
    "Settings",
    "adherence",
    "compare",
    "cut_words",
    "describe",
    "get_inputs",
    "image_distance",
    "image_grid",
    "load_judge",
    "load_pipeline",
    "make_generators",
    "measure",
    "pick_device",
    "pick_dtype",
    "playground",
    "plot_comparison",
    "read_attributes",
    "read_settings",
    "save_image",
    "show",
    "unknown_words",
    "use_scheduler",
    "wanted_attributes",
    "xy_grid",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    """Import the playground when it is asked for, so that all else works without ipywidgets."""
    if name == "playground":
        from helpers.widgets import playground

        return playground
    raise AttributeError(f"module 'helpers' has no attribute {name!r}")
