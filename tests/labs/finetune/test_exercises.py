"""The checks of the exercises on fine-tuning."""

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model

from labs.finetune.exercises import lora_parameters, merged_weight, smallest_scale


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (None, "Not tried yet"),
        (40, "Right"),
        (24, "Not yet: that is the layer's own"),
        (7, "Not yet: 7"),
    ],
)
def test_lora_parameters(answer, verdict):
    assert lora_parameters(answer, torch.nn.Linear(4, 6), rank=4).startswith(verdict)


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (0.6, "Right: 0.6 is enough"),
        (0.5, "Not yet: at a scale of 0.5"),
        (0.8, "Not yet: 0.8 is enough, but 0.7 is too"),
        (2, "Not yet: try"),
    ],
)
def test_smallest_scale(answer, verdict):
    assert smallest_scale(answer, lambda scale: scale, 0.55).startswith(verdict)


def test_merged_weight():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 6))
    config = LoraConfig(r=2, lora_alpha=4, target_modules=["0"], init_lora_weights=False)
    layer = inject_adapter_in_model(config, model)[0]
    own = layer.get_base_layer().weight
    change = 2 * layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    assert merged_weight(own + change, layer).startswith("Right")
    assert merged_weight(change, layer).startswith("Not yet: that is what the LoRA adds")
    assert merged_weight(own, layer).startswith("Not yet: it is 1.0 times")
    assert merged_weight(change.T, layer).startswith("Not yet: the matrix must be (6, 4)")
