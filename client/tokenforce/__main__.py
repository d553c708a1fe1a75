"""`python -m tokenforce` is the command `tokenforce`."""

import sys

from tokenforce.cli.app import main

sys.exit(main())
