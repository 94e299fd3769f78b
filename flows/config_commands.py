"""The command of `wsis` for configurations: which ship."""


def configs() -> None:
    """The configurations that ship with wsis."""
    from flows.shipped import shipped_configs, shipped_suites

    for heading, shipped in (("", shipped_configs()), ("\nsuites, for `wsis ablations`:", shipped_suites())):
        if heading:
            print(heading)
        for name, path in shipped.items():
            first = next((x for x in path.read_text().splitlines() if x.startswith("#")), "#")
            print(f"{name:24s} {first.lstrip('# ')}")
