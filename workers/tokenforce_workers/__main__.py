"""`python -m tokenforce_workers`: one supervised worker."""

import sys

from tokenforce_workers.supervisor import main

sys.exit(main())
