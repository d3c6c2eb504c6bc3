"""`python -m rilievo.cli`, the same as `rilievo`."""

import sys

from rilievo.cli import main

sys.exit(main())
