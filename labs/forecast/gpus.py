"""The cards that people run or rent: what their data sheets say, and what that is worth here."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from helpers.hub import nearest

DATA = Path(__file__).parent / "data"


class Architecture(NamedTuple):
    """Floating-point operations that one multiprocessor does in one clock tick.

    Example:
        >>> ARCHITECTURES["Turing"].tensor // ARCHITECTURES["Turing"].float32
        8
    """

    float32: int
    tensor: int = 0  # float16 in tensor cores; 0 where there are none
    bfloat16: bool = False  # whether these take it, and float32 rounded to 19 bits at half the rate


# Source: NVIDIA's architecture whitepapers, dense figures.
ARCHITECTURES = {
    "Pascal": Architecture(256),
    "Pascal P100": Architecture(128),
    "Volta": Architecture(128, 1024),
    "Turing": Architecture(128, 1024),
    "Ampere A100": Architecture(128, 2048, True),
    "Ampere": Architecture(256, 1024, True),
    "Ada": Architecture(256, 1024, True),
    "Hopper": Architecture(256, 4096, True),
    "Blackwell": Architecture(256, 1024, True),
    "Blackwell B200": Architecture(256, 8192, True),
}


@dataclass(frozen=True)
class Card:
    """One row of `CARDS`: a GPU as its data sheet describes it.

    Example:
        >>> card = CARDS["RTX 3090"]
        >>> f"{card.peak('tensor') / 1e12:.0f} TFLOPS, {card.memory / 2**30:.1f} GiB"
        '142 TFLOPS, 23.7 GiB'
    """

    name: str  # as PyTorch gives it, without the maker's name
    architecture: str
    year: int
    process_nm: int
    multiprocessors: int
    boost_mhz: int
    halved: bool  # tensor cores sum float32 at half their rate, as GeForce cards do
    bandwidth_gbs: int
    watts: float
    memory_gib: float  # what PyTorch finds of the memory on the box
    memory_seen: bool  # read in a message of PyTorch, or else estimated
    source: str
    also: tuple[str, ...] = field(default=(), compare=False)

    @property
    def family(self) -> str:
        """The generation: what is tested with cards of the others alone."""
        return self.architecture.split()[0]

    @property
    def bfloat16(self) -> bool:
        """Whether it computes in bfloat16, rather than emulate it at a crawl."""
        return ARCHITECTURES[self.architecture].bfloat16

    @property
    def tensor_cores(self) -> bool:
        """Whether it has tensor cores."""
        return ARCHITECTURES[self.architecture].tensor > 0

    def attention_in_memory(self, attention: str) -> str:
        """The kind of attention to forecast memory by: older cards seem to keep all scores."""
        return "classic" if attention == "sdpa" and not self.tensor_cores else attention

    @property
    def memory(self) -> float:
        """The bytes of memory that PyTorch finds."""
        return self.memory_gib * 2**30

    @property
    def bandwidth(self) -> float:
        """The bytes that pass between the chip and its memory in a second, at most."""
        return self.bandwidth_gbs * 1e9

    def peak(self, unit: str) -> float:
        """The operations a second, at the boost clock, of "float32" or "tensor" units."""
        per_tick = getattr(ARCHITECTURES[self.architecture], unit)
        return float(per_tick) * self.multiprocessors * self.boost_mhz * 1e6


def find_card(name: str, cards: Mapping[str, Card] | None = None) -> Card:
    """Find a card by its name, as PyTorch or as people write it.

    Args:
        name: such as "T4", "RTX 4090", "a100", or what `torch.cuda.get_device_name()` returns.
        cards: where to look, `CARDS` if not given.

    Raises:
        ValueError: there is no such card; the nearest names are given.

    Example:
        >>> find_card("NVIDIA GeForce RTX 4090").year, find_card("a100").name
        (2022, 'A100-SXM4-40GB')
    """
    cards = CARDS if cards is None else cards
    known = {_plain(one): card for card in cards.values() for one in (card.name, *card.also)}
    if (found := known.get(_plain(name))) is None:
        raise ValueError(
            f"There is no {name!r} in the table of GPUs. {nearest(name, cards)} To forecast your "
            "own, let it be measured: measure_machine(). To add a card: its row of gpus.csv."
        )
    return found


def _plain(name: str) -> str:
    """A name in small letters, without the maker's and the line's, dashes or spaces."""
    words = name.lower().replace("-", " ").split()
    return "".join(word for word in words if word not in {"nvidia", "geforce", "tesla", "gpu"})


def _read_cards() -> dict[str, Card]:
    with (DATA / "gpus.csv").open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    cards = (
        Card(
            name=row["name"],
            architecture=row["architecture"],
            year=int(row["year"]),
            process_nm=int(row["process_nm"]),
            multiprocessors=int(row["multiprocessors"]),
            boost_mhz=int(row["boost_mhz"]),
            halved=row["halved"] == "yes",
            bandwidth_gbs=int(row["bandwidth_gbs"]),
            watts=float(row["watts"]),
            memory_gib=float(row["memory_gib"]),
            memory_seen=row["memory_seen"] == "yes",
            source=row["source"],
            also=tuple(filter(None, row["also"].split(";"))),
        )
        for row in rows
    )
    return {card.name: card for card in cards}


CARDS: dict[str, Card] = _read_cards()
