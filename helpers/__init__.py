"""The tutorial's helpers: load a pipeline, make its inputs, measure it, show what it drew."""

from helpers.grids import image_distance, image_grid, show, xy_grid
from helpers.inputs import cut_words, get_inputs, make_generators
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
    "plot_comparison",
    "read_attributes",
    "read_settings",
    "save_image",
    "show",
    "use_scheduler",
    "wanted_attributes",
    "xy_grid",
]
