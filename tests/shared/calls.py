"""Calls of a pipeline whose memory is counted."""

from helpers import get_inputs


def generate(pipeline, batch_size=1, **options):
    return pipeline(**get_inputs(batch_size, num_inference_steps=1), **options)


def set_up(pipeline, attention="sdpa", vae_slicing=False):
    """Make the pipeline's own calls for these settings."""
    if attention == "classic":
        pipeline.unet.set_default_attn_processor()
    elif attention == "sliced":
        pipeline.enable_attention_slicing()
    pipeline.vae.use_slicing = vae_slicing
    return pipeline
