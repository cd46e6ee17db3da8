"""The checks of the exercises on fine-tuning: wrong answers that their solutions do not show."""

import numpy as np
import torch
from peft import LoraConfig, inject_adapter_in_model
from PIL import Image, ImageOps

from labs.finetune.exercises import in_palette, merged_weight


def recolor(image, palette):
    light = np.asarray(image.convert("L"), float) / 255
    stops = np.linspace(0, 1, len(palette))
    channels = [np.interp(light, stops, channel) for channel in np.transpose(palette)]
    return Image.fromarray(np.stack(channels, -1).astype(np.uint8))


def test_in_palette():
    image, night = Image.linear_gradient("L").convert("RGB"), [(0, 0, 60), (200, 220, 255)]
    assert "not where they were" in in_palette(recolor(ImageOps.invert(image), night), image, night)
    assert in_palette(image.resize((8, 8)), image, night).startswith("Not yet: the image must be")


def test_merged_weight():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 6))
    config = LoraConfig(r=2, lora_alpha=4, target_modules=["0"], init_lora_weights=False)
    layer = inject_adapter_in_model(config, model)[0]
    own = layer.get_base_layer().weight
    change = 2 * layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    assert merged_weight(own, layer).startswith("Not yet: it is 1.0 times")
    assert merged_weight(change.T, layer).startswith("Not yet: the matrix must be (6, 4)")
