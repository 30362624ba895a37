"""What the monitor measured, as rows: for a table, a file, a data frame."""

import csv
import os
from typing import Any, NamedTuple


class Row(NamedTuple):
    """One number.

    Attributes:
        step: how many steps had been taken, the measured one included.
        epoch: of the `fit`, from 0; None in a custom loop.
        variable: name of the variable, or "" for the whole model.
        quantity: what was measured: "step", "step_to_weight", "weight", "effective_lr", "loss", …
        value: the number.
    """

    step: int
    epoch: int | None
    variable: str
    quantity: str
    value: float


class History(list[Row]):
    """A list of `Row`, in the order in which they were measured."""

    def select(self, quantity: str, variable: str | None = None) -> "History":
        """Return the rows of one quantity, of all variables or of one, as a `History`."""
        return History(
            row for row in self if row.quantity == quantity and variable in (None, row.variable)
        )

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the rows as a CSV file with a header.

        Args:
            path: of the file, a string or a `pathlib.Path`.
        """
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(Row._fields)
            writer.writerows(self)

    def to_pandas(self) -> Any:
        """Return the rows as a `pandas.DataFrame`. Needs pandas."""
        import pandas

        return pandas.DataFrame(self, columns=Row._fields)
