"""How fast a machine does each kind of work: from its data sheet, or by a stopwatch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import torch

from helpers.loading import DTYPES
from labs.forecast.gpus import DATA, Card


class Constants(NamedTuple):
    """What was fitted to published times: none of it belongs to one card.

    Example:
        >>> 0 < read_constants()["all"].convolution < 1
        True
    """

    convolution: float  # share of the tensor cores' peak that convolutions reach
    attention: float  # fused attention
    fused: float  # share of the other operations' bytes that compiling leaves
    watts: float  # that a TFLOPS of tensor cores takes at the boost clock, made in 12 nm
    watts_float32: float  # that a TFLOPS of the other cores takes


# Not fitted: what is well known, or too uncertain for more than a round number.
BANDWIDTH = 0.9  # share of the peak that long copies reach
PRODUCT = 0.85  # share of the tensor cores' peak that large matrix products reach
WINOGRAD = 1.5  # convolutions in float32 save multiplications, by Winograd's method
EXACT = 3  # rounded products that fused attention adds up to a float32 product
WITHOUT_TENSOR = 0.5  # share of the peak that float16 reaches on cards without tensor cores
TILE = 128 * 64  # results that one multiprocessor works on at once
# Seconds that a processor takes to launch an operation: a fast one, one as usual, a slow one.
LAUNCH = (20e-6, 35e-6, 65e-6)
LAUNCH_COMPILED = (4e-6, 10e-6, 45e-6)


@dataclass(frozen=True)
class Rates:
    """What a machine does in a second, in one dtype, when it draws.

    Example:
        >>> from labs.forecast.gpus import CARDS
        >>> rates = rates_of(CARDS["T4"], "float16")
        >>> f"{rates.product / 1e12:.0f} TFLOPS, {rates.bandwidth / 1e9:.0f} GB/s"
        '30 TFLOPS, 288 GB/s'
    """

    label: str
    dtype: str
    convolution: float  # floating-point operations a second
    product: float
    attention: float
    bandwidth: float  # bytes a second
    read_weight: float  # seconds to read a weight
    launch: tuple[float, float, float]  # seconds an operation: at best, as usual, at worst
    at_once: float = 1  # results that keep the whole machine at work
    fused: float = 1.0  # share of the other operations' bytes that is left by compiling
    # Seconds that a convolution takes to turn a number to the layout it computes in, of a weight
    # and of what it reads and writes otherwise.
    turn_weight: float = 0.0
    turn: float = 0.0
    asynchronous: bool = True  # operations are launched while earlier ones are at work

    @property
    def itemsize(self) -> int:
        """The bytes of a number."""
        return DTYPES[self.dtype].itemsize


def rates_of(
    card: Card,
    dtype: str | torch.dtype,
    *,
    compiled: bool = False,
    tf32: bool = False,
    constants: Constants | None = None,
) -> Rates:
    """Work out from a card's data sheet what it does in a second.

    Args:
        card: a row of `CARDS`.
        dtype: "float32", "bfloat16" or "float16".
        compiled: whether the UNet is compiled, which spares launches.
        tf32: whether matrix products in float32 may be rounded, as with
            `torch.backends.cuda.matmul.allow_tf32`; convolutions are by PyTorch's own default.
        constants: those of `read_constants()` that were fitted to all published times, if not
            given.

    Raises:
        ValueError: the dtype is none of these, or the card does not have it.

    Example:
        >>> from labs.forecast.gpus import CARDS
        >>> rates_of(CARDS["T4"], "float32").product < rates_of(CARDS["T4"], "float16").product
        True
    """
    name = str(dtype).removeprefix("torch.")
    check_dtype(card, name)
    of = constants or read_constants()["all"]
    convolution, product, attention = _arithmetic(card, name, tf32, of)
    turns = card.tensor_cores if name != "float32" else card.bfloat16
    itemsize, bandwidth = DTYPES[name].itemsize, BANDWIDTH * card.bandwidth
    turn = 2 * itemsize / bandwidth if turns else 0.0  # read and written once more
    return Rates(
        label=card.name,
        dtype=name,
        convolution=convolution,
        product=product,
        attention=attention,
        bandwidth=bandwidth,
        read_weight=itemsize / bandwidth,
        launch=LAUNCH_COMPILED if compiled else LAUNCH,
        at_once=TILE * card.multiprocessors,
        fused=of.fused if compiled else 1.0,
        turn_weight=turn,
        turn=turn,
    )


def check_dtype(card: Card, dtype: str) -> None:
    """Refuse a dtype that there is none of, or that a card would only emulate.

    Raises:
        ValueError: it is so.
    """
    if dtype not in DTYPES:
        raise ValueError(f"{dtype!r} is not a dtype to forecast: use {', '.join(DTYPES)}.")
    if dtype == "bfloat16" and not card.bfloat16:
        raise ValueError(
            f"{card.name}, of {card.year}, has no bfloat16 and would crawl while it emulates it: "
            "use dtype='float16'."
        )


@cache
def read_constants() -> Mapping[str, Constants]:
    """Read the fitted constants: of "all" published times, and without a family or a card.

    Example:
        >>> "without Turing" in read_constants()
        True
    """
    fitted = json.loads((DATA / "constants.json").read_text(encoding="utf-8"))
    return {name: Constants(**values) for name, values in fitted.items()}


def _arithmetic(card: Card, dtype: str, tf32: bool, of: Constants) -> list[float]:
    """The operations a second of convolutions, matrix products and attention."""
    cores = _held(card, "float32", of.watts_float32)
    tensor = _held(card, "tensor", of.watts)
    limit = tensor / 2 if card.halved else tensor
    half = [min(share * tensor, limit) for share in (of.convolution, PRODUCT, of.attention)]
    if dtype != "float32":
        return half if card.tensor_cores else [WITHOUT_TENSOR * cores] * 3
    exact = [WINOGRAD * cores, cores, of.attention * cores]
    if not card.bfloat16:
        return exact
    rounded = [one / 2 for one in half]
    return rounded if tf32 else [rounded[0], exact[1], rounded[2] / EXACT]


def _held(card: Card, unit: str, watts_at_12_nm: float) -> float:
    """The operations a second that a card can hold within the power it is given."""
    peak = card.peak(unit)
    watts = peak / 1e12 * watts_at_12_nm * card.process_nm / 12
    return peak * min(1.0, card.watts / watts) if watts else peak
