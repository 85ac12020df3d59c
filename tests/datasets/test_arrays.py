"""Recordings of one's own: `datasets.write`, and files in the arrays layout made by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import datasets
from bench.cli import app
from datasets.errors import DatasetError
from datasets.formats import arrays, importing
from datasets.recorded.episodes import ARRAYS
from datasets.recorded.store import Dataset
from tests.datasets.published import SMALL, import_spread, read_in


@pytest.fixture(scope="module")
def own(expert: Dataset) -> dict[str, np.ndarray]:
    """What a user has in hand: arrays of whole episodes of spread, 25 steps each."""
    seen = np.asarray(expert.observation).reshape(-1, 26, 3, 18)
    return {
        "observations": seen[:, :25].reshape(-1, 3, 18),
        "next_observations": seen[:, 1:].reshape(-1, 3, 18),
        "actions": np.asarray(expert.action),
        "rewards": np.asarray(expert.reward),
    }


def test_what_is_written_is_imported_as_it_was(
    own: dict[str, np.ndarray], expert: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Through the command line, replayed like any import, and then a dataset like any other."""
    ends = np.full(len(own["actions"]) // 25, 25)
    made = datasets.write(tmp_path / "mine", **own, episode_lengths=ends)
    asked = [str(made), "--format", "arrays", "--task", "mpe/spread", "--name", "mine"]
    assert app.main(["data", "import", *asked, "--data-dir", str(tmp_path)]) == 0
    assert "motion 100.0%" in capsys.readouterr().out
    back = datasets.load("import/mine", data_dir=tmp_path)
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(back, name), getattr(expert, name))
    assert back.card["checksum"] == expert.card["checksum"]
    assert back.card["replay"]["share"] == 1.0
    assert arrays.LENGTHS_ALONE in back.card["notes"]
    assert set(back.card["recipe"]["source_files"]) == {path.name for path in made.iterdir()}


def test_one_npz_file_of_a_user_is_a_recording(
    own: dict[str, np.ndarray], expert: Dataset, tmp_path: Path
) -> None:
    """With flags instead of lengths, float64, and one array per agent."""
    steps = np.arange(len(own["actions"]))
    kept = {f"observations_{i}": own["observations"][:, i].astype(np.float64) for i in range(3)}
    kept |= {f"next_observations_{i}": own["next_observations"][:, i] for i in range(3)}
    kept |= {"actions": own["actions"], "rewards": own["rewards"], "timeouts": steps % 25 == 24}
    np.savez_compressed(tmp_path / "mine.npz", **kept)
    back = import_spread(tmp_path / "mine.npz", tmp_path, "mine", "arrays")
    assert back.card["checksum"] == expert.card["checksum"]
    assert back.card["recipe"]["archive"]["name"] == "mine.npz"


def test_without_next_observations_the_last_step_closes_an_episode(
    own: dict[str, np.ndarray], expert: Dataset, tmp_path: Path
) -> None:
    kept = {name: array for name, array in own.items() if name != "next_observations"}
    ends = np.full(len(own["actions"]) // 25, 25)
    made = datasets.write(tmp_path / "mine", **kept, episode_lengths=ends)
    back = import_spread(made, tmp_path, "mine", "arrays")
    assert back.card["episode_length"] == {"min": 24, "mean": 24.0, "max": 24}
    assert back.card["returns"]["mean"] == pytest.approx(expert.card["returns"]["mean"], rel=1e-6)


def small(lengths: list[int]) -> dict[str, Any]:
    """A recording of the small task, whose agents differ in size, as lists of arrays."""
    rng, steps = np.random.default_rng(0), sum(lengths)
    seen = [rng.normal(size=(steps, size)) for size in SMALL.observation_sizes]
    acts = [rng.uniform(-1, 1, (steps, size)) for size in SMALL.action_sizes]
    return {"observations": seen, "actions": acts, "rewards": rng.normal(size=steps)}


def flags(lengths: list[int]) -> np.ndarray:
    values = np.zeros(sum(lengths), dtype=bool)
    values[np.cumsum(lengths) - 1] = True
    return values


def test_ends_are_what_the_files_say(tmp_path: Path) -> None:
    """Terminals, timeouts, lengths and their mixtures; unequal agents; one reward for the team."""
    lengths = [8, 3, 5]
    one, two, three = np.split(flags(lengths), [8, 11])
    terminals = np.concatenate([one, two, three & False])
    for name, given, terminal, kept in (
        ("terminals", {"terminals": flags(lengths)}, [False, True, True], [7, 3, 5]),
        (
            "both",
            {"terminals": terminals, "timeouts": flags(lengths) & ~terminals},
            [True, True, False], [8, 3, 4],
        ),
        ("lengths", {"episode_lengths": lengths}, [False] * 3, [7, 2, 4]),
        (
            "lengths and terminals",
            {"episode_lengths": lengths, "terminals": terminals},
            [True, True, False], [8, 3, 4],
        ),
    ):  # fmt: skip
        recording = datasets.write(tmp_path / name, **small(lengths), **given)
        read = read_in(arrays.opened(recording, SMALL), SMALL, tmp_path / f"{name} read")
        assert read["episode_length"].tolist() == kept, name
        ends = np.cumsum(read["episode_length"]) - 1
        assert read["terminated"][ends].tolist() == terminal, name
        assert (read["reward"][:, 0] == read["reward"][:, 1]).all()


BAD: list[tuple[dict[str, Any], str]] = [
    ({"actions": np.full((10, 3, 2), 1.5)}, r"actions row 0 holds 1\.5, but actions lie between"),
    ({"rewards": np.full((10, 3), np.nan)}, r"rewards row 0 \(the first is 0\) holds NaN"),
    ({"rewards": np.zeros((9, 3))}, "rewards has 9 steps, but the observations have 10"),
    ({"observations": np.zeros((10, 18))}, r"observations has shape \(10, 18\), but \(steps, ag"),
    ({"actions": np.zeros((10, 2, 2))}, "different numbers of agents: observations of 3, actions"),
    ({"observations": [[1, 2], [3]]}, "observations_1 has 1 steps, but the observations"),
    ({"observations": [[[1.0], [1.0, 2.0]]]}, r"observations\[0\] is no regular array"),
    ({"observations": np.array([{}] * 10)}, r"observations is an array of object"),
    ({"observations": []}, "observations is empty"),
    ({"episode_lengths": None}, "nothing ends an episode; say where episodes end"),
    ({"episode_lengths": [5, 4]}, "episode_lengths is not a row of whole numbers from 1 on that a"),
    ({"episode_lengths": None, "terminals": np.zeros(10)}, "the last step ends no episode"),
    ({"terminals": np.full(10, 0.5)}, "terminals is not one 0 or 1 for each of the 10 steps"),
    ({"next_observations": np.zeros((11, 3, 18))}, "next_observations has 11 steps"),
    ({"states": np.full((10, 4), np.inf)}, "states row 0"),
]


def test_every_bad_array_is_one_sentence(tmp_path: Path) -> None:
    good: dict[str, Any] = {
        "observations": np.zeros((10, 3, 18)),
        "actions": np.zeros((10, 3, 2)),
        "rewards": np.zeros((10, 3)),
        "episode_lengths": [5, 5],
    }
    for change, message in BAD:
        with pytest.raises(DatasetError, match=message) as caught:
            datasets.write(tmp_path / "bad", **{**good, **change})
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "bad").exists(), "nothing is left of what was refused"
    datasets.write(tmp_path / "good", **good)
    with pytest.raises(DatasetError, match="is there already"):
        datasets.write(tmp_path / "good", **good)


def test_every_bad_file_is_one_sentence(tmp_path: Path) -> None:
    """Files made by hand, which `write` has not looked at."""
    steps = 50
    good = {
        "observations": np.zeros((steps, 3, 18)),
        "actions": np.zeros((steps, 3, 2)),
        "rewards": np.zeros((steps, 3)),
        "episode_lengths": np.array([25, 25]),
    }
    inside = np.zeros(steps)
    inside[3] = 1
    cases: list[tuple[str, Any, str]] = [
        ("observations", None, "holds neither observations.npy nor observations_0.npy"),
        ("observations", np.array([{}] * steps), "arrays of objects and pickles are refused"),
        ("observations", np.zeros((steps, 2, 18)), r"needs \(steps, 3 agents, numbers\)"),
        ("observations", np.zeros((steps, 3, 17)), "17 numbers per observation"),
        ("actions", np.full((steps, 3, 2), 2.0), "holds the action 2"),
        ("rewards", np.zeros((steps - 1, 3)), "49 rows"),
        ("episode_lengths", None, "does not say where episodes end"),
        ("episode_lengths", np.array([25, 26]), "makes episode 1 26 steps long"),
        ("episode_lengths", np.array([25, 20]), "adds up to 45 steps, but there are 50 rows"),
        ("episode_lengths", np.array([12.5, 37.5]), "is not a row of whole numbers"),
        ("terminals", inside, "row 3 marks an end, but by episode_lengths its episode goes on"),
        ("timeouts", np.zeros(steps - 2), "has 48 rows but the observations 50"),
        ("timeouts", np.full(steps, 0.5), "row 0 is not the same 0 or 1"),
    ]
    for number, (name, array, message) in enumerate(cases):
        folder = tmp_path / str(number)
        folder.mkdir()
        for kind, values in {**good, name: array}.items():
            if values is not None:
                np.save(folder / f"{kind}.npy", values)
        with pytest.raises(DatasetError, match=message) as caught:
            importing.import_dataset("arrays", folder, "mpe/spread", "x", tmp_path)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "import" / "x").exists()


def test_a_recording_of_another_world_is_refused(
    own: dict[str, np.ndarray], tmp_path: Path
) -> None:
    """The replay knows: these actions are not those that moved the agents."""
    wrong = {**own, "actions": -own["actions"]}
    ends = np.full(len(own["actions"]) // 25, 25)
    made = datasets.write(tmp_path / "mine", **wrong, episode_lengths=ends)
    with pytest.raises(DatasetError, match="the actions have the opposite sign"):
        import_spread(made, tmp_path, "mine", "arrays")
