"""The training loop: a loss, an optimizer, and weights that are saved on the way."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline, UNet2DConditionModel
    from torch.utils.hooks import RemovableHandle

WARMUP = 5  # steps in which the learning rate rises


def train(
    parameters: Iterable[torch.nn.Parameter],
    loss_of: Callable[[torch.Generator], torch.Tensor],
    *,
    steps: int,
    learning_rate: float,
    save: Callable[[], object] = lambda: None,
    report: Callable[[int, list[float]], object] | None = None,
    every: int = 50,
    seed: int = 0,
) -> list[float]:
    """Train parameters with AdamW, its learning rate falling to zero, for a number of steps.

    The number of steps, not the time, decides when it ends, so that a seed gives the same result
    again. An interrupt (the stop button, Ctrl+C) ends it early and keeps what was learned; if the
    process is killed, what was saved last is there.

    Args:
        loss_of: computes the loss of one batch, all of its randomness from the generator.
        save: called every 10 steps and at the end.
        report: called with the number of steps done and the losses so far, after `every` steps.

    Returns:
        The loss of each step.

    Raises:
        ValueError: there is nothing to train.
        FloatingPointError, RuntimeError: the loss or a gradient is not a finite number.
    """
    parameters = [param for param in parameters if param.requires_grad]
    if not parameters:
        raise ValueError("No parameter requires a gradient: call unet.add_adapter(...) first.")
    optimizer = torch.optim.AdamW(parameters, learning_rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / WARMUP) * (1 - step / steps)
    )
    generator = torch.Generator("cpu").manual_seed(seed)
    losses: list[float] = []
    try:
        for step in range(1, steps + 1):
            optimizer.zero_grad()  # also of what an earlier training left
            loss = loss_of(generator)
            if not torch.isfinite(loss):
                raise FloatingPointError(
                    f"The loss of step {step} is {loss.item()}: lower the learning rate."
                )
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0, error_if_nonfinite=True)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
            if step % 10 == 0:
                save()
            if report and step % every == 0:
                report(step, losses)
    except KeyboardInterrupt:
        print(f"Interrupted after {len(losses)} of {steps} steps; what was learned is kept.")
    optimizer.zero_grad()
    save()
    return losses


def save_lora(unet: UNet2DConditionModel, folder: str | Path) -> Path:
    """Save a UNet's active LoRA as `load_lora_weights` reads it; a kill never leaves half a file.

    Returns:
        The safetensors file, which holds the weights and the `LoraConfig`.
    """
    from diffusers import StableDiffusionPipeline
    from peft.utils import get_peft_model_state_dict

    (name,) = unet.active_adapters()
    Path(folder).mkdir(parents=True, exist_ok=True)
    layers, config = get_peft_model_state_dict(unet, adapter_name=name), unet.peft_config[name]
    options = {"unet_lora_layers": layers, "unet_lora_adapter_metadata": config.to_dict()}
    with tempfile.TemporaryDirectory(dir=folder) as new:
        StableDiffusionPipeline.save_lora_weights(new, **options)
        (file,) = Path(new).iterdir()
        return file.replace(Path(folder) / file.name)


def add_word(
    pipeline: DiffusionPipeline, word: str, like: str
) -> tuple[torch.nn.Parameter, RemovableHandle]:
    """Teach the tokenizer a new word, whose vector can be trained while all weights stay.

    Args:
        word: such as "<gold>"; nothing that the tokenizer knows.
        like: the word whose vector is its start.

    Returns:
        The vector, and a handle whose `remove` ends the vector's use.

    Raises:
        ValueError: `like` is not a single token, or the tokenizer knows the new word.

    Source: Gal et al. 2022, "An Image is Worth One Word".
    """
    tokens, known = pipeline.tokenizer([like, word], add_special_tokens=False).input_ids
    if len(known) == 1:
        raise ValueError(f"The tokenizer knows {word!r} already: choose another word.")
    if len(tokens) != 1:
        raise ValueError(f"{like!r} is read as {len(tokens)} tokens: choose a word that is one.")
    for part in (pipeline.unet, pipeline.text_encoder):
        part.requires_grad_(False)
    table = pipeline.text_encoder.get_input_embeddings()
    start = table.weight[tokens[0]].clone()
    pipeline.load_textual_inversion({word: start}, token=word)
    token, vector = pipeline.tokenizer.convert_tokens_to_ids(word), torch.nn.Parameter(start)

    def put(table: torch.nn.Module, inputs: tuple[torch.Tensor], found: torch.Tensor) -> Any:
        return torch.where((inputs[0] == token)[..., None], vector, found)

    table = pipeline.text_encoder.get_input_embeddings()  # a new one, a row longer
    return vector, table.register_forward_hook(put)
