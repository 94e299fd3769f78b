"""Classes that are asked for against names that are annotated: a line a name, whatever the number of its objects."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from data_contracts.errors import nearest_name
from data_contracts.printable import counted
from wsis.readers.shared.annotations import Declared


class UnknownClasses:
    """Names of objects that are no class of the data set.

    Args:
        classes: names of the classes 1..C.
        doubted: classes that are misspelt themselves, which is said elsewhere: not named as what a name could mean.
    """

    def __init__(self, classes: Sequence[str], doubted: Collection[str] = ()) -> None:
        self._classes, self._doubted = classes, doubted
        self._first: dict[str, str] = {}
        self._images: dict[str, set[str]] = {}

    def add(self, name: str, image_id: str, where: str) -> None:
        """An object of an image has a name that is no class; `where` names the object."""
        self._first.setdefault(name, where)
        self._images.setdefault(name, set()).add(image_id)

    def lines(self) -> list[str]:
        """What to say, a line a name: where it is first, in how many images more, what it may mean."""
        return [self._line(name, where, len(self._images[name]) - 1) for name, where in self._first.items()]

    def _line(self, name: str, where: str, more: int) -> str:
        near = nearest_name(name, (one for one in self._classes if one not in self._doubted))
        elsewhere = f", and in {counted(more, 'image')} more" if more else ""
        return (
            f"{where}: unknown class {name!r}{elsewhere}; "
            f"expected one of {', '.join(self._classes)}{f'; did you mean {near!r}?' if near else ''}"
        )


def annotated_names(declared: Iterable[Declared]) -> Counter[str]:
    """Names of the objects' classes -> images that have one."""
    return Counter(name for one in declared for name in one.names)


def misspelt_classes(wanted: Sequence[str], annotated: Mapping[str, int]) -> dict[str, str]:
    """Classes that are asked for and annotated nowhere -> the annotated name that is near.

    Args:
        annotated: see `annotated_names`.
    """
    others = sorted(set(annotated) - set(wanted))
    near = {name: nearest_name(name, others) for name in wanted if name not in annotated}
    return {name: other for name, other in near.items() if other is not None}


def misspelt_line(wanted: str, near: str, images: int) -> str:
    """A misspelt class in words; `images` have the name that is near."""
    return (
        f"data.classes: expected classes that are annotated, got {wanted!r}; did you mean {near!r} "
        f"(in {counted(images, 'image')})?"
    )


def unknown_lines(
    declared: Iterable[Declared], classes: Sequence[str], misspelt: Mapping[str, str]
) -> list[str]:
    """What to say of names that are no class, see `UnknownClasses`, and at the end what helps; those that a misspelt
    class means are told with it.

    Args:
        misspelt: see `misspelt_classes`.
    """
    found, known = UnknownClasses(classes, misspelt), {*classes, *misspelt.values()}
    for one in declared:
        if not one.names <= known:
            for item in one.objects:
                if item.name not in known:
                    found.add(item.name, one.image_id, f"{item.where} (image {one.image_id})")
    lines = found.lines()
    return (
        [*lines[:-1], f"{lines[-1]}; data.on_unknown_class=ignore leaves such objects out"] if lines else []
    )
