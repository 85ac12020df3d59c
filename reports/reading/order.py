"""The fixed order of algorithms and datasets in every table, legend and list."""

ALGORITHMS = (
    "om2p", "om2p-release", "om2p-jvp", "om2p-batch-jacobian", "dom2", "diffusion-ql", "edp",
    "consistency-ql", "diffusion-bc", "flow-bc", "flow-bc-joint", "fql", "ifql", "mac-flow",
    "mac-flow-factorised", "meanflow-ql", "shortcut-ql", "madiff-d", "madiff-c", "coflow-d",
    "coflow", "dof", "dof-shipped", "bc", "bc-gaussian", "td3bc", "cql", "omar", "iql", "rebrac",
    "icq", "omiga", "cfcql",
)  # fmt: skip
QUALITIES = (
    "expert", "medium-expert", "medium90-expert10", "medium", "medium-replay", "random-medium",
    "random90-medium10", "random",
)  # fmt: skip
DOMAINS = ("mpe", "mamujoco", "import")


PERTURBATIONS = (
    "observation-noise", "observation-dropout", "observation-mask", "observation-delay",
    "view-range", "action-noise", "action-delay", "dynamics", "team", "attack-action",
    "attack-value",
)  # fmt: skip


def place(name: str, known: tuple[str, ...]) -> tuple[int, str]:
    """Return a sorting key: `known` names in their order, then the others by name."""
    return (known.index(name) if name in known else len(known), name)


def of_algorithm(name: str) -> tuple[int, str]:
    """Return the sorting key of an algorithm; plug-ins follow ours, by name."""
    return place(name, ALGORITHMS)


def of_perturbation(name: str) -> tuple[tuple[int, str], str]:
    """Return the sorting key of a perturbation: its family's place, then its variant."""
    family, _, variant = name.partition("/")
    return place(family, PERTURBATIONS), variant
