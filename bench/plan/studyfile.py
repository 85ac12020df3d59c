"""A study as a TOML file: the flags of `run` by name, sweeps, and several groups. Light to import.

    algorithms = ["om2p", "dom2"]
    datasets = ["mpe/spread/expert"]
    seeds = 5
    preset = "cpu"

    [set]
    "run.updates" = 8000

    [sweep]
    "om2p.q_weight" = [0.1, 0.3, 1]

    [[group]]
    datasets = ["mpe/tag/expert"]
    seeds = [3, 7]

Keys are those of `RunConfig`, or the flags' own names (`algos`). What stands on top holds for every
group; a group says what differs. `[measure]`, `[stress]` and `[tune]` hold flags of these commands.
"""

import dataclasses
import difflib
import hashlib
import re
import tomllib
from pathlib import Path
from typing import Any

from bench.errors import BenchError, closest
from bench.outside import Flags, TomlTable
from bench.plan.config import CLUSTER, MACHINE, RESULTS, RunConfig
from bench.plan.flags import Flag, flags_of, sweep

TABLES = ("set", "sweep", "group")
COMMANDS = ("measure", "stress", "tune")
WHOLE = (RESULTS, MACHINE, CLUSTER)  # groups of flags that concern the whole study


@dataclasses.dataclass(frozen=True)
class StudyFile:
    """What a study file says: values by field, as typed on a command line; one part per group."""

    path: Path
    text: str
    common: Flags
    groups: list[Flags]
    commands: dict[str, TomlTable]

    def flags(self, table: TomlTable) -> Flags:
        """Return the flags of a run that a table gives, by the names of their fields."""
        return _Reader(self.path, self.text).values(table)

    @property
    def sha256(self) -> str:
        """Return the hash of the file's text."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def read(path: Path) -> StudyFile:
    """Read a study file. Raises BenchError with the line and the key of what is wrong."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise BenchError(
            f"the study file {path} cannot be read ({reason}): `bench init {path}` writes one"
        ) from error
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise BenchError(f"{path} is no valid TOML: {error}") from error
    reader = _Reader(path, text)
    commands = {name: reader.table(table, name) for name in COMMANDS}
    groups = table.get("group", [])
    if not isinstance(groups, list) or not all(isinstance(group, dict) for group in groups):
        raise BenchError(f"{reader.at('group')}: groups are written [[group]]")
    common = reader.values({k: v for k, v in table.items() if k not in ("group", *COMMANDS)})
    return StudyFile(path, text, common, [reader.values(group) for group in groups], commands)


@dataclasses.dataclass(frozen=True)
class _Reader:
    """Turns tables of a file into values, naming the line of what is wrong."""

    path: Path
    text: str

    def at(self, key: str) -> str:
        """Return where a key stands: file and line."""
        pattern = re.compile(rf"""^\s*(?:\[+\s*)?["']?{re.escape(key)}["']?\s*(?:=|\]|\.)""")
        for number, line in enumerate(self.text.splitlines(), 1):
            if pattern.match(line):
                return f"{self.path}, line {number}, {key}"
        return f"{self.path}, {key}"

    def table(self, within: TomlTable, name: str) -> TomlTable:
        """Return a table of a file, empty where it has none."""
        value = within.get(name, {})
        if not isinstance(value, dict):
            raise BenchError(f"{self.at(name)}: it has to be a table, [{name}]")
        return value

    def values(self, table: TomlTable) -> Flags:
        """Return the flags of a table by their fields' names, overrides and sweeps put together."""
        named = _fields()
        read: Flags = {}
        for key, value in table.items():
            if key in TABLES:
                continue
            name = named.get(key.replace("-", "_"))
            if name is None:
                options = [*named, *TABLES, *COMMANDS]
                near = difflib.get_close_matches(key, options, n=2, cutoff=0.6)
                cure = closest(key, options) if near else "`run --help` lists the flags"
                raise BenchError(f"{self.at(key)}: a study has no such key; {cure}")
            read[name] = self._typed(key, value, flags_of(RunConfig)[name])
        overrides = dict(self.table(table, "set"))
        for key, several in self.table(table, "sweep").items():
            if not isinstance(several, list) or not several:
                raise BenchError(f"{self.at(key)}: a sweep is a list of values, such as [0.1, 1]")
            overrides[key] = sweep(several)
        if overrides:
            read["overrides"] = overrides
        return read

    def _typed(self, key: str, value: Any, flag: Flag) -> Any:
        """Return a value of TOML as its field takes it."""
        try:
            if isinstance(value, list) and flag.name in ("algorithms", "datasets", "plugins"):
                return tuple(Path(one) if flag.name == "plugins" else str(one) for one in value)
            if isinstance(value, list) and flag.name == "seeds":
                return tuple(value)
            if flag.name in ("algorithms", "datasets", "seeds", "data_seed"):
                return flag.read(str(value))
            if flag.kind in (Path, Path | None) and isinstance(value, str):
                return Path(value)
            if flag.name == "replicas":
                return str(value)
        except BenchError as error:
            raise BenchError(f"{self.at(key)}: {error}") from error
        return value


def _fields() -> dict[str, str]:
    """Return the names that a file may use for a flag: its field's, and the option's own."""
    names = {}
    for name, flag in flags_of(RunConfig).items():
        if name != "overrides":
            names[name] = names[flag.option.removeprefix("--").replace("-", "_")] = name
    return names


def config_of(study: StudyFile, given: Flags) -> RunConfig:
    """Return the configuration of a study; `given`, what was typed beside the file, wins.

    Raises BenchError for values that do not fit, naming the file.
    """
    flags = flags_of(RunConfig)
    for group in study.groups:
        for name in group:
            if flags[name].group in WHOLE and name not in given:
                raise BenchError(
                    f"{study.path}: {name} is for the whole study: move it above the first group"
                )
    study = _narrowed(study, given)
    try:
        parts = [_merged(study.common, group, given) for group in study.groups]
        return RunConfig(
            **_merged_values(study.common, {}, given), parts=tuple(parts), file=study.path
        )
    except BenchError as error:
        raise BenchError(f"{study.path}: {error}") from error


def _narrowed(study: StudyFile, given: Flags) -> StudyFile:
    """Return a study without the settings of algorithms that typed flags leave out."""
    layers = (study.common, *study.groups)
    named = {name for layer in layers for name in layer.get("algorithms", ())}
    without = named - set(given.get("algorithms", named))

    def kept(layer: Flags) -> Flags:
        overrides = layer.get("overrides", {})
        left = {k: v for k, v in overrides.items() if k.partition(".")[0] not in without}
        return {**layer, "overrides": left} if overrides else layer

    return dataclasses.replace(study, common=kept(study.common), groups=[*map(kept, study.groups)])


def _merged(*layers: Flags) -> RunConfig:
    return RunConfig(**_merged_values(*layers))


def _merged_values(*layers: Flags) -> Flags:
    """Return values, those of later layers winning; overrides are merged key by key."""
    values: Flags = {}
    for layer in layers:
        overrides = {**values.get("overrides", {}), **layer.get("overrides", {})}
        values |= {**layer, "overrides": overrides}
    return values


TEMPLATE = """\
# A study for om2p-bench:  python -m bench run {name}
# Every key is a flag of `run` (`python -m bench run --help`); a flag that is typed wins.

algorithms = ["om2p", "dom2"]        # or "all"; `list algorithms` names them
datasets = ["mpe/spread/expert"]     # `list datasets` names them
seeds = 5                            # 0, 1, 2, 3, 4; or a list such as [3, 7]
preset = "quick"                     # smoke, quick, cpu, paper, or a file of your own
out = "results"
# jobs = 2                           # cells side by side; by default one per core
# data_seed = "paired"               # training seed s learns from recording s
# launcher = "ray"                   # or: python -m bench plan {name} --format slurm
# tensorboard = true                 # trackers: tensorboard, wandb, mlflow

# One value for all cells. Keys as in `list settings om2p`; "run." for the budget.
[set]
# "run.updates" = 8000
# "algorithm.hidden" = [64, 64]      # every algorithm that has it

# Several values, each a variant of its own in the report.
[sweep]
# "om2p.q_weight" = [0.1, 0.3, 1]

# More groups share what stands above and say what differs.
# [[group]]
# datasets = ["mpe/spread/medium-replay"]
#
# [[group]]
# datasets = ["mpe/tag/expert"]
# seeds = [3, 7]
#   [group.set]
#   "run.updates" = 2000

# Flags of other commands that take this file: measure, stress, tune
# [measure]                          # python -m bench measure {name}
# rounds = 7
"""


def template(name: str) -> str:
    """Return a commented study file that runs as it is."""
    return TEMPLATE.format(name=name)
