"""The published test kit: the backend contract as a test suite for any backend.

The suite needs pytest and hypothesis: `pip install 'artifactstore-ml[testing]'`. The test backends, which count, fail and
wait, need neither.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from artifactstore.testing.contract import BackendContract

__all__ = ["BackendContract"]


def __getattr__(name: str) -> Any:
    """Load the suite on first use; pytest must register it first."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import pytest  # noqa: PLC0415 - see above

    pytest.register_assert_rewrite("artifactstore.testing.contract")
    from artifactstore.testing.contract import BackendContract  # noqa: PLC0415

    return BackendContract


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
