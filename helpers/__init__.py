"""The tutorial's helpers: load a pipeline, make its inputs, measure it, show its images."""

from helpers.grids import image_distance, image_grid, show
from helpers.inputs import get_inputs, make_generators, truncated_words
from helpers.judge import Judge, adherence, load_judge, read_attributes, wanted_attributes
from helpers.loading import (
    checkpoint,
    cpu_threads,
    load_pipeline,
    pick_device,
    pick_dtype,
    set_threads_for,
    use_scheduler,
)
from helpers.memory import PeakMemory, free_memory, largest_batch, peak_memory
from helpers.models import MODELS, MODELS_FOLDER, Model
from helpers.timing import Measurement, compare, measure

__all__ = [
    "MODELS",
    "MODELS_FOLDER",
    "Judge",
    "Measurement",
    "Model",
    "PeakMemory",
    "adherence",
    "checkpoint",
    "compare",
    "cpu_threads",
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
    "read_attributes",
    "set_threads_for",
    "show",
    "truncated_words",
    "use_scheduler",
    "wanted_attributes",
]
