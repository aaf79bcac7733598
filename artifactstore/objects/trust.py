"""Trust: which code a read may import and run. Only the caller of `get` grants it, never the store."""

from collections.abc import Iterable
from typing import Any, Final

from artifactstore.errors import InvalidInputError, UntrustedError
from artifactstore.runtime.records import dataclass

__all__ = ["NOTHING", "UNKNOWN", "Trust", "pickled_globals", "record_own", "trust_of"]

_MAX_OPCODES: Final = 10_000_000  # max opcodes scanned
UNKNOWN: Final = "(a name that is computed while reading)"


@dataclass(frozen=True, slots=True)
class Trust:
    """What a caller trusts to run.

    Attributes:
        everything: anything may run.
        names: globals that may be imported, such as `sklearn.linear_model._base.LinearRegression`.
    """

    everything: bool = False
    names: frozenset[str] = frozenset()

    def check(self, wanted: Iterable[str], what: str, why: str) -> None:
        """Refuse a read that needs more than is trusted.

        Args:
            wanted: globals that would be imported.
            what: the object, for the message.
            why: how it would run code.

        Raises:
            UntrustedError: lists what is not trusted, and the alternatives.
        """
        if self.everything:
            return
        missing = sorted(set(wanted) - self.names)
        if not missing and self.names:
            return
        listed = ", ".join(missing[:30]) + (f" and {len(missing) - 30} more" if len(missing) > 30 else "")
        raise UntrustedError(
            f"{what} was not read: {why}"
            + (f", and would import {listed}" if missing else "")
            + "; if you trust its author, pass  "
            "trust=True, or trust=[…] with the names that you accept; to= gets its files alone, and runs nothing"
        )


NOTHING: Final = Trust()
_OWN: Final[set[str]] = set()


def record_own(digest: str) -> None:
    """Record that this very process has put an object: reading it runs nothing that did not run here before."""
    _OWN.add(digest)


def trust_of(trust: Any, digest: str) -> Trust:
    """Return what a caller's `trust=` grants for an artifact.

    Args:
        trust: True, False, a digest, or names of globals (or several digests).
        digest: of the artifact; objects put by this very process need no trust.

    Raises:
        InvalidInputError: any other value.
    """
    if trust is True or digest in _OWN:
        return Trust(everything=True)
    if trust is False or trust is None:
        return NOTHING
    if isinstance(trust, str):
        trust = [trust]
    if not isinstance(trust, Iterable) or isinstance(trust, bytes | dict):
        raise InvalidInputError(f"trust= must be True, False, a digest, or a list of names of globals, got {trust!r}")
    names = list(trust)
    if not all(isinstance(name, str) for name in names):
        raise InvalidInputError("trust= must be a list of str: names of globals, or digests")
    if digest in names:
        return Trust(everything=True)
    if len(names) == 1 and ":" in names[0]:
        raise UntrustedError(f"trust= is for {names[0]}, but this is {digest}: it was not read")
    return Trust(names=frozenset(name for name in names if ":" not in name))


def pickled_globals(raw: bytes, *, most: int = _MAX_OPCODES) -> list[str]:
    """Return which globals a pickle would import, sorted, without running any of it.

    Strings on the stack are tracked as far as opcodes push them plainly; where a pickle computes the name of a global in
    another way, or has more than `most` opcodes, the result contains `UNKNOWN`. The opcodes are those of `pickletools` (protocols 0 to 5).

    Raises:
        ValueError: these bytes are not a pickle.
    """
    import pickletools  # noqa: PLC0415 - 5 ms, only needed for a pickle

    found: set[str] = set()
    stack: list[str | None] = []  # strings that were pushed last, None for anything else
    memo: dict[int, str | None] = {}
    for number, (opcode, argument, _) in enumerate(pickletools.genops(raw)):
        if number > most:
            found.add(UNKNOWN)
            break
        name = opcode.name
        if name in {"GLOBAL", "INST"}:
            found.add(str(argument).replace(" ", ".", 1))
            stack.append(None)
        elif name == "STACK_GLOBAL":
            module, attribute = stack[-2:] if len(stack) > 1 else [None, None]
            found.add(f"{module}.{attribute}" if module is not None and attribute is not None else UNKNOWN)
            del stack[-2:]
            stack.append(None)
        elif name in {"EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID"}:
            found.add(UNKNOWN)
            stack.append(None)
        elif name in {"MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT"}:
            index = len(memo) if name == "MEMOIZE" else int(str(argument))
            if index > len(raw):  # the unpickler would allocate that many
                raise ValueError(f"it memoizes index {index:,}")
            memo[index] = stack[-1] if stack else None
        elif name in {"GET", "BINGET", "LONG_BINGET"}:
            stack.append(memo.get(int(str(argument))))
        elif name in {"SHORT_BINUNICODE", "BINUNICODE", "UNICODE", "BINUNICODE8", "SHORT_BINSTRING", "BINSTRING", "STRING"}:
            stack.append(str(argument))
        elif name not in {"PROTO", "FRAME", "STOP"}:
            stack.append(None)
        if len(stack) > 1000:
            del stack[:500]
    return sorted(found)
