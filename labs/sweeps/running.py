"""Run a sweep: generate this process's share, help the others, and write a table of all jobs."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from tqdm import tqdm

from helpers import cpu_threads, load_pipeline, pick_device, set_threads_for
from labs.images import Settings
from labs.images.generate import check_pipeline
from labs.sweeps.generating import Failures, generate_share, limit_for, shared_settings, size_of
from labs.sweeps.jobs import FIELDS, Job, describe_jobs, is_complete, read_jobs
from labs.sweeps.tables import write_csv

if TYPE_CHECKING:
    import pandas
    from diffusers import DiffusionPipeline

COLUMNS = ("file", *FIELDS, "model", "dtype", "seconds", "problem")


def sweep(
    jobs: str | Path | Mapping[str, Any] | Iterable[Job],
    folder: str | Path,
    *,
    model: str | Path = "tiny-portraits",
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    batch_size: int | None = None,
) -> pandas.DataFrame | None:
    """Generate an image for each job into a folder; images that are there already are kept.

    Started by `notebook_launcher`, `accelerate launch` or `torchrun`, each process generates its
    share, on its own GPU, and then helps with what is missing in the shares of others. The
    processes do not talk to each other: the folder tells what is done. After an interruption at
    any time, the same call generates what is missing. At the end the folder also holds table.csv,
    and a sentence says how long it took.

    Args:
        jobs: rows or values to combine (see `read_jobs`). A job may set prompt, negative_prompt,
            seed, num_inference_steps, guidance_scale, scheduler, height, width, lora (a path) and
            lora_strength.
        folder: where the images go, the same for all processes; made if it is missing.
        model: for `load_pipeline`, as are device and dtype: a name of MODELS, an id on the Hub or
            a folder.
        batch_size: the most images at once; None for what suits their size and the device. A batch
            that runs out of memory is halved.

    Returns:
        In the first process, a table with a row for each image, which equal jobs share, and below
        these one for each refused job: its file, settings, model and dtype, the seconds that it
        took (its share of those of its batch), and its problem, "" if the image is there. None in
        the others.

    Raises:
        ValueError: there is no job, or the model, device, dtype or batch size does not fit.
        OSError: the folder cannot be written to, or the disk is full.
        RuntimeError: three images failed in the same way.

    Source: accelerate, "Distributed inference"; diffusers issues 2977, 4920 and 10640.
    """
    start = time.monotonic()
    rows, folder = read_jobs(jobs), Path(folder).expanduser()
    if batch_size is not None and not (isinstance(batch_size, Integral) and batch_size > 0):
        raise ValueError(f"batch_size should be a whole number from 1, not {batch_size!r}.")
    folder.mkdir(parents=True, exist_ok=True)
    process, processes = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    pipeline = load_pipeline(model, device=_device(device), dtype=dtype)
    check_pipeline(pipeline)
    wanted, refused = describe_jobs(rows, pipeline)
    if process == 0:
        for name in wanted.keys() & os.listdir(folder):
            if not is_complete(folder / name):
                (folder / name).unlink(missing_ok=True)
    before = _count(wanted, folder)
    try:
        with cpu_threads(torch.get_num_threads()):  # which restores their number
            threads = set_threads_for(pipeline)
            if os.environ.get("OMP_NUM_THREADS") != str(threads):  # counts per process already
                torch.set_num_threads(max(1, threads // _processes_here()))
            failures = _generate(pipeline, wanted, folder, process, processes, batch_size)
        if process > 0:
            return None
        table = _tabulate(wanted, refused, failures, folder)
        write_csv(folder / "table.csv", table)
    except KeyboardInterrupt:
        there = _count(wanted, folder)
        print(f"{there:,} of {len(wanted):,} images are there: run the same again for the rest.")
        raise
    for problem, count in Counter(job["problem"] for job in refused).items():
        print(f"{count:,} {'job is' if count == 1 else 'jobs are'} refused: {problem}")
    for name, problem in failures.items():
        print(f"{name} cannot be generated: {problem}")
    generated, seconds = _count(wanted, folder) - before, time.monotonic() - start
    images = "1 image" if generated == 1 else f"{generated:,} images"
    by = "1 process" if processes == 1 else f"{processes} processes"
    speed = f", {generated / seconds:.2f} a second" if generated else ""
    there = f"; {before:,} were there" if before else ""
    print(f"{images} generated in {seconds:.0f} s by {by}{speed}{there}.")
    return table


def _processes_here() -> int:
    return int(os.environ.get("LOCAL_WORLD_SIZE", os.environ.get("WORLD_SIZE", 1)))


def _device(device: str | torch.device) -> torch.device:
    """The device of this process: each one of a machine has its own GPU."""
    chosen = pick_device(device)
    if chosen.type != "cuda" or chosen.index is not None or _processes_here() == 1:
        return chosen
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count())


def _count(wanted: Mapping[str, Settings], folder: Path) -> int:
    return len(wanted.keys() & os.listdir(folder))


def _generate(
    pipeline: DiffusionPipeline,
    wanted: Mapping[str, Settings],
    folder: Path,
    process: int,
    processes: int,
    batch_size: int | None,
) -> Failures:
    """Generate this process's share, then what is missing in those of others, from their ends."""
    ordered = sorted(wanted.values(), key=shared_settings)
    shares = [ordered[start::processes] for start in range(processes)]
    device = pipeline._execution_device.type
    limits = {size: batch_size or limit_for(size, device) for size in map(size_of, ordered)}
    quiet, there = process > 0 or bool(os.environ.get("CI")), _count(wanted, folder)
    with tqdm(desc="images", initial=there, total=len(wanted), smoothing=0, disable=quiet) as bar:

        def show() -> None:
            bar.update(_count(wanted, folder) - bar.n)  # what other processes saved, too

        failures = generate_share(pipeline, shares[process], folder, limits, show)
        for other in range(process + 1, process + processes):
            rest = shares[other % processes][::-1]
            failures |= generate_share(pipeline, rest, folder, limits, show)
    return failures


def _tabulate(
    wanted: Mapping[str, Settings], refused: Sequence[Job], failures: Failures, folder: Path
) -> pandas.DataFrame:
    import pandas

    rows = []
    for name, settings in wanted.items():
        row = {"file": name, **settings.model_dump(include={*FIELDS, "model", "dtype"})}
        row["lora"], row["lora_strength"] = next(iter(settings.loras.items()), (None, None))
        row["problem"] = failures.get(name, "not generated yet")
        if (folder / name).exists():
            with Image.open(folder / name, formats=["PNG"]) as image:
                row |= {"seconds": image.info.get("seconds"), "problem": ""}
        rows.append(row)
    table = pandas.DataFrame([*rows, *refused], dtype=object).reindex(columns=COLUMNS)
    seconds = pandas.to_numeric(table["seconds"], errors="coerce")  # a refused job may have any
    return table.assign(seconds=seconds)  # the other numbers stay whole beside empty cells
