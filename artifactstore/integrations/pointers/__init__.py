"""Pointers: small files for git, for channels of pipelines, for CI, each of which pins one artifact. See docs/integrations/pointers.md."""

from artifactstore.integrations.pointers.pointer import Pointer, is_pointer, read, write
from artifactstore.integrations.pointers.tracking import Tracked, checkout, compare, store_of, track

__all__ = ["Pointer", "Tracked", "checkout", "compare", "is_pointer", "read", "store_of", "track", "write"]
