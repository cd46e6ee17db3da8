"""A simulated GPU: a limit that raises, and weights that come and go."""

import pytest
import torch

from helpers.inputs import get_inputs
from helpers.lessons.budget import memory_budget, simulate_offloading
from helpers.memory import bytes_of, peak_memory


def one_step(pipeline):
    return pipeline(**get_inputs(1, num_inference_steps=1))


def test_a_call_runs_out_of_a_budget_below_its_peak_alone(pipeline):
    peak = peak_memory(lambda: one_step(pipeline), pipeline).bytes
    with memory_budget(peak, pipeline):
        one_step(pipeline)
    too_little = memory_budget(0.9 * peak, pipeline)
    with pytest.raises(torch.OutOfMemoryError, match="out of memory"), too_little:
        one_step(pipeline)


def test_offloading_moves_each_component_once_and_needs_less_at_once(pipeline):
    parts = [pipeline.text_encoder, pipeline.unet, pipeline.vae.decoder]
    peak, moved = simulate_offloading(lambda: one_step(pipeline), pipeline, parts)
    assert moved == sum(bytes_of(part.parameters()) for part in parts)
    everything = peak_memory(lambda: one_step(pipeline), pipeline).bytes
    assert bytes_of(pipeline.unet.parameters()) < peak < everything
    assert not any(part._forward_pre_hooks for part in parts)
