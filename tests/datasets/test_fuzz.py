"""Broken and hostile data files: cards, our own arrays, and every published layout."""

import contextlib
import dataclasses
import io
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from algorithms.base import TeamSpec
from bench.cli import data
from datasets import recipes
from datasets.formats import arrays as arrays_layout
from datasets.formats import importing, madiff, minari, omar, omiga, vault
from datasets.formats.imported import IMPORTED
from datasets.formats.layout import check_layout
from datasets.paths import sha256
from datasets.recorded.card import write_card
from datasets.recorded.episodes import ARRAYS, LAST_REWARD
from datasets.recorded.files import CARD, checksum
from datasets.recorded.store import Dataset
from datasets.tasks import Task, load_task
from tests.datasets.vaults import write_vault
from tests.fuzzing import Inputs, fuzz, refused

SPREAD = load_task("mpe/spread")
# One agent: every input opens all files of a layout, and that takes most of the time.
ALONE = dataclasses.replace(SPREAD, agents=1, observation_sizes=(18,), action_sizes=(2,))
LENGTHS = (25, 3)
STEPS = sum(LENGTHS)
DTYPES = ("f4", "f8", "i8", "?", "O", "S3", "U2", "c8", "f2", ">f4", "m8[s]", "V4", "i1")


def published() -> dict[str, np.ndarray]:
    """Arrays of a small set in the stacked layouts."""
    rng = np.random.default_rng(0)
    ends = np.zeros((STEPS, 1))
    ends[np.cumsum(LENGTHS) - 1] = 1
    return {
        "o": rng.normal(size=(STEPS, 3, 18)), "a": rng.uniform(-1, 1, (STEPS, 3, 2)),
        "r": rng.normal(size=(STEPS, 3)), "d": ends, "path_lengths": np.array(LENGTHS),
    }  # fmt: skip


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def hostile_npy(inputs: Inputs, dice: Any, whole: np.ndarray) -> bytes:
    """An array file: damaged bytes, another header, another shape or dtype, or a pickle."""
    kind = dice.randrange(5)
    if kind == 0:
        return inputs.bytes()
    if kind == 1:
        content = npy(whole)
        header = 10 + int.from_bytes(content[8:10], "little")
        return inputs.mutated(content[:header]) + content[header:]
    if kind == 2:
        header = repr(inputs.value()) if dice.random() < 0.3 else "{'descr': '<f4', 'shape': "
        header += dice.choice(("(2**60,), ", "(-1,), ", "(3,), ", "((((", "(1e9,), ", "True, "))
        header += dice.choice(("'fortran_order': False}", "}", "", "'fortran_order': 3}\n"))
        text = header.encode(errors="replace")
        return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(64)
    if kind == 3:
        shape = tuple(dice.choice((0, 1, 3, STEPS, 18, 2)) for _ in range(dice.randrange(4)))
        dtype = dice.choice(DTYPES)
        if dtype == "O":
            return npy(np.array([{}], dtype=object))
        return npy(np.zeros(shape, dtype))
    values = np.array(whole, dtype="f8")
    flat = values.reshape(-1)
    flat[dice.randrange(len(flat))] = dice.choice((np.nan, np.inf, -np.inf, 1e300, 2.0, -1.0, 0.5))
    return npy(values)


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """A dataset of 28 steps in our own form, as if imported."""
    folder = tmp_path / IMPORTED / "small"
    folder.mkdir(parents=True)
    arrays, episodes = published(), len(LENGTHS)
    np.save(folder / "observation.npy", np.zeros((STEPS + episodes, 3, 18), "f4"))
    np.save(folder / "action.npy", arrays["a"].astype("f4"))
    np.save(folder / "reward.npy", arrays["r"].astype("f4"))
    np.save(folder / "terminated.npy", np.zeros(STEPS, bool))
    np.save(folder / "episode_length.npy", np.array(LENGTHS, "i4"))
    np.save(folder / "last_reward.npy", np.zeros((episodes, 3), "f4"))
    write_card(
        folder,
        {
            "id": f"{IMPORTED}/small", "task": SPREAD.id, "rules": SPREAD.rules, "prey": None,
            "quality": f"{IMPORTED}/small", "data_seed": None, "fraction": 1.0, "horizon": 25,
            "agents": 3, "observation_sizes": [18] * 3, "action_sizes": [2] * 3,
            "cut_rule": "none", "replay_kind": None, "notes": [], "recipe": {"format": "toy"},
            "source": "a test", "licence": "none", "libraries": {},
        },
    )  # fmt: skip
    return folder


def use(folder: Path) -> None:
    """Do with a dataset what a cell does before its first update."""
    dataset = Dataset(folder)
    load_task(dataset.card["task"], dataset.card["rules"], dataset.card["prey"])
    TeamSpec.from_dataset(dataset)
    batch = dataset.sampler(4).next()
    assert batch.observation.shape == (3, 4, 18)


@fuzz
def test_cards(recorded: Path, inputs: Inputs) -> None:
    root = recorded.parents[1]
    path = recorded / CARD
    card = json.loads(path.read_text())
    for dice in inputs:
        content = inputs.bytes() if dice.random() < 0.1 else inputs.json(card)
        path.write_bytes(content)
        message = refused(lambda: use(recorded), content)
        assert (
            not message
            or str(recorded) in message
            or "task" in message
            or "rules" in message
            or "prey" in message
        )
        refused(lambda: recipes.recipe(f"{IMPORTED}/small", data_dir=root), content)
        refused(lambda: data.describe(data.find(f"{IMPORTED}/small", data_dir=root)), content)
    path.write_text(json.dumps(card))


@fuzz
def test_our_arrays_under_a_forged_card(recorded: Path, inputs: Inputs) -> None:
    """Whoever forges a file can forge its hash too."""
    card = json.loads((recorded / CARD).read_text())
    names = (*ARRAYS, LAST_REWARD)
    whole = {name: (recorded / f"{name}.npy").read_bytes() for name in names}
    for dice in inputs:
        name = dice.choice(names)
        path = recorded / f"{name}.npy"
        content = hostile_npy(inputs, dice, np.load(io.BytesIO(whole[name])))
        path.write_bytes(content)
        files = {**card["files"], path.name: sha256(path)}
        forged = {**card, "files": files, "checksum": checksum(files)}
        (recorded / CARD).write_text(json.dumps(forged))
        refused(lambda: use(recorded), (name, content))
        path.write_bytes(whole[name])
    (recorded / CARD).write_text(json.dumps(card))


def read_through(opened: Callable[..., Any], path: Path, folder: Path, task: Task = SPREAD) -> None:
    """Read a layout as an import does, up to the card."""
    with opened(path, task) as layout:
        check_layout(layout, task)
        importing.copy(layout, task, folder)


@fuzz
def test_omar_files(tmp_path: Path, inputs: Inputs) -> None:
    arrays, folder, ours = published(), tmp_path / "seed_0_data", tmp_path / "ours"
    folder.mkdir(exist_ok=True)
    ours.mkdir(exist_ok=True)
    whole = {
        "obs_0": arrays["o"][:25, 0], "acs_0": arrays["a"][:25, 0], "rews_0": arrays["r"][:25, 0],
        "next_obs_0": arrays["o"][1:26, 0], "dones_0": np.zeros(25),
    }  # fmt: skip
    for name, array in whole.items():
        np.save(folder / f"{name}.npy", array)
    for dice in inputs:
        name = dice.choice(list(whole))
        content = hostile_npy(inputs, dice, whole[name])
        (folder / f"{name}.npy").write_bytes(content)
        refused(lambda: read_through(omar.opened, folder, ours, ALONE), (name, content))
        np.save(folder / f"{name}.npy", whole[name])


@fuzz
def test_madiff_files(tmp_path: Path, inputs: Inputs) -> None:
    arrays, folder, ours = published(), tmp_path / "madiff", tmp_path / "ours"
    folder.mkdir(exist_ok=True)
    ours.mkdir(exist_ok=True)
    whole = {
        "obs": arrays["o"], "actions": arrays["a"], "rewards": arrays["r"],
        "path_lengths": arrays["path_lengths"],
    }  # fmt: skip
    for name, array in whole.items():
        np.save(folder / f"{name}.npy", array)
    for dice in inputs:
        name = dice.choice(list(whole))
        content = hostile_npy(inputs, dice, whole[name])
        (folder / f"{name}.npy").write_bytes(content)
        refused(lambda: read_through(madiff.opened, folder, ours), (name, content))
        np.save(folder / f"{name}.npy", whole[name])


@fuzz
def test_omiga_files(tmp_path: Path, inputs: Inputs) -> None:
    path, ours = tmp_path / "x.hdf5", tmp_path / "ours"
    ours.mkdir(exist_ok=True)
    file = io.BytesIO()
    with h5py.File(file, "w") as made:
        for key, array in published().items():
            made[key] = array.astype("f4")
    whole = file.getvalue()
    for dice in inputs:
        content = inputs.bytes() if dice.random() < 0.05 else inputs.mutated(whole)
        path.write_bytes(content)
        refused(lambda: read_through(omiga.opened, path, ours), content)


@fuzz
def test_arrays_files(tmp_path: Path, inputs: Inputs) -> None:
    arrays, folder, ours = published(), tmp_path / "mine", tmp_path / "ours"
    folder.mkdir(exist_ok=True)
    ours.mkdir(exist_ok=True)
    whole = {
        "observations": arrays["o"], "actions": arrays["a"], "rewards": arrays["r"],
        "terminals": arrays["d"], "timeouts": arrays["d"] * 0, "states": arrays["a"][:, 0],
        "episode_lengths": arrays["path_lengths"],
    }  # fmt: skip
    for dice in inputs:
        for name, array in whole.items():
            np.save(folder / f"{name}.npy", array)
        if dice.random() < 0.5:  # then the flags say where episodes end
            (folder / "episode_lengths.npy").unlink()
        name = dice.choice(list(whole))
        content = hostile_npy(inputs, dice, whole[name])
        (folder / f"{name}.npy").write_bytes(content)
        refused(lambda: read_through(arrays_layout.opened, folder, ours), (name, content))


@fuzz
def test_what_users_write(tmp_path: Path, inputs: Inputs) -> None:
    """Values of any kind in place of an array; nothing is left of what is refused."""
    arrays, folder = published(), tmp_path / "written"
    good = {
        "observations": arrays["o"], "actions": arrays["a"], "rewards": arrays["r"],
        "terminals": arrays["d"] > 0, "next_observations": arrays["o"], "states": arrays["o"][:, 0],
        "episode_lengths": arrays["path_lengths"], "timeouts": arrays["d"][:, 0] * 0,
    }  # fmt: skip
    for dice in inputs:
        name = dice.choice(list(good))
        value: Any = inputs.value()
        if dice.random() < 0.7:
            with contextlib.suppress(Exception):  # objects, which numpy does not load, stay values
                value = np.load(io.BytesIO(hostile_npy(inputs, dice, good[name])))
        write = partial(arrays_layout.write, folder, **{**good, name: value})
        if not refused(write, (name, value)):
            shutil.rmtree(folder)
        assert not folder.exists()


@fuzz
def test_minari_files(tmp_path: Path, inputs: Inputs) -> None:
    path, ours = tmp_path / "data" / "main_data.hdf5", tmp_path / "ours"
    path.parent.mkdir(exist_ok=True)
    ours.mkdir(exist_ok=True)
    rng, file = np.random.default_rng(0), io.BytesIO()
    with h5py.File(file, "w") as made:
        for number, steps in enumerate(LENGTHS):
            group = made.create_group(f"episode_{number}")
            for agent in ("a", "b", "c"):
                group[f"observations/{agent}"] = rng.normal(size=(steps + 1, 18)).astype("f4")
                group[f"actions/{agent}"] = rng.uniform(-1, 1, (steps, 2)).astype("f4")
                group[f"infos/reward_{agent}"] = rng.normal(size=steps + 1)
            group["rewards"] = rng.normal(size=steps)
            group["terminations"] = np.zeros(steps, bool)
            group["truncations"] = np.arange(steps) == steps - 1
    whole = file.getvalue()
    for dice in inputs:
        content = inputs.bytes() if dice.random() < 0.05 else inputs.mutated(whole)
        path.write_bytes(content)
        refused(lambda: read_through(minari.opened, path.parent, ours), content)


@fuzz
def test_vaults(tmp_path: Path, inputs: Inputs) -> None:
    arrays, ours, folder = published(), tmp_path / "ours", tmp_path / "x.vlt" / "a"
    ours.mkdir(exist_ok=True)
    ends = np.repeat(arrays["d"] > 0, 3, axis=1)
    leaves = {
        "observations": arrays["o"].astype("f4"), "actions": arrays["a"].astype("f4"),
        "rewards": arrays["r"].astype("f4"), "terminals": ends, "truncations": ~ends & False,
    }  # fmt: skip
    if not folder.exists():
        write_vault(folder, leaves)
    whole = {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    for dice in inputs:
        path = dice.choice(list(whole))
        content = inputs.bytes() if dice.random() < 0.05 else inputs.mutated(whole[path])
        if path.name == "metadata.json" and dice.random() < 0.5:
            content = inputs.json(json.loads(whole[path]))
        path.write_bytes(content)
        try:
            refused(lambda: read_through(vault.opened, folder, ours), (path.name, content))
        finally:
            path.write_bytes(whole[path])
