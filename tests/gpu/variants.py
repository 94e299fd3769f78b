"""Settings of the trainings that take other ways, and the commands for them."""

from pathlib import Path

from tests.gpu.pretended import ON_CUDA

CONDITIONAL = {
    "float16": ("precision=float16",),
    "bfloat16": ("precision=bfloat16",),
    "checkpointing": ("checkpointing=true",),
    "U-Net": ("architecture=unet", "widths=[8,8,16]"),
    "ResNet-18": ("architecture=resnet18", "pretrained=null", "stride=16"),
    "root pooling": ("pooling=root",),
    "unary terms": ("terms=U",),
    "one sample": ("k=1",),
    "held back": ("held_back=0.25",),
}
PREDICTION = {
    "float16": ("precision=float16",),
    "bfloat16": ("precision=bfloat16",),
    "average of weights": ("ema_momentum=0.1",),
    "float16, averaged": ("precision=float16", "ema_momentum=0.1"),
    "SGD": ("optimizer=sgd", "schedule=step"),
    "pointwise": ("self_diversity=0",),
    "a worker": ("data_workers=1",),
    "in parts": ("gradient_accumulation=2",),
}


def words(name: str, store: Path, *settings: str) -> list[str]:
    """`wsis stage`, in outer iteration 1 where there is one."""
    iteration = ["--iteration", "1"] if name in ("conditional", "prediction") else []
    overrides = [x for s in (*ON_CUDA[:1], *settings) for x in ("--set", s)]
    return ["stage", name, "--run", "tiny", "--force", *iteration, "--store", str(store), *overrides]


def each(store: Path) -> list[tuple[str, str | None, list[str]]]:
    """All of them in one store, for `stage_runs`: the names are `conditional float16`, ..."""
    return [
        (f"{section} {name}", None, words(section, store, *(f"{section}.{s}" for s in settings)))
        for section, table in (("conditional", CONDITIONAL), ("prediction", PREDICTION))
        for name, settings in table.items()
    ]


NAMES = [*(f"conditional {name}" for name in CONDITIONAL), *(f"prediction {name}" for name in PREDICTION)]
