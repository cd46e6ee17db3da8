"""Faster than PyTorch alone: OpenVINO, and LoRA weights for few-step sampling."""

from labs.fast.few_steps import use_few_steps
from labs.fast.openvino import use_openvino

__all__ = ["use_few_steps", "use_openvino"]
