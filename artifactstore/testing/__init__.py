"""The test kit that is shipped: what a backend must do, as a suite that anybody's backend can run.

The suite needs pytest and hypothesis: `pip install 'artifactstore-ml[testing]'`. The backends beside it, which count, fail and
wait, need neither.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from artifactstore.testing.contract import BackendContract

__all__ = ["BackendContract"]


def __getattr__(name: str) -> Any:
    """Load the suite when it is asked for; pytest must know of it before."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import pytest  # noqa: PLC0415 - see above

    pytest.register_assert_rewrite("artifactstore.testing.contract")
    from artifactstore.testing.contract import BackendContract  # noqa: PLC0415

    return BackendContract
