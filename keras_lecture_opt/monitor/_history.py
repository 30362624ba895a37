"""What the monitor measured, as rows: for a table, a file, a data frame."""

import csv
import os
from collections.abc import Iterable
from typing import Any, NamedTuple

import tensorflow as tf

from keras_lecture_opt._arguments import check_path


class Row(NamedTuple):
    """One number.

    Attributes:
        step: how many steps the run had taken, the measured one included.
        epoch: of the `fit`, from 0; None in a custom loop.
        variable: name of the variable, or "" for the whole model.
        quantity: what was measured: "step", "step_to_weight", "weight", "effective_lr", "loss", …
        value: the number. (Histograms and maps are arrays. TensorBoard has them, `history` not.)
    """

    step: int
    epoch: int | None
    variable: str
    quantity: str
    value: Any


class History(list[Row]):
    """A list of `Row`, in the order in which they were measured."""

    limit: int | None = None  # rows above which old ones are dropped

    def __init__(self, rows: Iterable[Row] = ()):
        super().__init__(rows)
        self._early: set[int] = set()  # steps whose rows are never dropped
        self._begin_at = 0  # the first row of the latest training
        self._drop_at = 0  # rows

    def begin(self) -> None:
        """Note that a training begins."""
        self._begin_at = len(self)

    @property
    def latest(self) -> list[Row]:
        """The rows of the latest training."""
        return self[self._begin_at :]

    def add(self, rows: list[Row], is_early: bool) -> bool:
        """Add the rows of one step that are numbers; return whether old rows were dropped.

        Above the limit, the older half is dropped, but for the early steps of each training.
        """
        self.extend(row for row in rows if isinstance(row.value, float))
        if is_early:
            self._early |= {row.step for row in rows}
        if self.limit is None or len(self) <= max(self.limit, self._drop_at):
            return False
        half, begin = len(self) // 2, self._begin_at
        kept = [row for row in self[:half] if row.step in self._early]
        self._begin_at -= sum(row.step not in self._early for row in self[: min(half, begin)])
        self[:half] = kept
        self._drop_at = len(self) + self.limit // 4  # early rows alone may be many
        return True

    def select(self, quantity: str, variable: str | None = None) -> "History":
        """Return the rows of one quantity, of all variables or of one, as a `History`."""
        return History(
            row for row in self if row.quantity == quantity and variable in (None, row.variable)
        )

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the rows as a CSV file with a header.

        Args:
            path: of the file, a string or a `pathlib.Path`, `~` for the home folder; also a URL
                that TensorFlow knows, as a string.

        Raises:
            TypeError: `path` is not a string or a `pathlib.Path`.
            ValueError: `path` is empty, holds a null character, or is a URL as a `pathlib.Path`.
            OSError: the file cannot be written.
        """
        path = check_path("path", path)
        try:
            with tf.io.gfile.GFile(path, "w") as file:
                csv.writer(file).writerows([Row._fields, *self])
        except tf.errors.OpError as error:
            raise OSError(f"`path`: {path} cannot be written: {error.message}") from error

    def to_pandas(self) -> Any:
        """Return the rows as a `pandas.DataFrame`. Needs pandas."""
        import pandas

        return pandas.DataFrame(self, columns=Row._fields)
