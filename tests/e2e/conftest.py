import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # replay.py and commands.py are shared by the tests beside them
