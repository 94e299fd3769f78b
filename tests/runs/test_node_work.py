"""A node as work for another process."""

import subprocess
import sys


def test_a_process_of_stages_imports_what_all_need_and_no_more() -> None:
    """Each stage beside another, and each worker, pays for it in time and memory."""
    heavy = ("matplotlib", "higra", "mmdet", "mmengine", "prefect", "distributed", "mlflow", "wandb")
    code = f"import sys, wsis.runs.node_work; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.strip() == "[]"
