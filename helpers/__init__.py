"""The tutorial's helpers: load a pipeline, make its inputs, measure it, show what it drew."""

import gc
from typing import TYPE_CHECKING, Any

from helpers.changes import use_scheduler, use_vae
from helpers.fast.few_steps import use_few_steps
from helpers.fast.openvino import use_openvino
from helpers.forecast.machine import measure_machine
from helpers.forecast.memory import GPUS, Forecast, forecast_memory, what_fits
from helpers.forecast.normal import is_this_normal
from helpers.forecast.price import what_will_it_take
from helpers.forecast.seconds import forecast_seconds
from helpers.grids import explain_black, image_distance, image_grid, show
from helpers.inputs import cut_words, get_inputs, make_generators, unknown_words
from helpers.judge import Judge, adherence, load_judge, read_attributes, wanted_attributes
from helpers.lessons.plots import describe, plot_comparison
from helpers.loading import checkpoint, load_pipeline, pick_device, pick_dtype
from helpers.memory import PeakMemory, free_memory, largest_batch, peak_memory
from helpers.models import MODELS, MODELS_FOLDER, Model
from helpers.pictures.settings import Settings, read_settings, save_image
from helpers.pictures.xy_grid import xy_grid
from helpers.sweeps.running import sweep
from helpers.timing import Measurement, compare, measure

gc.set_threshold(10_000)  # less often: the libraries make half a million objects, and all stay
if TYPE_CHECKING:
    from helpers.widgets.player import playground

__all__ = [
    "GPUS",
    "MODELS",
    "MODELS_FOLDER",
    "Forecast",
    "Judge",
    "Measurement",
    "Model",
    "PeakMemory",
    "Settings",
    "adherence",
    "checkpoint",
    "compare",
    "cut_words",
    "describe",
    "explain_black",
    "forecast_memory",
    "forecast_seconds",
    "free_memory",
    "get_inputs",
    "image_distance",
    "image_grid",
    "is_this_normal",
    "largest_batch",
    "load_judge",
    "load_pipeline",
    "make_generators",
    "measure",
    "measure_machine",
    "peak_memory",
    "pick_device",
    "pick_dtype",
    "playground",
    "plot_comparison",
    "read_attributes",
    "read_settings",
    "save_image",
    "show",
    "sweep",
    "unknown_words",
    "use_few_steps",
    "use_openvino",
    "use_scheduler",
    "use_vae",
    "wanted_attributes",
    "what_fits",
    "what_will_it_take",
    "xy_grid",
]


def __getattr__(name: str) -> Any:
    """Import the playground when it is asked for, so that all else works without ipywidgets."""
    if name == "playground":
        from helpers.widgets.player import playground

        return playground
    raise AttributeError(f"module 'helpers' has no attribute {name!r}")
