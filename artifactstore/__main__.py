"""`python -m artifactstore` is the command `artifactstore`."""

import sys

from artifactstore.cli import main

if __name__ == "__main__":
    sys.exit(main())
