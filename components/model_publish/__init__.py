"""Step 7: register the archive and move the champion."""
