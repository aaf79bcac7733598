"""The inbox of a journal: the keys below `journal/inbox/`, and which of its folders no transaction can need any more."""

from typing import Final

from artifactstore.model.encoding import new_id
from artifactstore.model.facts import WINDOW

__all__ = ["INBOX", "clock_key", "inbox_folder", "is_past"]

INBOX: Final = "journal/inbox/"
_SPAN: Final = 1024  # births that share a folder


def inbox_folder(birth: int) -> str:
    """Return the prefix of what was posted by transactions of that birth."""
    return f"{INBOX}{birth // _SPAN}/"


def clock_key(head: int) -> str:
    """Return a new key for an object whose modification time is the time of the storage's own clock."""
    return f"{inbox_folder(head)}clock-{new_id()}"


def is_past(key: str, head: int) -> bool:
    """Return whether a key is in a folder of the inbox whose transactions cannot take effect any more."""
    number = key.removeprefix(INBOX).partition("/")[0]
    return key.startswith(INBOX) and number.isdecimal() and int(number) * _SPAN + _SPAN - 1 + WINDOW < head
