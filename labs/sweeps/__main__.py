"""Generate many images from a shell or a batch system: `python -m labs.sweeps --help`."""

from __future__ import annotations

import argparse
import sys

from labs.sweeps.running import sweep


def main(arguments: list[str] | None = None) -> int:
    """Run a sweep from a command line.

    Returns:
        0 if every image is there, 1 if any is missing, 130 after Ctrl-C.
    """
    parser = argparse.ArgumentParser(
        prog="python -m labs.sweeps",
        description="Generate an image for each row of a file, into a folder. Images that are "
        "there already are kept. labs/sweeps/README.md shows how to start several processes.",
    )
    add = parser.add_argument
    add("jobs", help="a .csv or .json file with a row for each image")
    add("folder", help="where the images go; all processes must see it")
    add("--model", default="tiny-portraits", help="a name of MODELS, an id on the Hub or a folder")
    add("--device", default="auto", help="cuda, mps or cpu; default: the best there is")
    add("--dtype", default="auto", help="float32, bfloat16 or float16; default: by the device")
    add("--batch-size", type=int, help="the most images at once; default: by their size")
    try:
        table = sweep(**vars(parser.parse_args(arguments)))
    except KeyboardInterrupt:
        return 130
    except (OSError, ValueError, RuntimeError) as error:
        print(error)
        return 1
    return int(table is not None and bool((table["problem"] != "").any()))


if __name__ == "__main__":
    sys.exit(main())
