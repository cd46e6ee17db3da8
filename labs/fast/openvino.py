"""Convert the pipeline's networks for OpenVINO, which runs them faster on a CPU."""

from __future__ import annotations

import copy
import sys
import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline


def use_openvino(pipeline: DiffusionPipeline) -> DiffusionPipeline:
    """Run the pipeline's UNet and the decoder of its autoencoder in OpenVINO.

    Each is converted once, in seconds, and compiled for every new shape of its inputs. If its
    weights are changed later, it refuses to draw with the old ones: call this again.
    `del pipeline.unet.forward` goes back to PyTorch.

    Args:
        pipeline: a Stable Diffusion 1.x on the CPU; changed in place. If it was converted before,
            it is converted anew.

    Returns:
        The same pipeline.

    Raises:
        ModuleNotFoundError: OpenVINO is not installed.
        ValueError: the pipeline is not on the CPU, or no Stable Diffusion 1.x.

    Source: OpenVINO, `convert_model` and `compile_model`. Its telemetry is left out.

    Example:
        >>> from helpers import load_pipeline
        >>> pipeline = use_openvino(load_pipeline("tiny-portraits", device="cpu"))
        >>> pipeline("a knight", num_inference_steps=2).images[0].size
        (128, 128)
    """
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput

    _check(pipeline)
    unet, decoder = pipeline.unet, pipeline.vae.decoder
    for part in (unet, decoder):
        vars(part).pop("forward", None)  # of an earlier conversion, which cannot be traced
    size = unet.config.sample_size
    latents = torch.zeros(2, unet.config.in_channels, size, size)
    embeddings = torch.zeros(
        2, pipeline.tokenizer.model_max_length, unet.config.cross_attention_dim
    )
    ask = _convert(_Plain(unet), latents, torch.tensor(1.0), embeddings)
    decode = _convert(decoder, latents[:1])
    last = 0.0  # step of the schedule

    def forward(
        sample: torch.Tensor,
        timestep: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        return_dict: bool = True,
        **options: object,
    ) -> UNet2DConditionOutput | tuple[torch.Tensor]:
        if given := [name for name, value in options.items() if value is not None]:
            raise ValueError(
                f"The UNet was converted without {', '.join(given)}: "
                "del pipeline.unet.forward goes back to PyTorch, which knows more."
            )
        nonlocal last
        time = torch.as_tensor(timestep)
        now = float(time.max())
        if now >= last:  # a new picture: to look through all weights takes a quarter of a step
            _check_versions(converted, unet, decoder)
        last = now
        noise = ask(sample, time, encoder_hidden_states)
        return UNet2DConditionOutput(noise) if return_dict else (noise,)

    def decode_latents(sample: torch.Tensor, *_: object) -> torch.Tensor:
        _check_versions(converted, unet, decoder)
        return decode(sample)

    unet.forward, decoder.forward = forward, decode_latents
    converted = _versions(unet, decoder)
    return pipeline


def _check(pipeline: DiffusionPipeline) -> None:
    """Refuse what the conversion would get wrong: another network, or one that asks for more."""
    unet, vae = getattr(pipeline, "unet", None), getattr(pipeline, "vae", None)
    needs = getattr(getattr(unet, "config", None), "addition_embed_type", None)
    if type(unet).__name__ != "UNet2DConditionModel" or needs or not hasattr(vae, "decoder"):
        raise ValueError(
            f"{type(pipeline).__name__} is no Stable Diffusion 1.x, and only that is converted "
            "here: optimum-intel converts many others."
        )
    if pipeline.unet.device.type != "cpu":
        raise ValueError(
            f"OpenVINO is for the CPU here, and this pipeline is on {str(pipeline.unet.device)!r}: "
            "make another with load_pipeline(device='cpu')."
        )


def _check_versions(converted: list[tuple[int, int]], *modules: torch.nn.Module) -> None:
    """Refuse to draw with weights that were converted and are no longer those of the pipeline."""
    if _versions(*modules) != converted:
        raise ValueError(
            "The weights have changed since they were converted: call use_openvino again."
        )


def _versions(*modules: torch.nn.Module) -> list[tuple[int, int]]:
    """Which tensors networks have, and how often each was written to."""
    return [(id(one), one._version) for module in modules for one in module.parameters()]


class _Plain(torch.nn.Module):
    """A UNet that returns a tensor."""

    def __init__(self, unet: torch.nn.Module) -> None:
        super().__init__()
        self.unet = unet

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return self.unet(*inputs, return_dict=False)[0]


def _convert(module: torch.nn.Module, *example: torch.Tensor) -> Callable[..., torch.Tensor]:
    """Return a function that computes what the module does, compiled for each shape it meets."""
    # Importing OpenVINO tells its makers, unless one has opted out. Without this it cannot.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "OpenVINO is not installed: `pip install openvino` adds it."
        ) from error
    dtype = next(module.parameters()).dtype
    hint = {"INFERENCE_PRECISION_HINT": "bf16" if dtype is torch.bfloat16 else "f32"}
    if dtype is not torch.float32:  # OpenVINO rounds by itself, where the hint says so
        module = copy.deepcopy(module).float()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of the tracer: it follows one way through the code
        model = openvino.convert_model(module, example_input=example)

    @lru_cache
    def requests_for(count: int, *shapes: tuple[int, ...]) -> list[Any]:
        model.reshape({place: list(shape) for place, shape in enumerate(shapes)})
        compiled = openvino.compile_model(model, "CPU", hint | {"NUM_STREAMS": count})
        return [compiled.create_infer_request() for _ in range(count)]

    def run(*tensors: torch.Tensor) -> torch.Tensor:
        arrays = [tensor.float().numpy() for tensor in tensors]
        # Two halves side by side, each with half of the cores, have less to wait for one another.
        count = 2 if len(arrays[0]) % 2 == 0 else 1
        parts = [np.split(array, count) if array.ndim else [array] * count for array in arrays]
        requests = requests_for(count, *(part[0].shape for part in parts))
        for request, *inputs in zip(requests, *parts, strict=True):
            request.start_async(inputs, share_inputs=True)
        for request in requests:
            request.wait()
        results = [request.get_output_tensor().data for request in requests]
        return torch.from_numpy(np.concatenate(results)).to(dtype)

    return run
