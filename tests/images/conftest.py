import sys
from pathlib import Path

sys.path.insert(
    0, str(Path(__file__).parents[2] / "scripts" / "proof")
)  # its modules belong to a command, not a package
