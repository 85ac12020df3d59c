"""A dataset's card in words, for reading in a terminal."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from datasets.errors import counted
from datasets.recorded.files import CARD, read_card
from datasets.recorded.store import Dataset
from datasets.tasks import Task, load_task
from datasets.views import grammar

BAR = 40


def card_of(dataset: Dataset) -> dict[str, Any]:
    """Return a dataset's card, with what earlier versions measured otherwise or not at all."""
    from datasets.recorded.card import COVERAGE_SAMPLE, coverage
    from datasets.recorded.team import measure

    card = dataset.card
    known = card.get("coverage")
    if not (isinstance(known, dict) and known.get("sample") == COVERAGE_SAMPLE):
        card = card | {"coverage": coverage(dataset)}
    return card if "cloning" in card else card | measure(dataset)


def text(dataset: Dataset, prey: str | None = None) -> str:
    """Describe a dataset: size, team, returns, coverage, how it was made, checksums.

    prey: the file against which it was recorded, where that is not the shipped prey.
    """
    card = card_of(dataset)
    task = load_task(
        card["task"],
        card["rules"],
        prey or card["prey"],
        recipe_version=card["recipe"].get("recipe_version"),
    )
    return "\n".join(_lines(card, dataset.folder, task))


def _lines(card: dict[str, Any], folder: Path, task: Task) -> Iterator[str]:
    returns = card["returns"]
    score = task.score_if_known(returns["mean"])
    own = "a policy of its recorder's" if "policy" in card["recipe"] else "imported"
    seed = own if card["data_seed"] is None else f"data seed {card['data_seed']}"
    against = "" if task.prey is None else f", prey {task.prey}"
    yield f"{card['id']}   (task {task.id}, rules {card['rules']}{against}, {seed})"
    yield f"  folder       {folder}"
    yield from (f"  view         {_view(name)}" for name in card.get("views", ()))
    yield f"  size         {_size(card)}"
    yield f"  horizon      {card['horizon']} steps; {card['cut_rule']}"
    sizes = ", ".join(map(str, card["observation_sizes"]))
    actions = ", ".join(map(str, card["action_sizes"]))
    yield f"  team         {card['agents']} agents; observations {sizes}; actions {actions}"
    yield f"  return       {card['return_definition']}"
    yield (
        f"               mean {returns['mean']:.2f} ± {returns['standard_error']:.2f} (s.e.), "
        f"s.d. {returns['std']:.2f}, "
        + ("no score: no references" if score is None else f"score {score:.1f}")
    )
    quantiles = "  ".join(f"{key}: {value:.0f}" for key, value in returns["quantiles"].items())
    yield f"  quantiles    {quantiles}"
    yield f"  rewards      agents differ in {100 * card['differing_reward_share']:.2f}% of steps"
    yield f"  actions      {100 * card['saturated_action_share']:.1f}% of the entries beyond ±0.99"
    yield from _coverage(card["coverage"])
    yield from _replayed(card.get("replay"))
    yield from _team(card)
    yield from (f"  note         {note}" for note in card.get("notes", ()))
    yield from _recipe(card)
    yield f"  checksum     {card['checksum']}"
    yield from (f"    {value}  {name}" for name, value in sorted(card["files"].items()))
    yield f"  licence      {card['licence']}"
    yield "  histogram of returns"
    yield from _histogram(returns["histogram"])


def imported_text(folder: Path) -> Iterator[str]:
    """Describe what an import brought in, recording by recording: what to look at first."""
    for place in sorted({path.parent for path in [*folder.glob(CARD), *folder.glob(f"*/{CARD}")]}):
        card = read_card(place)
        task = load_task(card["task"], card["rules"], card["prey"])
        returns, score = card["returns"], task.score_if_known(card["returns"]["mean"])
        if place != folder:
            yield f"  recording    {place.name}"
        yield f"  size         {_size(card)}"
        word = "recorded" if "policy" in card["recipe"] else "assumed"
        yield f"  {word:<12} rules {card['rules']}, prey {card['prey'] or 'unknown or none'}"
        scored = "no score: no references" if score is None else f"score {score:.1f}"
        yield f"  return       mean {returns['mean']:.2f}, s.d. {returns['std']:.2f}, {scored}"
        for name, value in (("random", task.random_return), ("expert", task.expert_return)):
            if value is not None:
                yield f"               {name} team of this task: {value.mean:.2f}"
        for agent, (low, high) in enumerate(_action_ranges(place, card)):
            yield f"  actions      agent {agent}: {low:.3f} to {high:.3f}"
        yield from _replayed(card.get("replay"))
        yield from (f"  note         {note}" for note in card.get("notes", ()))
        yield from _recipe(card) if "policy" in card["recipe"] else ()


def _action_ranges(folder: Path, card: dict[str, Any]) -> Iterator[tuple[float, float]]:
    """Return the smallest and the largest number in every agent's actions."""
    action = np.load(folder / "action.npy", mmap_mode="r", allow_pickle=False)
    for agent, size in enumerate(card["action_sizes"]):
        own = action[:, agent, :size]
        yield float(own.min()), float(own.max())


def _replayed(replay: dict[str, Any] | None) -> Iterator[str]:
    """Tell which share of a sample obeyed the task's rules when it was imported."""
    if not replay:
        return
    shares = ", ".join(f"{name} {100 * share:.1f}%" for name, share in replay["checks"].items())
    yield f"  obeys        {shares} of {replay['rows']:,} rows that were replayed"
    if replay["accepted"]:
        yield "  beware       too few rows obey the task's rules; imported with --accept-unlike"
    yield from (f"  likely cause {cause}" for cause in replay["causes"])
    yield from (f"  not checked  {what}" for what in replay["unchecked"])


def _view(name: str) -> str:
    """Say what a view does."""
    (view,) = grammar.split(f"@{name}")[1]
    return f"@{name}: {view.what.summary}" + (f" ({view.what.amount})" if view.what.amount else "")


def _size(card: dict[str, Any]) -> str:
    shortest, longest = card["episode_length"]["min"], card["episode_length"]["max"]
    same = shortest == longest
    span = counted(shortest, "step") if same else f"{shortest} to {longest} steps"
    kept = "" if card["fraction"] == 1.0 else f"; {card['fraction']:g} of the recorded episodes"
    return (
        f"{counted(card['n_transitions'], 'transition')} in "
        f"{counted(card['n_episodes'], 'episode')} of {span}"
        f"{kept}"
    )


def _coverage(coverage: dict[str, Any]) -> Iterator[str]:
    yield (
        f"  coverage     {100 * coverage['observations']:.1f}% of an agent's observations are new, "
        f"{100 * coverage['pairs']:.1f}% of its observations with actions"
    )
    yield (
        f"               ({coverage['steps']:,} steps on a grid of width "
        f"{coverage['observation_width']:g}, actions in {coverage['action_bins']} bins a dimension)"
    )


def _team(card: dict[str, Any]) -> Iterator[str]:
    """Tell what kind of team acted, who ended where, and how well networks predict it."""
    for part in card.get("team") or ():
        noise = "" if part["noise"] is None else f", noise {part['noise']:.2g}"
        yield f"  behaviour    {part['quality']}: {part['actors']}{noise}"
    roles = card.get("roles")
    if roles:
        between = "" if len(roles["kept"]) <= 10 else "-"  # numbers of two digits run together
        shares = ", ".join(
            f"{between.join(map(str, one['landmarks']))} {100 * one['share']:.1f}%"
            for one in roles["assignments"]
        )
        more = "" if roles["different"] <= len(roles["assignments"]) else " ..."
        yield f"  roles        landmarks of agents 0, 1 ... at the end: {shares}{more}"
        kept = ", ".join(f"{100 * share:.1f}%" for share in roles["kept"])
        yield f"               agents end on their commonest landmark in {kept} of the episodes"
    cloning = card.get("cloning")
    if cloning:
        errors = ", ".join(f"{error:.3f}" for error in cloning["error"])
        spreads = ", ".join(f"{spread:.3f}" for spread in cloning["spread"])
        yield f"  predictable  from an agent's own observation: r.m.s. error {errors}"
        yield (
            f"               (networks cloned with {cloning['updates']:,} updates on "
            f"{cloning['steps']:,} steps; deviation of the actions {spreads})"
        )


def _recipe(card: dict[str, Any]) -> Iterator[str]:
    """Tell how a set was made: parts and policies, or the files that were read."""
    recipe = card["recipe"]
    for part in recipe.get("parts", ()):
        noise = "" if part.get("noise") is None else f", noise {part['noise']:g}"
        yield f"  recipe       {part['size']:,} transitions of {part['quality']}{noise}"
    if "recipe_version" in recipe:
        yield f"               recipe version {recipe['recipe_version']}"
    if recipe.get("policies"):
        yield f"  policies     {recipe['policies']}"
    if card.get("replay_kind"):
        snapshots = card["replay_kind"]["snapshots"]
        steps = ", ".join(f"{row['vector_step']:.0f}" for row in snapshots)
        yield f"  replay       snapshots at vector steps {steps}, each with its training noise"
    if recipe.get("policy"):
        policy = recipe["policy"]
        yield f"  recipe       {recipe['size']:,} transitions, data seed {recipe['data_seed']}"
        yield f"  policy       {policy['file']}:{policy['function']} {policy['sha256']}"
        modules = policy.get("modules") or {}
        yield from (f"    {value}  {name}" for name, value in sorted(modules.items()))
    if "source_files" in recipe:
        yield f"  recipe       {card['source']}: {counted(len(recipe['source_files']), 'file')}"
    for name, origin in (("hub", recipe.get("hub")), ("archive", recipe.get("archive"))):
        if origin:
            yield f"  {name:<12} {' '.join(str(value) for value in origin.values() if value)}"


def _histogram(histogram: dict[str, list[float]]) -> Iterator[str]:
    counts, edges = histogram["counts"], histogram["edges"]
    pairs = [(edges[i], sum(counts[i : i + 2])) for i in range(0, len(counts), 2)]
    top = max(count for _, count in pairs) or 1
    for edge, count in pairs:
        yield f"  {edge:9.1f} | {'█' * round(BAR * count / top)} {int(count)}"
