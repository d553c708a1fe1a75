"""`python -m tokenforce_planting` is the command `tokenforce plant`."""

import sys

from tokenforce_planting.cli import main

if __name__ == "__main__":
    sys.exit(main())
