"""How good predictions are, where the truth has come: accuracy, AUC, Brier score, errors; in one pass and bounded memory."""

import math
from typing import TYPE_CHECKING, Any, Final

from artifactstore.objects.drift.samples import Numbers
from artifactstore.objects.tables.arrow_types import is_number, is_text, plain, plain_type, rounded
from artifactstore.runtime.loading import numpy

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Quality"]

_THRESHOLD: Final = 0.5  # of a score, above which it means yes


class Quality:
    """The quality of a prediction against a label, on the rows that have both.

    Which measures fit is decided by the values: a label of two values (booleans, or 0 and 1) with a score between 0 and 1 has
    `accuracy`, `auc`, `brier`; two texts, booleans or whole numbers have `accuracy`; other numbers have `rmse` and `mae`.
    """

    def __init__(self) -> None:
        self.rows = 0
        self._equal = self._right = 0
        self._squares = self._absolute = 0.0
        self._classes = (Numbers(), Numbers())
        self._is_binary = self._is_score = self._is_whole = self._is_numeric = True

    def add(self, label: Any, prediction: Any) -> None:
        """Add rows."""
        import pyarrow.compute as pc  # noqa: PLC0415

        label, prediction = plain(label), plain(prediction)
        both = pc.and_(pc.is_valid(label), pc.is_valid(prediction))
        label, prediction = label.filter(both), prediction.filter(both)
        if not len(label):
            return
        numbers = [_numeric(one) for one in (label, prediction)]
        if numbers[0] is None or numbers[1] is None:
            self._is_binary = self._is_score = self._is_numeric = False
            self.rows += len(label)
            self._equal += sum(a == b for a, b in zip(_texts(label), _texts(prediction), strict=True))
            return
        self._add_numbers(*numbers)

    def _add_numbers(self, truth: Any, guess: Any) -> None:
        np = numpy()
        some = np.isfinite(truth) & np.isfinite(guess)
        truth, guess = truth[some], guess[some]
        if not len(truth):
            return
        self.rows += len(truth)
        self._equal += int((truth == guess).sum())
        step = guess - truth
        self._squares += float((step * step).sum())
        self._absolute += float(np.abs(step).sum())
        self._is_whole = self._is_whole and bool((truth == np.rint(truth)).all() and (guess == np.rint(guess)).all())
        self._is_binary = self._is_binary and bool(np.isin(truth, (0.0, 1.0)).all())
        self._is_score = self._is_score and bool(((guess >= 0) & (guess <= 1)).all())
        if self._is_binary and self._is_score:
            self._right += int(((guess > _THRESHOLD) == (truth == 1)).sum())
            for value, kept in enumerate(self._classes):
                kept.add(guess[truth == value])

    def finish(self) -> dict[str, float | None]:
        """Return name → value; empty without rows."""
        if not self.rows:
            return {}
        if not self._is_numeric:
            return {"accuracy": rounded(self._equal / self.rows)}
        if self._is_binary and self._is_score:
            found = {"accuracy": rounded(self._right / self.rows), "brier": rounded(self._squares / self.rows)}
            area = _area(*self._classes)
            return found if area is None else {**found, "auc": rounded(area)}
        errors = {"rmse": rounded(math.sqrt(self._squares / self.rows)), "mae": rounded(self._absolute / self.rows)}
        return {**({"accuracy": rounded(self._equal / self.rows)} if self._is_whole else {}), **errors}


def _area(no: Numbers, yes: Numbers) -> float | None:
    """Return the share of pairs of a no and a yes in which the yes has the higher score; a tie counts half."""
    np = numpy()
    if not no.count or not yes.count:
        return None
    (low, low_counts), (high, high_counts) = no.finish(), yes.finish()
    reached = np.concatenate([[0], np.cumsum(low_counts)])
    below = reached[np.searchsorted(low, high, side="left")]
    tied = reached[np.searchsorted(low, high, side="right")] - below
    pairs = float(((below + tied / 2) * high_counts).sum())
    return pairs / (float(low_counts.sum()) * float(high_counts.sum()))


def _numeric(column: "pa.Array") -> Any:
    """Return a column as float64, or None if it is not numeric."""
    import pyarrow as pa  # noqa: PLC0415

    np = numpy()
    kind = plain_type(column.type)
    if pa.types.is_boolean(kind):
        column = column.cast(pa.int8())
    elif pa.types.is_decimal(kind):
        column = column.cast(pa.float64())
    elif not is_number(kind):
        return None
    return np.asarray(column).astype(np.float64)


def _texts(column: "pa.Array") -> list[Any]:
    values = column.to_pylist()
    return values if is_text(column.type) else [str(value).lower() if isinstance(value, bool) else str(value) for value in values]
