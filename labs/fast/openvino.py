"""Run a pipeline's networks in OpenVINO, which has faster kernels for a CPU than PyTorch."""

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
    from diffusers import StableDiffusionPipeline

SHAPES = 4  # compiled models that a network keeps, each for other shapes of its inputs


def use_openvino(
    pipeline: StableDiffusionPipeline, threads: int | None = None
) -> StableDiffusionPipeline:
    """Run the pipeline's UNet and the decoder of its VAE in OpenVINO.

    Both are converted once, which takes seconds, and compiled for each new shape of their inputs.
    Convert last: what changes a network afterwards (weights, LoRA scales, FreeU, hooks) has no
    effect until this is called again. The UNet runs in PyTorch again after
    `del pipeline.unet.forward`.

    Args:
        pipeline: a Stable Diffusion 1.x pipeline on the CPU; changed in place and returned.
        threads: how many to run in; one for each core if None.

    Raises:
        ModuleNotFoundError: OpenVINO is not installed.
        ValueError: the pipeline is not a Stable Diffusion 1.x on the CPU, or has a network that is
            compiled, hooked or patched.

    Source: OpenVINO, `convert_model` and `compile_model`. Its telemetry is turned off.
    """
    unet = getattr(pipeline, "unet", None)
    device = (pipeline if unet is None else unet).device
    if unet is None or unet.config.get("addition_embed_type") or device.type != "cpu":
        raise ValueError(
            f"Only Stable Diffusion 1.x on the CPU is converted here, not {type(pipeline).__name__}"
            f" on {str(device)!r}: call load_pipeline(device='cpu')."
        )
    decoder = pipeline.vae.decoder
    for network in (unet, decoder):
        if any(map(_is_changed, network.modules())):
            raise ValueError(
                f"The {type(network).__name__} is compiled, hooked or patched and cannot be "
                "converted: load the pipeline again, then call use_openvino first."
            )
    for network in (unet, decoder):
        vars(network).pop("forward", None)  # an earlier conversion, which cannot be traced
    size = unet.config.sample_size
    latents = torch.zeros(2, unet.config.in_channels, size, size)
    tokens = pipeline.tokenizer.model_max_length
    embeddings = torch.zeros(2, tokens, unet.config.cross_attention_dim)
    converted = Converted(unet, threads, latents, torch.tensor(1.0), embeddings)
    clean = torch.zeros(1, pipeline.vae.config.latent_channels, size, size)
    decoder.forward = Converted(decoder, threads, clean)
    unet.forward = _forward_of(converted)
    return pipeline


class Converted:
    """A network's conversion, to be called in place of the network's `forward`.

    Args:
        network: on the CPU, in float32, bfloat16 or float16 (which is computed in float32).
        example: tensors to call the network with, in float32, of any size that it takes.
    """

    def __init__(
        self, network: torch.nn.Module, threads: int | None, *example: torch.Tensor
    ) -> None:
        self.threads = threads
        self.dtype = next(network.parameters()).dtype
        traced = _FirstOutput(network)
        if self.dtype is not torch.float32:  # OpenVINO rounds by itself, where a hint says so
            traced = copy.deepcopy(traced).float()
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # the tracer's: it follows one way through the code
            self._model = _import_openvino().convert_model(traced, example_input=example)
        self._compile = lru_cache(maxsize=SHAPES)(self._compile_for)

    def _compile_for(self, parts: int, *shapes: tuple[int, ...]) -> Any:
        model = self._model.clone()  # which another thread may reshape meanwhile
        model.reshape({index: list(shape) for index, shape in enumerate(shapes)})
        precision = "bf16" if self.dtype is torch.bfloat16 else "f32"
        hints = {"INFERENCE_PRECISION_HINT": precision, "NUM_STREAMS": parts}
        if self.threads:
            hints["INFERENCE_NUM_THREADS"] = self.threads
        return _import_openvino().compile_model(model, "CPU", hints)

    def __call__(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Return what the network returns, in its dtype."""
        arrays = [tensor.detach().float().numpy() for tensor in inputs]
        # Two halves of a batch, each with half of the cores, wait less for one another's threads.
        parts = 2 if len(arrays[0]) % 2 == 0 and self.threads != 1 else 1
        split = [np.split(array, parts) if array.ndim else [array] * parts for array in arrays]
        compiled = self._compile(parts, *(first.shape for first, *_ in split))
        # Requests hold the results, so each call makes its own.
        requests = [compiled.create_infer_request() for _ in range(parts)]
        for request, *part in zip(requests, *split, strict=True):
            request.start_async(part, share_inputs=True)
        for request in requests:
            request.wait()
        results = [request.get_output_tensor().data for request in requests]
        return torch.from_numpy(np.concatenate(results)).to(self.dtype)


def _forward_of(converted: Converted) -> Callable[..., Any]:
    """Return a function that is called as `UNet2DConditionModel.forward` is."""
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput

    def forward(
        sample: torch.Tensor,
        timestep: torch.Tensor | float,
        encoder_hidden_states: torch.Tensor,
        return_dict: bool = True,
        **options: object,
    ) -> UNet2DConditionOutput | tuple[torch.Tensor]:
        if given := [name for name, value in options.items() if value is not None]:
            raise ValueError(
                f"The UNet was converted without {', '.join(given)}: del pipeline.unet.forward "
                "goes back to PyTorch, which can use it."
            )
        noise = converted(sample, torch.tensor(float(timestep)), encoder_hidden_states)
        return UNet2DConditionOutput(noise) if return_dict else (noise,)

    return forward


class _FirstOutput(torch.nn.Module):
    """A network that returns a tensor, not a tuple or an output object."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        output = self.network(*inputs)
        return output if isinstance(output, torch.Tensor) else output[0]


def _is_changed(module: torch.nn.Module) -> bool:
    """Whether a trace of the module would record a change once and for all, or not follow it."""
    forward = vars(module).get("forward")
    plain = getattr(forward, "__func__", None) is type(module).forward  # of a deep copy
    ours = getattr(forward, "__module__", "") == __name__  # of an earlier conversion
    return (
        (forward is not None and not plain and not ours)  # DeepCache and offloading set another one
        or "_orig_mod" in module._modules
        or module._compiled_call_impl is not None
        or bool(module._forward_hooks or module._forward_pre_hooks)
        or getattr(module, "b1", None) is not None  # FreeU
    )


def _import_openvino() -> Any:
    # Importing OpenVINO tells its makers, unless one has opted out. Without this module it cannot.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("OpenVINO is not installed: `make fast` adds it.") from error
    return openvino
