"""``python -m pipelines.models``."""

import sys

from pipelines.models.command import main

sys.exit(main())
