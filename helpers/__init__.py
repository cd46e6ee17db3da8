"""The tutorial's helpers: load a pipeline, make its inputs, measure it, show what it drew."""

from helpers.grids import explain_black, image_distance, image_grid, show
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
    use_vae,
)
from helpers.memory import (
    GPUS,
    Forecast,
    PeakMemory,
    forecast_memory,
    free_memory,
    largest_batch,
    peak_memory,
    what_fits,
)
from helpers.timing import Measurement, compare, describe, measure, plot_comparison

__all__ = [
    "GPUS",
    "MODELS",
    "MODELS_FOLDER",
    "Forecast",
    "Judge",
    "Measurement",
    "Model",
    "PeakMemory",
    "adherence",
    "compare",
    "cut_words",
    "describe",
    "explain_black",
    "forecast_memory",
    "free_memory",
    "get_inputs",
    "image_distance",
    "image_grid",
    "largest_batch",
    "load_judge",
    "load_pipeline",
    "make_generators",
    "measure",
    "peak_memory",
    "pick_device",
    "pick_dtype",
    "plot_comparison",
    "read_attributes",
    "show",
    "use_scheduler",
    "use_vae",
    "wanted_attributes",
    "what_fits",
]
