"""Small images of latents: near what the decoder makes of them."""

import copy

import numpy as np
import torch
from PIL import Image

from helpers import image_distance
from labs.playground.preview import fit_preview, preview


def test_the_preview_is_near_the_image(pipeline):
    corners = np.random.default_rng(7).integers(0, 255, (4, 4, 3), dtype=np.uint8)
    image = Image.fromarray(corners).resize((128, 128), Image.Resampling.BILINEAR)
    pixels = pipeline.image_processor.preprocess(image)
    with torch.no_grad():
        latents = pipeline.vae.encode(pixels).latent_dist.mode()
    small = preview(latents * pipeline.vae.config.scaling_factor, fit_preview(pipeline.vae))
    assert small.size == (16, 16)
    assert image_distance(small, image.resize((16, 16), Image.Resampling.BOX)) < 12


def test_an_autoencoder_in_float16_is_fitted_too_and_stays_in_float16(pipeline):
    vae = torch.nn.Module.to(copy.deepcopy(pipeline.vae), torch.float16)
    assert torch.allclose(fit_preview(vae), fit_preview(pipeline.vae), atol=0.02)
    assert vae.dtype == torch.float16
