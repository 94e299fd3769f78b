"""A CUDA device pretended on the CPU: tensors that say `cuda:0`, are computed by the CPU, and refuse what CUDA refuses.

    python -m tests.gpu.pretend REPORT.json wsis run tests/runs/tiny.yaml --set execution.device=cuda ...
    python -m tests.gpu.pretend REPORT.json SCRIPT.py ARGUMENTS

Of every wait of the host for the device the report says in which unit of work, of which kind and at which place of our
code it was. Mixed devices and waits are shown; not the numerics of CUDA, streams, races, memory, time, NCCL,
kernels that CUDA lacks, or a gradient on another device than its tensor.

A process of its own is needed: torch asks for the device's C++ parts once, when it is imported, so `native.load` comes
first. Nothing here is imported by the package itself.
"""
