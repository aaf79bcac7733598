"""The test kit that is shipped: what a backend must do, as a suite that anybody's backend can run.

Needs pytest and hypothesis: `pip install 'artifactstore[testing]'`.
"""

import pytest

pytest.register_assert_rewrite("artifactstore.testing.contract")

from artifactstore.testing.contract import BackendContract  # noqa: E402 - pytest must know of it before

__all__ = ["BackendContract"]
