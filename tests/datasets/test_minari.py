"""Minari's layout: our export read back, what Minari itself records, and what is no team's data."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from datasets.errors import DatasetError
from datasets.formats import exporting, importing, minari
from datasets.recorded.store import Dataset
from tests.datasets.published import SMALL, SPREAD, import_spread, read_in


def write_file(path: Path, dataset: Dataset, form: str = "dictionary", own: bool = True) -> Path:
    """Write episodes as Minari's HDF5 storage does, without Minari."""
    path.parent.mkdir(parents=True)
    with h5py.File(path, "w", track_order=True) as file:
        for k, (steps, seen, _) in enumerate(exporting._episodes(dataset)):
            part = exporting._minari_episode(dataset, steps, seen)
            group = file.create_group(f"episode_{k}")
            for kind in ("observations", "actions"):
                named = part[kind]
                if form == "array":
                    group[kind] = np.stack(list(named.values()), axis=1)
                    continue
                for i, (name, array) in enumerate(named.items()):
                    group[f"{kind}/{name if form == 'dictionary' else f'_index_{i}'}"] = array
            for kind in ("rewards", "terminations", "truncations"):
                group[kind] = np.array(part[kind])
            if own:
                for name, array in part["infos"].items():
                    group[f"infos/{name}"] = array
    return path


def test_our_export_comes_back_through_minari(
    expert: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    recwarn: pytest.WarningsRecorder,
) -> None:  # fmt: skip
    """Minari's own library writes the file, also into a folder named from here."""
    pytest.importorskip("minari")
    part = Dataset(expert.folder, fraction=0.1)
    monkeypatch.chdir(tmp_path)
    folder = exporting.export(part, "minari", "minari")
    assert not [str(one.message) for one in recwarn if "minari" in str(one.filename)]
    back = import_spread(folder, tmp_path, "x", "minari")
    np.testing.assert_array_equal(back.reward, part.reward[part.transitions])
    np.testing.assert_array_equal(back.action, part.action[part.transitions])
    assert back.card["returns"]["mean"] == part.card["returns"]["mean"]
    assert back.card["replay"]["share"] == 1.0


def test_what_a_user_makes_with_minari_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Minari's own library writes episodes of agents with names of their own, true ends too."""
    library = pytest.importorskip("minari")
    from gymnasium.spaces import Box, Dict
    from minari.data_collector import EpisodeBuffer

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    rng = np.random.default_rng(0)
    sizes = list(zip(("red", "blue10"), SMALL.observation_sizes, SMALL.action_sizes, strict=True))
    buffers = [
        EpisodeBuffer(
            id=k,
            observations={name: rng.normal(size=(6, seen)) for name, seen, _ in sizes},
            actions={name: rng.uniform(-1, 1, (5, acts)) for name, _, acts in sizes},
            rewards=[1.0, 2.0, 3.0, 4.0, 5.0],
            terminations=[False] * 4 + [k != 1],
            truncations=[False] * 4 + [k == 1],
        )
        for k in range(3)
    ]
    library.create_dataset_from_buffers(
        "mine/small-v0",
        buffers,
        observation_space=Dict({name: Box(-9, 9, (seen,)) for name, seen, _ in sizes}),
        action_space=Dict({name: Box(-1, 1, (acts,)) for name, _, acts in sizes}),
        algorithm_name="random",
    )
    task = dataclasses.replace(
        SMALL, observation_sizes=SMALL.observation_sizes[::-1], action_sizes=(1, 2)
    )  # "blue10" comes before "red"
    read = read_in(minari.opened(tmp_path / "minari", task), task, tmp_path / "read")
    assert read["episode_length"].tolist() == [5, 5, 5]
    assert np.flatnonzero(read["terminated"]).tolist() == [4, 14]
    assert read["reward"][:5].tolist() == [[float(k)] * 2 for k in range(1, 6)]
    seen, acts = buffers[0].observations, buffers[0].actions
    np.testing.assert_allclose(read["observation"][:6, 1], seen["red"], rtol=1e-6)
    np.testing.assert_allclose(read["action"][5:10, 0, :1], buffers[1].actions["blue10"], rtol=1e-6)
    np.testing.assert_allclose(read["action"][:5, 1], acts["red"], rtol=1e-6)


def test_all_three_forms_of_a_team_are_read(expert: Dataset, tmp_path: Path) -> None:
    part = Dataset(expert.folder, fraction=0.05)
    for form in ("dictionary", "tuple", "array"):
        write_file(tmp_path / form / "data" / "main_data.hdf5", part, form)
        opened = minari.opened(tmp_path / form, SPREAD)
        read = read_in(opened, SPREAD, tmp_path / f"{form} read")
        np.testing.assert_array_equal(read["action"], part.action[part.transitions])
        assert read["episode_length"].tolist() == [25] * 10
        own = form == "dictionary"
        want = np.asarray(part.reward[part.transitions])
        want = want if own else want.mean(axis=1, keepdims=True).repeat(3, axis=1)
        np.testing.assert_allclose(read["reward"], want, rtol=1e-6)


def edited(path: Path, change: Callable[[Any], None]) -> None:
    with h5py.File(path, "a") as file:
        change(file)


def put(key: str, values: Any) -> Callable[[Any], None]:
    def change(file: Any) -> None:
        if key in file:
            del file[key]
        if values is not None:
            file[key] = values

    return change


BAD: list[tuple[str, Callable[[Any], None], str]] = [
    ("dictionary", put("episode_1/terminations", None), "terminations of episode 1 of .* missing"),
    ("dictionary", put("episode_1/terminations", np.ones(25)), "with a 1 on the last step only"),
    ("dictionary", put("episode_1/actions/agent_0", np.zeros((24, 2))), "has 24 rows, but 25"),
    ("dictionary", put("episode_1/actions/agent_0", np.zeros((25, 3))), r"shape \(3,\) in episode"),
    (
        "dictionary",
        put("episode_0/actions/agent_3", np.zeros((25, 2))),
        "actions of agent_0, ag",
    ),
    (
        "dictionary",
        put("episode_0/observations/agent_0", h5py.SoftLink("/x")),
        "links are not f",
    ),
    ("dictionary", put("episode_0", h5py.ExternalLink("/etc/passwd", "/x")), "links are not follo"),
    ("array", put("episode_0/observations", np.zeros((26, 18))), "is of one agent|in episode 1"),
    ("array", put("episode_1/rewards", np.zeros(24)), "has 24 rows, but 25 are needed"),
]


@pytest.mark.parametrize("number", range(len(BAD)))
def test_every_bad_file_is_one_sentence(expert: Dataset, tmp_path: Path, number: int) -> None:
    form, change, message = BAD[number]
    file = write_file(
        tmp_path / "m" / "main_data.hdf5", Dataset(expert.folder, fraction=0.01), form
    )
    edited(file, change)
    with pytest.raises(DatasetError, match=message) as caught:
        importing.import_dataset("minari", tmp_path / "m", "mpe/spread", "x", tmp_path)
    assert "\n" not in str(caught.value)


def test_damage_that_shows_only_when_rows_are_read_is_one_sentence(
    expert: Dataset, tmp_path: Path
) -> None:
    """The head of the file is sound; the packed numbers of one array are not."""
    file = write_file(tmp_path / "m" / "main_data.hdf5", Dataset(expert.folder, fraction=0.01))
    with h5py.File(file, "r+") as data:
        name = "episode_0/observations/agent_1"
        values = data[name][:]
        del data[name]
        packed = data.create_dataset(name, data=values, chunks=values.shape, compression="gzip")
        data.flush()
        where = packed.id.get_chunk_info(0)
    with file.open("r+b") as raw:
        raw.seek(where.byte_offset)
        raw.write(bytes(where.size))
    with pytest.raises(DatasetError, match=r"agent_1.* cannot be read \(.*download the") as caught:
        importing.import_dataset("minari", tmp_path / "m", "mpe/spread", "x", tmp_path)
    assert "\n" not in str(caught.value)


def test_what_is_no_dataset_is_said(expert: Dataset, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(DatasetError, match=r"holds no main_data.hdf5; name a dataset's folder"):
        importing.import_dataset("minari", tmp_path / "data", "mpe/spread", "x", tmp_path)
    (tmp_path / "data" / "metadata.json").write_text("{}")
    with pytest.raises(DatasetError, match="arrow format is not read"):
        importing.import_dataset("minari", tmp_path / "data", "mpe/spread", "x", tmp_path)
    part = Dataset(expert.folder, fraction=0.01)
    for name in "ab":
        write_file(tmp_path / "two" / name / "data" / "main_data.hdf5", part)
    with pytest.raises(DatasetError, match="holds 2 Minari datasets; name one of its folders a, b"):
        importing.import_dataset("minari", tmp_path / "two", "mpe/spread", "x", tmp_path)
    with pytest.raises(DatasetError, match="--episode-steps has no use here"):
        importing.import_dataset(
            "minari", tmp_path / "two" / "a", "mpe/spread", "x", tmp_path, episode_steps=24
        )
