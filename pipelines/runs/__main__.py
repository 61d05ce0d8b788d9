"""``python -m pipelines.runs``."""

import sys

from pipelines.runs.command import main

sys.exit(main())
