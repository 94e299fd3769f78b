import sys
from pathlib import Path

# The random problems are shared with the tests of wsis.conditional.
sys.path.insert(0, str(Path(__file__).parents[1] / "conditional"))
