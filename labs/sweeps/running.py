"""Run a sweep: every process draws its share, and the first one keeps count of the whole."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from tqdm import tqdm

from helpers.folders import find_folder
from helpers.loading import load_pipeline, pick_device
from labs.images.settings import Settings
from labs.sweeps.drawing import draw_share, explain
from labs.sweeps.jobs import Job, describe_jobs, is_whole, name_of, read_jobs
from labs.sweeps.results import tabulate, write_table

if TYPE_CHECKING:
    import pandas
    from accelerate import PartialState

    from helpers.pipelines import StableDiffusion


def sweep(
    jobs: str | Path | Mapping[str, Any] | Iterable[Job] | pandas.DataFrame,
    folder: str | Path,
    *,
    model: str | Path | StableDiffusion = "tiny-portraits",
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    batch_size: int | None = None,
    judge: str | None = None,
    price_per_hour: float | None = None,
    patience: float = 600.0,
) -> pandas.DataFrame | None:
    """Draw a picture for each job, into a folder; what is there already is not drawn again.

    Run by `accelerate launch`, `notebook_launcher` or `torchrun`, each process draws its share, on
    its own GPU. Killed at any time, the same call draws what is missing. A PNG holds its settings,
    and its name follows from them. At the end the folder also holds table.csv and
    contact_sheet.html, and a sentence says how fast it was and what it cost.

    Args:
        jobs: rows or values to combine, see `read_jobs`. A job may set prompt, negative_prompt,
            seed, num_inference_steps, guidance_scale, scheduler, height and width.
        folder: where the pictures go, the same for all processes; made if it is missing.
        model: for `load_pipeline`, as are device and dtype; or a pipeline, as it is.
        batch_size: pictures at once at most; None for as many as memory holds.
        judge: for `load_judge`, to tell how well each picture follows its prompt. None: the
            embedded judge, if the model is one that it knows.
        price_per_hour: of one process, such as that of a GPU, in any currency.
        patience: seconds without a new picture after which the first process waits for the others
            no longer: more than the slowest batch takes.

    Returns:
        The table, in the first process (see `tabulate`); in the others None.

    Raises:
        ValueError: there is no job, or the model, device or dtype does not fit.
        OSError: the folder cannot be written to, or the disk is full.
        RuntimeError: there are several processes, and accelerate cannot join them.

    Source: accelerate, "Distributed inference"; diffusers issues 2977, 4920 and 10640.

    Example:
        >>> folder = tempfile.mkdtemp()
        >>> jobs = {"prompt": "a knight", "seed": [0, 1], "num_inference_steps": 2}
        >>> sweep(jobs, folder, device="cpu")["seed"].to_list()
        2 pictures drawn in ...
        [0, 1]
    """
    start = time.monotonic()
    rows, folder = read_jobs(jobs), _make_folder(Path(folder).expanduser())
    with _joined(device) as state:
        count = state.num_processes
        pipeline = _load(model, dtype, device if count == 1 else state.device, state)
        wanted, refused, todo = _plan(rows, pipeline, folder, state)
        shares = [todo[process::count] for process in range(count)]
        with (
            _progress(wanted, len(todo), folder, state) as look,
            state.split_between_processes(list(chain(*shares))) as share,
        ):
            failed = draw_share(pipeline, share, folder, batch_size=batch_size, on_saved=look)
            for name, why in failed.items():
                print(f"{name} cannot be drawn: {why}")
            if not state.is_main_process:
                return None
            _wait_for_others(look, len(wanted) - len(failed), shares, folder, patience)
    seconds = time.monotonic() - start
    table = tabulate(wanted, refused, failed, folder, judge=judge)
    write_table(table, folder)
    drawn = len(todo) - int((table["problem"] == "not drawn yet").sum()) - len(failed)
    _say_cost(drawn, len(wanted) - len(todo), seconds, count, price_per_hour)
    return table


@contextmanager
def _joined(device: str | torch.device) -> Iterator[PartialState]:
    """Join the other processes of this run, if there are any, and leave them at the end.

    They talk by gloo on GPUs too: only a list goes round, and whoever dies takes nobody along.
    """
    from accelerate import PartialState

    several = int(os.environ.get("WORLD_SIZE", 1)) > 1
    if several:  # else each would take all cores
        threads = (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", 1))
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, threads)))
    there, kind = bool(PartialState._shared_state), pick_device(device).type
    gloo = several and not there and kind == "cuda" and "LOCAL_RANK" in os.environ
    options: dict[str, Any] = {"backend": "gloo"} if gloo else {}
    if several and not there and (restart := os.environ.get("TORCHELASTIC_RESTART_COUNT")):
        # The launcher keeps what dead processes said, such as where they could be reached.
        store, rank, world_size = next(torch.distributed.rendezvous("env://"))
        fresh = torch.distributed.PrefixStore(f"restart {restart}", store)
        options |= {"store": fresh, "rank": rank, "world_size": world_size}
    try:
        state = PartialState(cpu=kind == "cpu", **options)
        if several and state.num_processes == 1:
            raise RuntimeError(
                "This is one of several processes, and accelerate cannot join them here: start "
                "one, or several with device='cpu'."
            )
        yield state
    finally:
        if not there:  # a notebook that goes on to start processes hands its state down to them
            PartialState().destroy_process_group()
            PartialState._reset_state()


def _load(
    model: str | Path | StableDiffusion,
    dtype: str | torch.dtype,
    device: str | torch.device,
    state: PartialState,
) -> StableDiffusion:
    if not isinstance(model, str | Path):
        return model
    with state.local_main_process_first():
        find_folder(model)  # fetched once for a host
    return load_pipeline(model, device=device, dtype=dtype)


def _make_folder(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise explain(error, folder) from error


def _plan(
    rows: list[Job], pipeline: StableDiffusion, folder: Path, state: PartialState
) -> tuple[dict[str, Settings], list[Job], list[Settings]]:
    """What is wanted, what is refused, and what is still to be drawn; the same in all processes.

    The first process looks into the folder for all: a later one would find more there.
    """
    from accelerate.utils import broadcast_object_list

    plan: list[Any] = [None]
    if state.is_main_process:
        wanted, refused = describe_jobs(rows, pipeline)
        for job in refused:
            print(f"A job is refused: {job['problem']} ({job.get('prompt', '')!r})")
        plan = [(wanted, refused, _undrawn(wanted, folder))]
    return broadcast_object_list(plan)[0]


def _undrawn(wanted: Mapping[str, Settings], folder: Path) -> list[Settings]:
    """The settings without a whole picture; what a process left half-way is removed."""
    for part in folder.glob(".*.part"):
        part.unlink(missing_ok=True)
    names = [name for name in wanted if not is_whole(folder / name)]
    for name in names:
        (folder / name).unlink(missing_ok=True)
    return [wanted[name] for name in names]


@contextmanager
def _progress(
    wanted: Mapping[str, Settings], todo: int, folder: Path, state: PartialState
) -> Iterator[Callable[[], int]]:
    """Show in the first process how far all are; what is yielded looks, and tells how many."""
    if not state.is_main_process:
        yield int
        return
    start, quiet = len(wanted) - todo, bool(os.environ.get("CI"))
    with tqdm(desc="pictures", initial=start, total=len(wanted), smoothing=0, disable=quiet) as bar:

        def look() -> int:
            there = len(wanted.keys() & os.listdir(folder))
            bar.update(there - bar.n)
            return there

        yield look


def _wait_for_others(
    look: Callable[[], int],
    expected: int,
    shares: Sequence[Sequence[Settings]],
    folder: Path,
    patience: float,
) -> None:
    """Wait while new pictures come; then say which process owes some: it died, or is cut off."""
    there, news = look(), time.monotonic()
    while len(shares) > 1 and there < expected and time.monotonic() < news + patience:
        time.sleep(1)
        if (now := look()) > there:
            there, news = now, time.monotonic()
    found = os.listdir(folder)
    for process, share in enumerate(shares[1:], start=1):
        if owed := sum(name_of(settings) not in found for settings in share):
            print(
                f"Process {process} has drawn {len(share) - owed:,} of its {len(share):,} pictures "
                "and is silent: run the same again, and only what is missing is drawn."
            )


def _say_cost(
    drawn: int, before: int, seconds: float, count: int, price_per_hour: float | None
) -> None:
    processes = "1 process" if count == 1 else f"{count} processes"
    pictures = "1 picture" if drawn == 1 else f"{drawn:,} pictures"
    text = f"{pictures} drawn in {seconds:.0f} s by {processes}"
    text += f", {drawn / seconds:.2f} a second" if drawn else ""
    text += f"; {before:,} were there" if before else ""
    if price_per_hour is not None:
        text += f". Price: {price_per_hour * count * seconds / 3600:.2f}"
    print(f"{text}.")
