"""``python -m pipelines.schedule``."""

import sys

from pipelines.schedule.command import main

sys.exit(main())
