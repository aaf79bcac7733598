"""Moments at which a store can be looked at: an entry's number, a time, the end of a day."""

from datetime import UTC, date, datetime, time

from artifactstore.errors import InvalidInputError
from artifactstore.model.encoding import format_time

__all__ = ["limit_of"]


def limit_of(moment: object, head: int) -> int | str:
    """Return the last entry that counts, or the time until which entries count.

    Raises:
        InvalidInputError: a naive datetime, another type, an entry that does not exist.
    """
    if isinstance(moment, bool) or not isinstance(moment, int | date):
        raise InvalidInputError(f"at({moment!r}): an entry's number, an aware datetime or a date")
    if isinstance(moment, int):
        if not 0 <= moment <= head:
            raise InvalidInputError(f"at({moment}): the journal has entries 1 to {head}")
        return moment
    if isinstance(moment, datetime):
        if moment.tzinfo is None:
            raise InvalidInputError(f"at({moment!r}): a datetime without a time zone; use datetime.now(UTC) or .astimezone()")
        try:
            return format_time(moment)
        except OverflowError as error:
            raise InvalidInputError(f"at({moment!r}): not a time of this calendar in UTC") from error
    return format_time(datetime.combine(moment, time.max, UTC))
