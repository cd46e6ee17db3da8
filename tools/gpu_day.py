"""`make gpu-day`: all that is owed where a GPU is at hand, each part kept as soon as it is done.

Twice ten minutes at most: the forecasts of seconds and memory held against runs and the tests that
need CUDA, then the notebooks at full size. On a CPU it runs too, small, to see that it works:
`python -m tools.gpu_day --model tiny-portraits --device cpu --batches 1 2`.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from helpers import get_inputs, load_pipeline, measure
from helpers.memory import free_memory, is_out_of_memory, peak_memory
from labs.forecast.gpus import find_card
from labs.forecast.machine import measure_machine
from labs.forecast.memory import forecast_memory
from labs.forecast.normal import is_this_normal
from labs.forecast.operations import operations_of
from labs.forecast.rates import Rates
from labs.forecast.seconds import forecast_seconds
from tools.benchmark import MEASURED, ROOT, run_notebooks, write_results

if TYPE_CHECKING:
    from helpers.pipelines import StableDiffusion

BATCHES = (1, 4, 8, 16, 32)
STEPS = 20
SCHEDULER = "DPMSolverMultistepScheduler"  # calls the UNet once a step
CUDA_TESTS = ("tests/test_memory.py", "tests/forecast/test_forecast_memory.py")


def seconds(pipeline: StableDiffusion, model: str, batches: Iterable[int]) -> Iterator[dict]:
    """Hold forecasts against runs: by the card's data sheet and by rates measured here.

    Example:
        >>> pipeline = load_pipeline("tiny-portraits", device="cpu", scheduler=SCHEDULER)
        >>> row = next(seconds(pipeline, "tiny-portraits", [1]))
        >>> row["batch_size"], row["seconds"] > 0
        (1, True)
    """
    dtype = str(pipeline.dtype).removeprefix("torch.")
    rates = measure_machine(pipeline.device, dtype)
    for batch in batches:
        measurement = measure(
            partial(_draw, pipeline, batch),
            label=f"batch of {batch}",
            num_inference_steps=STEPS,
            repeats=2,
        )
        row = {"batch_size": batch, "dtype": dtype, "seconds": measurement.seconds}
        row["by rates measured here"] = _forecast(model, rates, batch, dtype)
        try:
            card = find_card(rates.label)
        except ValueError:
            yield row  # not in the table of cards, as a CPU is not
            continue
        row["by the data sheet"] = _forecast(model, card.name, batch, dtype)
        flops = operations_of(model)["UNet step"].total("flops") * 2 * batch * STEPS
        row["share of the peak"] = flops / measurement.seconds / card.peak("tensor")
        row["in words"] = is_this_normal(measurement, model, dtype=dtype)
        yield row


def memory(pipeline: StableDiffusion, model: str, batches: Iterable[int]) -> Iterator[dict]:
    """Hold forecasts of memory against runs, with and without VAE slicing, in bytes.

    Example:
        >>> pipeline = load_pipeline("tiny-portraits", device="cpu")
        >>> row = next(memory(pipeline, "tiny-portraits", [1]))
        >>> abs(row["tensors"] / row["forecast"]["tensors"] - 1) < 0.05
        True
    """
    dtype = str(pipeline.dtype).removeprefix("torch.")
    for batch, slicing in [(one, False) for one in batches] + [(one, True) for one in batches]:
        pipeline.vae.use_slicing = slicing
        forecast = forecast_memory(model, batch_size=batch, dtype=dtype, vae_slicing=slicing)
        row: dict[str, Any] = {"batch_size": batch, "vae_slicing": slicing}
        row["forecast"] = {
            "tensors": forecast.peak,
            "allocated": forecast.allocated,
            "reserved": forecast.reserved,
            "process": forecast.process,
        }
        try:
            row |= _measured_memory(pipeline, batch)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            row["out of memory"] = True
        free_memory()
        yield row
    pipeline.vae.use_slicing = False


def _draw(pipeline: StableDiffusion, batch: int) -> Any:
    return pipeline(**get_inputs(batch, num_inference_steps=STEPS))


def _measured_memory(pipeline: StableDiffusion, batch: int) -> dict[str, int]:
    """What a run takes: of tensors on a CPU; allocated, reserved and in all on a GPU."""
    inputs = get_inputs(batch, num_inference_steps=2)
    if pipeline.device.type != "cuda":
        return {"tensors": peak_memory(lambda: pipeline(**inputs), pipeline).bytes}
    free_memory()
    torch.cuda.reset_peak_memory_stats()
    pipeline(**inputs)
    free, total = torch.cuda.mem_get_info()  # what PyTorch has reserved it still holds
    return {
        "allocated": torch.cuda.max_memory_allocated(),
        "reserved": torch.cuda.max_memory_reserved(),
        "process": total - free,
    }


def _forecast(model: str, gpu: str | Rates, batch: int, dtype: str) -> tuple[float, float, float]:
    forecast = forecast_seconds(
        model, gpu, batch_size=batch, num_inference_steps=STEPS, dtype=dtype
    )
    return forecast.seconds


def cuda_tests(paths: Iterable[str] = CUDA_TESTS) -> Iterator[dict]:
    """Run the tests that need CUDA.

    Example:
        >>> callable(cuda_tests)
        True
    """
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "cuda", *paths]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    yield {"passed": done.returncode == 0, "output": done.stdout[-2000:]}


def notebooks(model: str) -> Iterator[dict]:
    """Run the notebooks that measure, one after the other, and keep what each has measured.

    Example:
        >>> callable(notebooks)
        True
    """
    figures: list[dict[str, Any]] = []
    for name in MEASURED:
        found = run_notebooks(model, [ROOT / "notebooks" / f"{name}.ipynb"])
        figures += found
        write_results(model, figures)
        yield from found


def keep(path: Path, part: str, rows: Iterable[dict], report: Callable[[str], Any] = print) -> None:
    """Write rows as they come, so that what is done is kept if the rest is cut off.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "here.json"
        >>> keep(path, "seconds", [{"batch_size": 1}])
        seconds: {"batch_size": 1}
        >>> json.loads(path.read_text())["seconds"]
        [{'batch_size': 1}]
    """
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    kept[part] = []
    for row in rows:
        kept[part].append(row)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
        report(f"{part}: {json.dumps(row)}")


def main(arguments: list[str] | None = None) -> None:
    """Do the parts that are asked for, and say where their results lie."""
    parser = argparse.ArgumentParser("python -m tools.gpu_day", description=__doc__)
    parser.add_argument("--model", default="sd15-shape", help="a name of MODELS")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES)
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "gpu_day")
    parts = ("seconds", "memory", "tests", "notebooks")
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts)
    asked = parser.parse_args(arguments)
    start = time.perf_counter()
    pipeline = load_pipeline(asked.model, device=asked.device, scheduler=SCHEDULER)
    on_gpu = pipeline.device.type == "cuda"
    machine = torch.cuda.get_device_name() if on_gpu else pipeline.device.type
    name = re.sub(r"[^a-z0-9]+", "-", f"{machine} {asked.model}".lower())
    path = asked.out / f"{name}.json"
    if "seconds" in asked.parts:
        keep(path, "seconds", seconds(pipeline, asked.model, asked.batches))
    if "memory" in asked.parts:
        keep(path, "memory", memory(pipeline, asked.model, asked.batches))
    del pipeline  # the rest needs the memory
    free_memory()
    if "tests" in asked.parts:
        keep(path, "tests", cuda_tests())
    if "notebooks" in asked.parts:
        keep(path, "notebooks", notebooks(asked.model))
    print(f"Written: {path}, after {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
