"""``python -m pipelines.doctor``."""

import sys

from pipelines.doctor.command import main

sys.exit(main())
