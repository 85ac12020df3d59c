"""From a configuration to cells: algorithms x datasets x seeds with stable ids. Torch-free."""

import dataclasses
import itertools
import math
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NotRequired, TypedDict

import algorithms
import datasets
from algorithms.errors import AlgorithmError
from bench.errors import BenchError
from bench.outside import Json, Recipe, Settings, TomlTable
from bench.plan import plugins, presets, resolve, tuned
from bench.plan.config import RunConfig
from bench.plan.flags import ALL, PAIRED, swept
from bench.plan.resolve import RunSettings
from bench.results import record
from bench.results.record import SCHEMA, canonical, cell_id, digest
from datasets.paths import expanded
from datasets.protocol import PROTOCOL, Protocol
from datasets.views import grammar

MOST_COMBINATIONS = 1_000  # of a sweep's values: more is a slip


class DataRequest(TypedDict):
    """How data are asked for: the arguments of `datasets.load` besides the id."""

    data_seed: int
    size: int | None  # transitions; None for the recipe's
    fraction: float
    rules: str | None
    prey: str | None
    data_dir: str | None
    recipe_version: NotRequired[int | None]  # of a recorded cell that runs again


class Identity(TypedDict):
    """What a cell's id is a hash of. Keys that came later stand only where they say something."""

    schema: int
    algorithm: str
    algorithm_version: int
    dataset: Recipe
    seed: int
    config: str  # hash of the canonical settings
    tuned: NotRequired[bool]
    plugin: NotRequired[str]  # hash of the plug-in's source
    paired: NotRequired[bool]
    protocol: NotRequired[int]
    start_seed: NotRequired[int]


@dataclasses.dataclass(frozen=True)
class Cell:
    """One training run. Its id is a hash of everything that can change its numbers."""

    id: str
    algorithm: str
    algorithm_version: int
    dataset: str
    recipe: Recipe  # the dataset's identity, known before any data are built
    seed: int
    run: RunSettings
    settings: Settings  # the algorithm's settings as plain values
    canonical: str  # the one JSON text of run and settings
    config_hash: str
    preset: str
    data: DataRequest
    tuned: Json | None = None  # published values and their source, under --tuned
    plugin: record.Plugin | None = None  # the plug-in that the algorithm comes from
    paired: bool = False  # whether every training seed of the study has a recording of its own
    protocol: Protocol = PROTOCOL  # how it is evaluated
    tuning: TomlTable | None = None  # how a preset's file says that its values were chosen

    def identity(self) -> Identity:
        """Return what the id is a hash of."""
        identity: Identity = {
            "schema": SCHEMA,
            "algorithm": self.algorithm,
            "algorithm_version": self.algorithm_version,
            "dataset": self.recipe,
            "seed": self.seed,
            "config": self.config_hash,
        }
        if self.tuned is not None:  # even where the published values are the usual ones
            identity["tuned"] = True
        if self.plugin is not None:
            identity["plugin"] = self.plugin.sha256
        if self.paired:  # even seed 0, which learns from the same data as in a study of one
            identity["paired"] = True
        if self.protocol.version != 1:  # so that cells of version 1 keep their ids
            identity["protocol"] = self.protocol.version
        if self.protocol.seed != PROTOCOL.seed:
            identity["start_seed"] = self.protocol.seed
        return identity

    def as_dict(self) -> Json:
        """Return the cell as plain values, to be sent to a worker."""
        return {**dataclasses.asdict(self), "run": self.run.model_dump()}


def cells(config: RunConfig) -> list[Cell]:
    """Return the cells of a study, dataset by dataset, all algorithms of a seed side by side.

    Of a sweep, all combinations of its values; cells that several of them share come once. Raises
    BenchError, AlgorithmError or DatasetError for an unknown name or setting.
    """
    return [cell for cell, _ in with_origins(config)]


def with_origins(config: RunConfig) -> list[tuple[Cell, RunConfig]]:
    """Return the cells of a study, each with the plain configuration that it comes from."""
    parts = config.parts or (config,)
    for part in parts:
        plugins.load_all(part.plugins)
    known = dict.fromkeys(name for part in parts for name in algorithms_of(part))
    made: dict[str, tuple[Cell, RunConfig]] = {}
    for part in parts:
        resolve.check_overrides(
            part.overrides, known
        )  # of a study's groups, one may lack another's
        for plain in combinations(part):
            for cell in _plain_cells(plain):
                made.setdefault(cell.id, (cell, plain))
    return list(made.values())


def combinations(config: RunConfig) -> list[RunConfig]:
    """Return a configuration for every combination of the values that a configuration sweeps."""
    lists = {key: values for key, value in config.overrides.items() if (values := swept(value))}
    count = math.prod(map(len, lists.values()))
    if count > MOST_COMBINATIONS:
        raise BenchError(
            f"the sweep has {count:,} combinations: at most {MOST_COMBINATIONS:,} are run"
        )
    return [
        config.replace(overrides={**config.overrides, **dict(zip(lists, values, strict=True))})
        for values in itertools.product(*lists.values())
    ]


def _plain_cells(config: RunConfig) -> list[Cell]:
    """Return the cells of a configuration that sweeps nothing."""
    preset = presets.load(config.preset)
    names = algorithms_of(config)
    paired = config.data_seed == PAIRED
    protocol = dataclasses.replace(PROTOCOL, seed=config.start_seed)
    made: list[Cell] = []
    for name in config.datasets:
        recipe = datasets.recipe(name, **data_of(config, config.seeds[0]))
        run = resolve.resolve_run(preset, config.overrides, recipe["task"])
        methods = [_method(one, preset, run, config, name, recipe) for one in names]
        for seed in config.seeds:
            data = data_of(config, seed)
            own = _paired(name, data) if paired else recipe
            made += [
                _cell(method, name, own, seed, run, data, preset.name, paired, protocol)
                for method in methods
            ]
    return made


def algorithms_of(config: RunConfig) -> tuple[str, ...]:
    """Return the algorithms of a study: those it names, or with the word `all` every one.

    Plug-ins have to be loaded. Raises AlgorithmError for an unknown name, with the switch that
    loads one's own.
    """
    if ALL in config.algorithms:
        return tuple(algorithms.names())
    for name in config.algorithms:
        try:
            algorithms.row(name)
        except AlgorithmError as error:
            raise AlgorithmError(
                f"{str(error).rstrip('.')} (one of your own comes with --plugin FILE)"
            ) from error
    return config.algorithms


def _paired(dataset: str, data: DataRequest) -> Recipe:
    """Return the recipe of one training seed's own recording."""
    recipe = datasets.recipe(dataset, **data)
    if recipe["data_seed"] is None:
        raise BenchError(
            f"{dataset} is a single recording, so that no training seed has one of its own: leave "
            "--data-seed paired out, or import a folder with one sub-folder per seed"
        )
    return recipe


def data_of(config: RunConfig, seed: int) -> DataRequest:
    """Return how the data of a training seed are asked for."""
    return {
        "data_seed": seed if isinstance(config.data_seed, str) else config.data_seed,
        "size": config.size,
        "fraction": config.fraction,
        "rules": config.rules,
        "prey": absolute(config.prey),
        "data_dir": None if config.data_dir is None else str(config.data_dir),
    }


def absolute(prey: str | None) -> str | None:
    """Return the absolute path of a prey's file; what is no file stays as it is."""
    if prey is None or not expanded(prey).is_file():
        return prey
    return str(expanded(prey).absolute())


@dataclasses.dataclass(frozen=True)
class _Method:
    """An algorithm with its settings: what cells of different seeds share."""

    name: str
    version: int
    settings: Settings
    canonical: str
    hash: str
    tuned: Json | None
    tuning: TomlTable | None


def _method(
    name: str,
    preset: presets.Preset,
    run: RunSettings,
    config: RunConfig,
    dataset: str,
    recipe: Recipe,
) -> _Method:
    """Resolve one algorithm's settings on a dataset and their canonical form."""
    published = None
    if config.tuned:
        published = tuned.lookup(name, recipe.get("task"), recipe.get("quality"))
    values = published.values if published else None
    settings = resolve.resolve_settings(
        name, preset, config.overrides, run.updates, values, dataset
    )
    text = canonical({"algorithm": resolve.in_identity(name, settings), "run": run.identity()})
    version = algorithms.row(name).version
    note = published.as_dict() if published else None
    own = preset.own(name, dataset)
    changed = any(
        f"{section}.{key}" in config.overrides for key in own for section in (name, "algorithm")
    )
    tuning = None if changed else preset.tuning(name, dataset)
    return _Method(name, version, settings, text, digest(text), note, tuning)


def _cell(
    method: _Method,
    dataset: str,
    recipe: Recipe,
    seed: int,
    run: RunSettings,
    data: DataRequest,
    preset: str,
    paired: bool,
    protocol: Protocol,
) -> Cell:
    """Put one cell together and give it its id."""
    cell = Cell(
        "", method.name, method.version, dataset, recipe, seed, run, method.settings,
        method.canonical, method.hash, preset, data, method.tuned, plugins.of(method.name), paired,
        protocol, method.tuning,
    )  # fmt: skip
    return dataclasses.replace(cell, id=cell_id(cell.identity()))


def new_record(cell: Cell, status: str = "queued") -> record.Record:
    """Return the record of a cell of which only the plan is known."""
    return record.Record(
        cell=cell.id,
        status=status,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        seed=cell.seed,
        identity=dict(cell.identity()),
        algorithm=record.Algorithm(
            name=cell.algorithm,
            version=cell.algorithm_version,
            plugin=cell.plugin,
            look=None if cell.plugin is None else _look(cell.algorithm),
        ),
        config=record.Config(
            preset=cell.preset,
            hash=cell.config_hash,
            canonical=cell.canonical,
            run=cell.run.model_dump(),
            algorithm=cell.settings,
            tuned=cell.tuned,
            tuning=cell.tuning,
            data=_data_asked_for(cell),
        ),
        dataset=record.Dataset(
            id=cell.dataset,
            task=cell.recipe["task"],
            quality=_quality(cell),
            rules=cell.recipe.get("rules"),
            prey=cell.recipe.get("prey"),
            data_seed=cell.data["data_seed"],
            paired=cell.paired,
            size=cell.recipe.get("size"),
            fraction=cell.data["fraction"],
            task_version=cell.recipe.get("task_version", 1),
        ),
        protocol=record.Protocol(
            version=cell.protocol.version,
            seed=cell.protocol.seed,
            episodes_at_once=cell.protocol.episodes_at_once,
            horizon=cell.protocol.horizon,
        ),
    )


def _look(algorithm: str) -> record.Look | None:
    """Return how a plug-in wants its algorithm shown; reports read records without the plug-in."""
    row = algorithms.row(algorithm)
    if not (row.label or row.colour or row.marker):
        return None
    return record.Look(label=row.label or None, colour=row.colour, marker=row.marker)


def protocol_of(recorded: record.Record) -> Protocol:
    """Return how a recorded cell was evaluated, in the protocol's present version.

    Records without the section are of version 1, whose values are the defaults.
    """
    section = recorded.protocol
    if section is None:
        return PROTOCOL
    return dataclasses.replace(
        PROTOCOL,
        seed=PROTOCOL.seed if section.seed is None else section.seed,
        episodes_at_once=section.episodes_at_once or PROTOCOL.episodes_at_once,
        horizon=section.horizon,
    )


def _quality(cell: Cell) -> str | None:
    """Return the quality of the data, with the views through which they are seen."""
    quality, (_, views) = cell.recipe.get("quality"), grammar.split(cell.dataset)
    return None if quality is None else f"{quality}{grammar.suffix(views)}"


def _data_asked_for(cell: Cell) -> Json:
    """Return how the data were asked for; of folders and files of this machine, nothing.

    A prey's file is named by its hash.
    """
    asked = {key: value for key, value in cell.data.items() if key != "data_dir"}
    return asked if asked["prey"] is None else {**asked, "prey": cell.recipe["prey"]}


def from_dict(values: Json) -> Cell:
    """Rebuild a cell from `Cell.as_dict`."""
    run, protocol = RunSettings(**values["run"]), Protocol(**values["protocol"])
    plugin = None if values["plugin"] is None else record.Plugin.filled(values["plugin"])
    return Cell(**{**values, "run": run, "protocol": protocol, "plugin": plugin})


def distinct_datasets(chosen: Iterable[Cell]) -> list[Cell]:
    """Return one cell of each dataset, in order: what has to be there before cells start."""
    first: dict[str, Cell] = {}
    for cell in chosen:
        first.setdefault(canonical([cell.dataset, cell.data]), cell)
    return list(first.values())
