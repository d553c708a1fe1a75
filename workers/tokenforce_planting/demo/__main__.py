"""`python -m tokenforce_planting.demo` hides a sentence in a real model and finds it."""

import sys

from tokenforce_planting.demo.main import main

sys.exit(main())
