"""Calls of a pipeline whose memory is counted and forecast."""

import pytest

from helpers import get_inputs, peak_memory
from helpers.memory import bytes_of, tensors_of
from labs.forecast import forecast_memory


def draw(pipeline, batch_size=1, **options):
    return pipeline(**get_inputs(batch_size, num_inference_steps=1), **options)


def set_up(pipeline, attention="sdpa", vae_slicing=False, vae_tiling=False):
    """Make the pipeline's own calls for what the forecast knows by name."""
    if attention == "classic":
        pipeline.unet.set_default_attn_processor()
    elif attention == "sliced":
        pipeline.enable_attention_slicing()
    pipeline.vae.use_slicing, pipeline.vae.use_tiling = vae_slicing, vae_tiling
    return pipeline


def assert_forecast(pipeline, model, batch_size=1, dtype="float32", height=None, width=None, **how):
    """Within 5% of the whole, and the activations alone within 5%, which the weights would hide."""
    set_up(pipeline, **how)
    size = {"height": height, "width": width}
    peak = peak_memory(lambda: draw(pipeline, batch_size, **size), pipeline).bytes
    forecast = forecast_memory(model, batch_size=batch_size, dtype=dtype, **size, **how)
    parts = (pipeline.unet, pipeline.vae, pipeline.text_encoder)
    weights = bytes_of(tensors_of(*parts))
    assert set(forecast.weights.values()) == {weights}
    assert forecast.peak == pytest.approx(peak, rel=0.05)
    assert forecast.peak - weights == pytest.approx(peak - weights, rel=0.05)
