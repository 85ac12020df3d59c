"""`python -m bench`."""

import sys

from bench.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
