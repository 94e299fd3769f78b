"""`python -m tests.gpu.laid_as_on_a_gpu ARGUMENTS`: `wsis ARGUMENTS` on the CPU without what is done there for speed
alone, and not on a GPU: BatchNorms stay apart from their convolutions, and torch chooses the kernels of convolutions by
one pixel. For a part of a program: `laid_as_on_a_gpu`."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from torch import Tensor

from wsis.method.backbones.efficientnet_lite import ConvNorm


@contextmanager
def laid_as_on_a_gpu() -> Iterator[None]:
    """Networks compute so inside."""

    def apart(layer: ConvNorm, x: Tensor) -> Tensor:
        normed: Tensor = layer.norm(layer.conv(x))
        return normed

    def torchs_choice(_: Tensor) -> tuple[int, int]:
        return 1, 1

    with (
        mock.patch.object(ConvNorm, "forward", apart),
        mock.patch("wsis.method.placement.pointwise_dilation", torchs_choice),
        mock.patch("wsis.method.backbones.layers.pointwise_dilation", torchs_choice),
    ):
        yield


if __name__ == "__main__":
    from wsis.cli.main import main

    with laid_as_on_a_gpu():
        main()
