"""The tutorial's helpers: load a pipeline, make its inputs, measure it, show its images."""

from helpers.changes import use_scheduler, use_vae
from helpers.grids import explain_black, image_distance, image_grid, show
from helpers.inputs import cut_words, get_inputs, make_generators, unknown_words
from helpers.judge import Judge, adherence, load_judge, read_attributes, wanted_attributes
from helpers.loading import checkpoint, load_pipeline, pick_device, pick_dtype
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
    "cut_words",
    "explain_black",
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
    "show",
    "unknown_words",
    "use_scheduler",
    "use_vae",
    "wanted_attributes",
]
