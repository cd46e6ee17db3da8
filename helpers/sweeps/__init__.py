"""Draw many pictures: on one processor, many GPUs or many hosts; killed at any time, it goes on.

`accelerate` starts the processes and gives each its share; what there is to do follows from the
files that are there, so that the same command finishes what another run left. All of them see one
folder. `python -m helpers.sweeps --help` tells how to start it from a shell or a batch system.
"""
