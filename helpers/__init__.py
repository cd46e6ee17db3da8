"""The tutorial's helpers: load a pipeline, make its inputs, measure it, show its images."""
# ruff: noqa: F401

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
from helpers.memory import PeakMemory, free_memory, peak_memory
from helpers.models import MODELS, MODELS_FOLDER, Model
from helpers.timing import Measurement, measure
