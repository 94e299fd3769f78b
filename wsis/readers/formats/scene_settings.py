"""The section `data.scenes` of a run's configuration."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from wsis.engine.settings import StageConfig
from wsis.errors import InputError
from wsis.method.scenes.scenes import DEFAULT_CLASSES, SceneConfig
from wsis.readers.formats.scenes import SceneSet

Name = Annotated[str, Field(min_length=1)]


class SceneSettings(StageConfig):
    """Generated scenes; the fields below `seed` are those of `wsis.method.scenes.scenes.SceneConfig`."""

    train: int = Field(default=96, ge=1, le=100_000, description="train images")
    val: int = Field(default=40, ge=1, le=100_000, description="val images")
    seed: int = Field(default=0, ge=0, lt=2**31, description="of what is drawn")
    height: int = Field(default=128, ge=32, le=4096, description="pixels")
    width: int = Field(default=160, ge=32, le=4096, description="pixels")
    classes: tuple[Name, ...] = Field(
        default=DEFAULT_CLASSES, description="what is drawn; class j + 1 is the j-th"
    )
    max_instances: int = Field(default=4, ge=1, le=16, description="objects of an image at most")
    max_classes: int = Field(default=2, ge=1, description="classes of an image at most")
    size: tuple[float, float] = Field(
        default=(0.4, 0.85),
        description="least and largest length of an object, as a share of the image's shorter side",
    )
    min_visible: float = Field(default=0.4, ge=0, le=0.9, description="least share of an object that is seen")
    min_share: float = Field(
        default=0.01, ge=0, le=0.05, description="least share of the image that an object covers"
    )
    clutter: int = Field(
        default=4, ge=0, le=64, description="stones and twigs at most, which belong to no class"
    )
    noise: float = Field(
        default=4.0, ge=0, le=64, description="standard deviation of the sensor noise in grey levels"
    )

    @model_validator(mode="after")
    def _look_is_possible(self) -> Self:
        try:
            self.scene_set()
        except InputError as error:
            raise ValueError(str(error)) from error
        return self

    def scene_set(self) -> SceneSet:
        """The same as the method's own settings."""
        look = self.model_dump(exclude={"train", "val", "seed"})
        return SceneSet(train=self.train, val=self.val, seed=self.seed, look=SceneConfig(**look))
