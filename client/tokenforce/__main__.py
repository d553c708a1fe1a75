"""`python -m tokenforce` is the command `tokenforce`."""

import sys

from tokenforce.cli import main

sys.exit(main())
