"""MMDetection's data preprocessor with the same results, whose batch crosses to a device in one copy."""

from collections.abc import Mapping
from typing import Any

from mmdet.models.data_preprocessors import DetDataPreprocessor
from mmdet.registry import MODELS
from mmdet.structures.bbox import BaseBoxes
from mmengine.structures import InstanceData
from torch import Tensor

from wsis.method.transfers import moved


@MODELS.register_module()
class OneCopyPreprocessor(DetDataPreprocessor):
    """DetDataPreprocessor. Images cross as bytes, together with the ground truth; `set_weights` stays on the CPU, as an
    array, since what is drawn of the sets is drawn there."""

    _channel_conversion: bool

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # MMDetection indexes with a list, which is copied to the device for each image
        self._flips, self._channel_conversion = self._channel_conversion, False

    def cast_data(self, data: Any) -> Any:
        """The batch on the device, its channels in the network's order."""
        if not isinstance(data, Mapping):  # MMDetection comes here for each part
            return super().cast_data(data)
        cast: dict[str, Any] = super().cast_data(data) if self.device.type == "cpu" else self._moved(data)
        if self._flips:
            images = cast["inputs"]
            cast["inputs"] = (
                images.flip(1) if isinstance(images, Tensor) else [image.flip(0) for image in images]
            )
        return cast

    def _moved(self, data: Mapping[str, Any]) -> dict[str, Any]:
        fields = []
        for sample in data.get("data_samples") or ():
            for part in sample.values():
                if not isinstance(part, InstanceData):
                    continue
                if "set_weights" in part and isinstance(part.set_weights, Tensor):
                    part.set_weights = part.set_weights.cpu().numpy()
                fields += [
                    (part, key, value) for key, value in part.items() if isinstance(value, Tensor | BaseBoxes)
                ]
        tensors = [value.tensor if isinstance(value, BaseBoxes) else value for _, _, value in fields]
        images, there = moved((data["inputs"], tensors), self.device)
        for (part, key, value), tensor in zip(fields, there, strict=True):
            setattr(part, key, type(value)(tensor, clone=False) if isinstance(value, BaseBoxes) else tensor)
        return {**data, "inputs": images}
