"""Run a pipeline's networks in OpenVINO, which has faster kernels for a CPU than PyTorch."""

from __future__ import annotations

import copy
import sys
import threading
import warnings
from collections.abc import Iterator
from functools import lru_cache
from types import MethodType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from diffusers import StableDiffusionPipeline
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput

SHAPES = 4  # compiled models that a network keeps, each for other shapes of its inputs
INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # by their bytes


def use_openvino(pipeline: StableDiffusionPipeline) -> StableDiffusionPipeline:
    """Run the pipeline's UNet and the decoder of its VAE in OpenVINO.

    Both are converted once, which takes seconds, and compiled for each new shape of their inputs.
    What changes a network afterwards (weights, LoRA scales, FreeU, hooks) has no effect on its
    conversion, so the next image is refused until this is called again. The pipeline can be called
    from several threads, if each has a copy of the scheduler. A `copy.deepcopy` of the pipeline
    runs in PyTorch, and so does the pipeline after `del pipeline.unet.forward`.

    Args:
        pipeline: a Stable Diffusion 1.x pipeline on the CPU; changed in place and returned.

    Raises:
        ModuleNotFoundError: OpenVINO is not installed.
        ValueError: the pipeline is not on the CPU, is not a Stable Diffusion 1.x, or has a network
            that is compiled, hooked, patched or uses FreeU.

    Source: OpenVINO, `convert_model` and `compile_model`. Its telemetry is turned off.
    """
    _check(pipeline)
    unet, decoder = pipeline.unet, pipeline.vae.decoder
    for network in (unet, decoder):
        vars(network).pop("forward", None)  # an earlier conversion, which cannot be traced
    size = unet.config.sample_size
    latents = torch.zeros(2, unet.config.in_channels, size, size)
    tokens = pipeline.tokenizer.model_max_length
    embeddings = torch.zeros(2, tokens, unet.config.cross_attention_dim)
    converted_unet = ConvertedUNet(unet, latents, torch.tensor(1.0), embeddings)
    decoder.forward = Converted(decoder, latents[:1])
    unet.forward = converted_unet
    return pipeline


class Converted:
    """A network's conversion, to be called in place of the network's `forward`.

    Args:
        network: on the CPU, in float32, bfloat16 or float16 (which is computed in float32).
        example: tensors to call the network with, in float32, of any size that it takes.
    """

    def __init__(self, network: torch.nn.Module, *example: torch.Tensor) -> None:
        self.network = network
        self.dtype = next(network.parameters()).dtype
        traced = _FirstOutput(network)
        if self.dtype is not torch.float32:  # OpenVINO rounds by itself, where a hint says so
            traced = copy.deepcopy(traced).float()
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # the tracer's: it follows one way through the code
            self._model = _import_openvino().convert_model(traced, example_input=example)
        self._lock = threading.Lock()
        self._compile = lru_cache(maxsize=SHAPES)(self._compile_for)
        self._state = state_of(network)

    def __call__(self, *inputs: torch.Tensor) -> Any:
        """Return what the network returns, in its dtype."""
        self.check()
        return self._infer(*inputs)

    def check(self) -> None:
        """Raise ValueError if the network's weights or settings have changed."""
        if state_of(self.network) != self._state:
            raise ValueError(
                f"The {type(self.network).__name__} has changed since it was converted: call "
                "use_openvino again."
            )

    def __deepcopy__(self, memo: dict[int, Any]) -> MethodType:
        """Give the network's copy PyTorch's `forward` back, as a conversion knows one network."""
        return MethodType(type(self.network).forward, copy.deepcopy(self.network, memo))

    def _compile_for(self, parts: int, *shapes: tuple[int, ...]) -> Any:
        self._model.reshape({index: list(shape) for index, shape in enumerate(shapes)})
        precision = "bf16" if self.dtype is torch.bfloat16 else "f32"
        hints = {"INFERENCE_PRECISION_HINT": precision, "NUM_STREAMS": parts}
        return _import_openvino().compile_model(self._model, "CPU", hints)

    def _infer(self, *inputs: torch.Tensor) -> torch.Tensor:
        arrays = [tensor.detach().float().numpy() for tensor in inputs]
        # Two halves of a batch, each with half of the cores, wait less for one another's threads.
        parts = 2 if len(arrays[0]) % 2 == 0 else 1
        split = [np.split(array, parts) if array.ndim else [array] * parts for array in arrays]
        with self._lock:  # two threads may ask for new shapes at once
            compiled = self._compile(parts, *(arrays[0].shape for arrays in split))
        # Requests hold the results, so each call makes its own.
        requests = [compiled.create_infer_request() for _ in range(parts)]
        for request, *part in zip(requests, *split, strict=True):
            request.start_async(part, share_inputs=True)
        for request in requests:
            request.wait()
        results = [request.get_output_tensor().data for request in requests]
        return torch.from_numpy(np.concatenate(results)).to(self.dtype)


class ConvertedUNet(Converted):
    """A UNet's conversion. The UNet is checked once for each image, not at every step."""

    def __init__(self, network: torch.nn.Module, *example: torch.Tensor) -> None:
        super().__init__(network, *example)
        self._thread = threading.local()

    def __call__(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor | float,
        encoder_hidden_states: torch.Tensor,
        return_dict: bool = True,
        **options: object,
    ) -> UNet2DConditionOutput | tuple[torch.Tensor]:
        """Predict the noise as `UNet2DConditionModel.forward` does."""
        from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput

        if given := [name for name, value in options.items() if value is not None]:
            raise ValueError(
                f"The UNet was converted without {', '.join(given)}: del pipeline.unet.forward "
                "goes back to PyTorch, which can use it."
            )
        time = float(timestep)
        if time >= getattr(self._thread, "last_time", 0.0):  # timesteps fall until the next image
            self.check()
        self._thread.last_time = time
        noise = self._infer(sample, torch.tensor(time), encoder_hidden_states)
        return UNet2DConditionOutput(noise) if return_dict else (noise,)


class _FirstOutput(torch.nn.Module):
    """A network that returns a tensor, not a tuple or an output object."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        output = self.network(*inputs)
        return output if isinstance(output, torch.Tensor) else output[0]


def state_of(network: torch.nn.Module) -> tuple[list[int], list[str]]:
    """What a network computes with: a checksum of each tensor, and each module's settings.

    The checksum adds the tensor's bits as integers. Unlike PyTorch's version counters it also sees
    what is written through `param.data`. The settings are all other attributes of the modules: LoRA
    scales, FreeU's factors, hooks, attention processors.
    """
    tensors = [*network.parameters(), *network.buffers()]
    integers = [tensor.detach().view(INTEGERS[tensor.element_size()]) for tensor in tensors]
    checksums = [int(integer.sum(dtype=torch.int32)) for integer in integers]
    settings = []
    for module in network.modules():
        attributes = {name: value for name, value in vars(module).items() if value is not None}
        for name in ("_parameters", "_buffers", "_modules", "forward" if module is network else ""):
            attributes.pop(name, None)
        settings.append(repr(sorted(attributes.items())))
    return checksums, settings


def _check(pipeline: StableDiffusionPipeline) -> None:
    """Refuse what the conversion would get wrong."""
    unet, vae = getattr(pipeline, "unet", None), getattr(pipeline, "vae", None)
    decoder = getattr(vae, "decoder", None)
    for network in (unet, decoder):
        if isinstance(network, torch.nn.Module) and (changes := sorted(set(_changes(network)))):
            raise ValueError(
                f"The {type(network).__name__} has {', '.join(changes)}, which cannot be "
                "converted: remove that, or load the pipeline again, then call use_openvino."
            )
    needs = getattr(getattr(unet, "config", None), "addition_embed_type", None)
    if type(unet).__name__ != "UNet2DConditionModel" or needs or decoder is None:
        raise ValueError(
            f"{type(pipeline).__name__} is not a Stable Diffusion 1.x pipeline, and only that is "
            "converted here: optimum-intel converts many others."
        )
    if unet.device.type != "cpu":
        raise ValueError(
            f"OpenVINO runs on the CPU here, and this pipeline is on {str(unet.device)!r}: load "
            "another with load_pipeline(device='cpu')."
        )


def _changes(network: torch.nn.Module) -> Iterator[str]:
    """Name what a trace would record once and for all, or not follow."""
    for module in network.modules():
        forward = vars(module).get("forward")
        plain = getattr(forward, "__func__", None) is type(module).forward  # of a deep copy
        if "_orig_mod" in module._modules or module._compiled_call_impl is not None:
            yield "torch.compile"
        elif forward is not None and not plain and not isinstance(forward, Converted):
            yield "another forward (DeepCache and offloading set one)"
        if module._forward_hooks or module._forward_pre_hooks:
            yield "a forward hook"
        if getattr(module, "b1", None) is not None:
            yield "FreeU"


def _import_openvino() -> Any:
    # Importing OpenVINO tells its makers, unless one has opted out. Without this module it cannot.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "OpenVINO is not installed: `pip install openvino` adds it."
        ) from error
    return openvino
