"""Peak memory of training steps for `benchmarks/prediction.py`: on the processor this file is a process of its own.

Its arguments are the folder of the data, config and size of the network, and `ours` or `reference`.
"""

import os
import subprocess
import sys
from pathlib import Path

import torch
from conditional_clock import peak_bytes
from prediction_data import Data
from prediction_works import Network, Training

_STEPS = 4


def measure(data: Data, network: Network, own: bool, device: torch.device) -> int:
    """Peak bytes of a model, its optimiser and its steps: above what the process had before it built them."""
    if device.type != "cpu":
        return _measure(data, network, own, device)
    kind = "ours" if own else "reference"
    command = [sys.executable, str(Path(__file__)), str(data.root), network.name, str(network.size), kind]
    # Freed memory goes back at once: what was used before would hide what the steps take.
    given_back = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    environment = {**os.environ, **given_back, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return int(done.stdout.splitlines()[-1])


def _measure(data: Data, network: Network, own: bool, device: torch.device) -> int:
    def work() -> Training:
        training = Training(data, network, own, device)
        for number in range(_STEPS):
            training.step(number)
        return training

    return peak_bytes(work, device)


if __name__ == "__main__":
    torch.set_num_threads(1)
    asked = Network(sys.argv[2], int(sys.argv[3]))
    print(_measure(Data(Path(sys.argv[1])), asked, sys.argv[4] == "ours", torch.device("cpu")))
