"""`python -m tokenforce_eval` is what `make eval` runs."""

import sys

from tokenforce_eval.main import main

if __name__ == "__main__":
    sys.exit(main())
