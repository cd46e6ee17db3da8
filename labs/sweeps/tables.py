"""Read and write CSV files of jobs and results, which spreadsheets open, too."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

FORMULA = re.compile("'*[=+@\t\r-]")  # how a cell begins that a spreadsheet would compute


def read_csv(path: Path) -> list[dict[str, str]]:
    """Read the rows of a CSV file by the names in its first line, without empty cells.

    An apostrophe that `write_csv` put before a formula is taken away.

    Raises:
        ValueError: it is not UTF-8, has no header, or has a row with more fields than the header.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name} is not UTF-8: save it as CSV UTF-8.") from error
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[dict[str, str]] = []
    try:
        header = [name.strip() for name in next(lines, [])]
        while header and not header[-1]:
            header.pop()
        if not header or len(set(header)) < len(header):
            raise ValueError(f"{path.name} needs a first line with the names of its columns.")
        for cells in lines:
            if any(cells[len(header) :]):
                raise ValueError(
                    f"{path.name}, line {lines.line_num}: there are {len(cells)} fields, and the "
                    f"first line names {len(header)}. Put a prompt with a comma in double quotes."
                )
            row = {name: _unquote(cell) for name, cell in zip(header, cells, strict=False) if cell}
            rows += [row] if row else []
    except csv.Error as error:
        raise ValueError(f"{path.name}, line {lines.line_num}: {error}.") from error
    return rows


def write_csv(path: Path, names: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as CSV; text that a spreadsheet would compute gets an apostrophe before it."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(part, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(names)
            writer.writerows([_quote(row.get(name, "")) for name in names] for row in rows)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _quote(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and FORMULA.match(value) else value


def _unquote(cell: str) -> str:
    return cell[1:] if cell[0] == "'" and FORMULA.match(cell) else cell
