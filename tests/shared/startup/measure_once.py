"""Run by the kernels in `make test`: `measure` makes a single run, as no test compares seconds."""


def _measure_once():
    from helpers import timing

    take_turns = timing.take_turns
    timing.take_turns = lambda fn, baseline, device, *_: take_turns(fn, baseline, device, 0, 1)


_measure_once()
