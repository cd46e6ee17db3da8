"""Draw many pictures from a shell or a batch system: what is there is not drawn again.

One process, on the GPU if there is one:

    python -m labs.sweeps jobs.csv pictures

Eight GPUs of one host; if a process dies, that is said, and all start again from what is there:

    accelerate launch --multi_gpu --num_processes 8 --max_restarts 3 \\
        --rdzv_backend c10d -m labs.sweeps jobs.csv pictures

Two processes on a CPU: the same with --num_processes 2, and --device cpu at the end.

Two hosts of eight GPUs, and a folder that both see; on the second with --machine_rank 1:

    accelerate launch --multi_gpu --num_machines 2 --num_processes 16 --machine_rank 0 \\
        --main_process_ip first.host --main_process_port 29500 --max_restarts 3 \\
        --rdzv_backend c10d -m labs.sweeps jobs.csv pictures

SLURM, a task for each GPU; if one dies, the others go on, and the same job draws the rest:

    #!/bin/bash
    #SBATCH --nodes=2 --ntasks-per-node=8 --gpus-per-node=8 --cpus-per-task=8
    export MASTER_PORT=29500 LOCAL_WORLD_SIZE=$SLURM_NTASKS_PER_NODE WORLD_SIZE=$SLURM_NTASKS
    export MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
    srun --kill-on-bad-exit=0 bash -c 'RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID \\
        exec python -m labs.sweeps jobs.csv pictures'

jobs.csv has a row for each picture and a column for each setting (prompt, negative_prompt, seed,
num_inference_steps, guidance_scale, scheduler, height, width; only the prompt has to be there).
jobs.json has such rows, or values to combine: {"prompt": ["a knight", "a queen"], "seed": [0, 1]}.
"""

from __future__ import annotations

import argparse
import sys

from labs.sweeps.running import sweep


def main(arguments: list[str] | None = None) -> int:
    """Run a sweep as the command line says; 1 if any picture is missing at the end.

    Example:
        >>> main(["missing.csv", "pictures"])
        There is no file missing.csv: give a .csv or .json with jobs.
        1
    """
    parser = argparse.ArgumentParser(
        prog="python -m labs.sweeps",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("jobs", help="a .csv or .json file")
    add("folder", help="where the pictures go; all processes see it")
    add("--model", default="tiny-portraits", help="a name of MODELS, an id on the Hub or a folder")
    add("--device", default="auto", help="cuda, mps or cpu; the best there is by default")
    add("--dtype", default="auto", help="float32, bfloat16 or float16; what suits the device")
    add("--batch-size", type=int, help="pictures at once at most; what memory holds by default")
    add("--judge", help="a CLIP model that reads the pictures; the embedded one where it fits")
    add("--price-per-hour", type=float, help="of one process, in any currency")
    add("--patience", type=float, default=600.0, help="seconds to wait for a silent process")
    try:
        table = sweep(**vars(parser.parse_args(arguments)))
    except (OSError, ValueError, RuntimeError) as error:
        print(error)
        return 1
    return int(table is not None and bool((table["problem"] != "").any()))


if __name__ == "__main__":
    sys.exit(main())
