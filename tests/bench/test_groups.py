"""Which seeds are trained together, and when groups start."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import algorithms
from bench.plan import config, estimate, grid, groups
from bench.study import schedule
from bench.study.resume import plan_study

Make = Callable[..., Any]
ROOT = Path(__file__).parents[2]


def cells_of(*names: str, seeds: int = 5, **options: Any) -> list[Any]:
    made = config.make_config(algorithms=names, seeds=tuple(range(seeds)), **options)
    return grid.cells(made)


def shapes(made: groups.Schedule) -> list[tuple[str, int]]:
    return [(group[0].algorithm, len(group)) for group in made.groups]


def test_the_main_job_on_two_cores_has_three_and_two_seeds_the_longest_first() -> None:
    cells = cells_of("om2p", "dom2")
    made = groups.schedule(cells, 2, groups.costs(cells))
    assert shapes(made) == [("dom2", 3), ("dom2", 2), ("om2p", 3), ("om2p", 2)]
    assert all(len({cell.seed for cell in group}) == len(group) for group in made.groups)
    assert sorted(c.id for g in made.groups for c in g) == sorted(cell.id for cell in cells)


@pytest.mark.parametrize(
    ("places", "sizes"), [(1, [5]), (2, [3, 2]), (3, [2, 2, 1]), (5, [1] * 5), (99, [1] * 5)]
)
def test_no_place_is_idle_while_seeds_wait(places: int, sizes: list[int]) -> None:
    cells = cells_of("om2p")
    made = groups.schedule(cells, places, groups.costs(cells))
    assert [len(group) for group in made.groups] == sizes


def test_short_cells_share_a_process_rather_than_start_one_each() -> None:
    cells = cells_of("om2p", "dom2", preset="smoke")
    assert shapes(groups.schedule(cells, 2, groups.costs(cells))) == [("dom2", 5), ("om2p", 5)]


def test_a_group_has_at_most_eight_seeds_of_nearly_equal_number() -> None:
    cells = cells_of("bc", seeds=20)
    made = groups.schedule(cells, 1, groups.costs(cells))
    assert [len(group) for group in made.groups] == [7, 7, 6]


def test_cells_alone_start_longest_first_too() -> None:
    cells = cells_of("bc", "om2p", "dom2", seeds=2)
    made = groups.schedule(cells, 2, groups.costs(cells), together=False)
    names = ["dom2", "dom2", "om2p", "om2p", "bc", "bc"]
    assert shapes(made) == [(name, 1) for name in names]


def test_cells_of_different_states_are_not_put_together() -> None:
    cells = cells_of("om2p")
    made = groups.schedule(cells, 1, groups.costs(cells), apart=lambda cell: cell.seed == 0)
    assert sorted(len(group) for group in made.groups) == [1, 4]
    paired = cells_of("om2p", data_seed="paired")  # each seed learns from its own data
    assert shapes(groups.schedule(paired, 1, groups.costs(paired))) == [("om2p", 5)]
    others = cells_of("om2p", seeds=2, data_seed=1) + cells_of("om2p", seeds=2, data_seed=2)
    made = groups.schedule(others, 1, groups.costs(others))
    assert shapes(made) == [("om2p", 2), ("om2p", 2)]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=4), st.integers(1, 9))
def test_every_cell_is_in_one_group_and_no_place_waits_long(counts: list[int], places: int) -> None:
    names = ("bc", "om2p", "dom2", "dof")
    cells = [c for name, n in zip(names, counts, strict=False) for c in cells_of(name, seeds=n)]
    costs = groups.costs(cells)
    made = groups.schedule(cells, places, costs)
    assert sorted(c.id for g in made.groups for c in g) == sorted(cell.id for cell in cells)
    assert all(len({cell.algorithm for cell in g}) == 1 and len(g) <= 8 for g in made.groups)
    alone = groups.schedule(cells, places, costs, together=False)
    assert made.seconds <= alone.seconds / groups.WORTH
    seconds = [groups.seconds_of(group, costs) for group in made.groups]
    assert seconds == sorted(seconds, reverse=True)
    assert max(seconds) <= made.seconds <= sum(seconds) / places + max(seconds)


def test_finished_cells_say_what_others_will_take(make_config: Make) -> None:
    """Known seconds are used as they are, and put guesses on their scale."""
    cells = cells_of("om2p", "dom2", seeds=1)
    guessed = groups.costs(cells)

    class Known:
        def of(self, cell: Any) -> estimate.Estimate:
            known = 2 * guessed[cell.id] if cell.algorithm == "om2p" else None
            return estimate.Estimate(known, None, 1)

    measured = groups.costs(cells, Known())  # type: ignore[arg-type]
    assert measured == {name: pytest.approx(2 * seconds) for name, seconds in guessed.items()}


def test_every_measured_algorithm_has_a_guess_near_its_measurement() -> None:
    """Within a factor of two of the committed table; what is new is measured with its next run."""
    measured = {}
    for line in (ROOT / "docs" / "evidence" / "efficiency.md").read_text().splitlines():
        parts = [part.strip() for part in line.split("|")]
        if len(parts) > 10 and parts[1] in algorithms.TABLE:
            measured.setdefault(parts[1], float(parts[3].partition(" ")[0]))
    assert set(estimate.UPDATE_TIMES) == set(measured) <= set(algorithms.names())
    for name, ratio in measured.items():
        assert 0.5 < estimate.UPDATE_TIMES[name] / ratio < 2


def test_larger_teams_are_expected_to_take_longer() -> None:
    (small,) = cells_of("om2p", seeds=1)
    (large,) = cells_of("om2p", seeds=1, datasets=("mpe/spread-12/random",))
    assert estimate.guess(large) == 4 * estimate.guess(small)


def test_a_study_goes_on_with_groups_that_lie_at_one_update(
    make_config: Make, tmp_path: Path
) -> None:
    """Records of an interrupted study say how far each cell is."""
    from bench.results import store

    made = make_config(algorithms=("om2p",), seeds=tuple(range(4)), jobs=1)
    for cell in grid.cells(made):
        record = grid.new_record(cell)
        record.updates_done = 40 if cell.seed < 2 else 20
        (made.out / cell.id).mkdir(parents=True)
        store.write_run(made.out / cell.id, record)
        (made.out / cell.id / "checkpoint.pt").write_bytes(b"")
    planned = schedule.schedule(plan_study(made), made, 1)
    assert sorted([cell.seed for cell in group] for group in planned.groups) == [[0, 1], [2, 3]]
    alone = made.replace(replicas="1")
    assert [len(g) for g in schedule.schedule(plan_study(alone), alone, 1).groups] == [1] * 4
