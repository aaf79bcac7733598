"""The published test kit: the backend contract as a test suite for any backend.

Needs pytest and hypothesis: `pip install 'artifactstore[testing]'`.
"""

import pytest

pytest.register_assert_rewrite("artifactstore.testing.contract")

from artifactstore.testing.contract import BackendContract  # noqa: E402 - pytest must register it first

__all__ = ["BackendContract"]
