"""Views of recorded data: the grammar, what each changes, and that nothing else changes."""

import string
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import datasets
from datasets import loading
from datasets.errors import DatasetError
from datasets.recorded.store import Dataset
from datasets.recorded.summary import text
from datasets.views import grammar
from datasets.views.changes import gaussian, uniform
from datasets.views.playing import played

BASE = "mpe/tag/random"
SIZE = 5000
NAMES = ("observation", "action", "reward")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


def load(folder: Path, view: str = "", base: str = BASE, **more: Any) -> Dataset:
    return datasets.load(f"{base}{view}", size=SIZE, data_dir=folder, **more)


def arrays(dataset: Dataset) -> dict[str, np.ndarray]:
    return {
        name: np.asarray(getattr(dataset, name)) for name in ("observation", "action", "reward")
    }


def changed(folder: Path, view: str, base: str = BASE) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the arrays without and with a view; the others must not differ."""
    plain, seen = arrays(load(folder, base=base)), arrays(load(folder, view, base))
    (_, (one,)) = grammar.split(f"{base}{view}")
    for name in plain:
        assert np.array_equal(plain[name], seen[name]) == (name != one.what.changes), name
        assert seen[name].dtype == np.float32
    return plain, seen


# --- the grammar ---------------------------------------------------------------------------------

VIEWS = st.one_of(
    st.sampled_from([name for name, row in grammar.KINDS.items() if not row.amount]),
    st.tuples(
        st.sampled_from([name for name, row in grammar.KINDS.items() if row.amount]),
        st.sampled_from([0.0001, 0.05, 0.1, 0.25, 0.5, 1.0]),
    ).map(lambda pair: f"{pair[0]}-{pair[1]!r}"),
)  # fmt: skip


def understood(dataset_id: str) -> "tuple[grammar.View, ...] | str":
    """Return the views of an id, or the sentence that refuses it."""
    try:
        return grammar.split(dataset_id)[1]
    except DatasetError as error:
        return str(error)


@given(st.lists(VIEWS, max_size=4))
def test_what_is_understood_is_written_in_one_way(names: list[str]) -> None:
    dataset_id = "@".join([BASE, *names])
    views = understood(dataset_id)
    if isinstance(views, tuple):
        assert BASE + grammar.suffix(views) == dataset_id
        assert grammar.split(BASE + grammar.suffix(views)) == (BASE, views)
    else:
        assert "\n" not in views


@given(st.text(alphabet=string.ascii_lowercase + string.digits + "-.@e+ _é٣", max_size=24))
def test_any_text_is_a_view_or_a_sentence(text: str) -> None:
    views = understood(f"{BASE}@{text}")
    if isinstance(views, tuple):
        assert grammar.suffix(views) == f"@{text}"
        assert all(view.amount is None or 0 < view.amount <= view.what.most for view in views)
    else:
        assert views
        assert "\n" not in views


@pytest.mark.parametrize(
    ("view", "cure"),
    [
        ("@reward-zer", "reward-zero"), ("@noise", "@noise-0.1"), ("@noise-0", "0.0001 to 10"),
        ("@noise-.5", "0.0001 to 10"), ("@noise-1e-1", "did you mean|known"),
        ("@noise-0.10", "@noise-0.1."), ("@range-1", "@range-1.0"),
        ("@corrupt-actions-1.5", "0.0001 to 1;"), ("@reward-zero@reward-negated", "twice"),
        ("@noise-0.1@noise-0.2", "twice"), ("@no-velocity@range-1.0", "@range-1.0@no-velocity"),
        ("@", "known"), ("@reward-zero-1.0", "did you mean|known"),
    ],
)  # fmt: skip
def test_what_is_no_view_is_a_sentence_with_the_cure(view: str, cure: str) -> None:
    with pytest.raises(DatasetError, match=cure):
        datasets.recipe(f"{BASE}{view}")


# --- identity ------------------------------------------------------------------------------------


def test_a_view_is_part_of_the_identity_and_shares_the_recording(folder: Path) -> None:
    plain, seen = datasets.recipe(BASE), datasets.recipe(f"{BASE}@noise-0.1@range-1.0")
    assert "views" not in plain
    assert seen == {**plain, "views": ["noise-0.1", "range-1.0"], "views_version": 1}
    assert loading.folder_of(plain, folder) == loading.folder_of(seen, folder)
    before = sorted(path for path in folder.rglob("*") if path.is_file())
    load(folder)
    recorded = sorted(path for path in folder.rglob("*") if path.is_file())
    load(folder, "@reward-shuffled")
    assert sorted(path for path in folder.rglob("*") if path.is_file()) == recorded != before


# --- rewards -------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", [BASE, "mpe/spread/random"])
def test_other_rewards(folder: Path, base: str) -> None:
    plain, seen = changed(folder, "@reward-zero", base)
    assert not seen["reward"].any()
    assert np.array_equal(changed(folder, "@reward-negated", base)[1]["reward"], -plain["reward"])
    shuffled = changed(folder, "@reward-shuffled", base)[1]["reward"]
    order = np.lexsort(plain["reward"].T), np.lexsort(shuffled.T)
    assert np.array_equal(plain["reward"][order[0]], shuffled[order[1]]), "whole rows change places"
    assert (shuffled == plain["reward"]).all(axis=1).mean() < 0.9
    drawn = changed(folder, "@reward-random", base)[1]["reward"]
    np.testing.assert_allclose(drawn.mean(axis=0), plain["reward"].mean(axis=0), atol=0.3)
    np.testing.assert_allclose(drawn.std(axis=0), plain["reward"].std(axis=0), rtol=0.05)
    sparse = changed(folder, "@reward-sparse", base)[1]["reward"]
    assert (sparse >= 0).all()
    assert ((sparse > 0).mean(axis=0) <= 0.1 + 1e-9).all()
    best = plain["reward"].argmax(axis=0)
    assert np.array_equal(sparse.argmax(axis=0), best)


def test_a_team_reward_is_the_mean_where_agents_differ(folder: Path) -> None:
    base = "mpe/spread/random"  # everybody pays for own collisions
    plain, seen = changed(folder, "@reward-team", base)
    np.testing.assert_allclose(
        seen["reward"], np.repeat(plain["reward"].mean(axis=1, keepdims=True), 3, axis=1), rtol=1e-6
    )


@pytest.mark.parametrize(("view", "name"), [("actions", "action"), ("rewards", "reward")])
def test_a_share_of_steps_is_spoilt(folder: Path, view: str, name: str) -> None:
    plain, seen = changed(folder, f"@corrupt-{view}-0.1")
    spoilt = (plain[name] != seen[name]).reshape(SIZE, -1)
    assert abs(spoilt.any(axis=1).mean() - 0.1) < 0.02
    assert (spoilt.any(axis=1) == spoilt.all(axis=1)).mean() > 0.99, "whole steps of the team"
    more = changed(folder, f"@corrupt-{view}-0.5")[1][name]
    earlier = (seen[name] != plain[name]).reshape(SIZE, -1).any(axis=1)
    later = (more != plain[name]).reshape(SIZE, -1).any(axis=1)
    assert not (earlier & ~later).any(), "a smaller share is part of a larger one"
    assert np.abs(seen["action"]).max() <= 1


# --- observations --------------------------------------------------------------------------------


def test_noise_has_the_asked_size_and_leaves_constants(folder: Path) -> None:
    base = "mpe/spread/random"
    plain, seen = changed(folder, "@noise-0.5", base)
    std = np.array(load(folder, base=base).card["observation_std"])
    noise = seen["observation"] - plain["observation"]
    assert not noise[..., std[0] == 0].any()
    size = noise.std(axis=0)[std > 1e-3] / std[std > 1e-3]
    np.testing.assert_allclose(size, 0.5, rtol=0.06)


def test_what_is_limited_in_the_data_is_limited_in_the_evaluation(folder: Path) -> None:
    for view in ("@range-1.0", "@no-velocity", "@range-0.5@no-velocity"):
        dataset_id = f"{BASE}{view}"
        task = datasets.load_task("mpe/tag")
        limited = played(task, dataset_id)
        assert limited == task, "its references and identity are the task's"
        plain, env = (one.make_env(4, 3) for one in (task, limited))
        pairs = [(plain.reset(), env.reset())]
        move = torch.rand(4, 3, 2, generator=torch.Generator().manual_seed(0)) * 2 - 1
        for _ in range(3):
            pairs.append((plain.step(move)[0], env.step(move)[0]))
        fake = Dataset(load(folder).folder, 1.0, False, grammar.split(dataset_id)[1], task)
        change = fake.observation.change  # type: ignore[attr-defined]
        for whole, seen in pairs:
            assert torch.equal(change(whole, torch.arange(4)), seen)
        assert not all(torch.equal(*pair) for pair in pairs)
    assert played(task, f"{BASE}@noise-0.1") is task, "noise is in the data alone"


def test_no_velocity_hides_own_and_others_and_range_hides_far_bodies(folder: Path) -> None:
    seen = changed(folder, "@no-velocity")[1]["observation"]
    assert not seen[..., [0, 1, 14, 15]].any()
    plain, near = changed(folder, "@range-0.5")
    for place in range(4, 14, 2):
        distance = np.hypot(*np.moveaxis(plain["observation"][..., place : place + 2], -1, 0))
        hidden = ~near["observation"][..., place : place + 2].any(axis=-1)
        assert np.array_equal(hidden, distance > 0.5)


def test_a_task_without_bodies_refuses_a_limited_view(folder: Path) -> None:
    with pytest.raises(DatasetError, match="particle tasks"):
        datasets.load("mamujoco/hopper-3x1/random@range-1.0", size=1000, data_dir=folder)
    seen = datasets.load("mamujoco/hopper-3x1/random@no-velocity", size=1000, data_dir=folder)
    still = np.asarray(seen.observation)
    assert not still[..., 1].any()
    assert still[:, 0, 0].any()


# --- batches, windows, cards ---------------------------------------------------------------------

MANY = "@corrupt-rewards-0.5@corrupt-actions-0.3@noise-0.2"


@pytest.mark.parametrize("view", [MANY, "@reward-shuffled@no-velocity", "@range-0.7"])
@pytest.mark.parametrize("fraction", [1.0, 0.4])
def test_batches_hold_what_the_arrays_show(folder: Path, view: str, fraction: float) -> None:
    plain, seen = (load(folder, name, fraction=fraction) for name in ("", view))
    (without, batch) = (one.sampler(256, 2, (0, 1)).next() for one in (plain, seen))
    places = {row.tobytes(): at for at, row in enumerate(plain.observation)}
    rows = without.observation.unflatten(0, (2, 3)).transpose(1, 2).reshape(512, 3, 16).numpy()
    at = np.array([places[np.ascontiguousarray(row).tobytes()] for row in rows])
    step = at - np.searchsorted(plain.episode_start + np.arange(len(plain.episode_start)), at,
                                "right") + 1  # fmt: skip

    def members(values: np.ndarray) -> torch.Tensor:
        shaped = torch.from_numpy(values).unflatten(0, (2, 256)).transpose(1, 2)
        return shaped.flatten(0, 1)

    assert torch.equal(batch.observation, members(seen.observation[at]))
    assert torch.equal(batch.next_observation, members(seen.observation[at + 1]))
    assert torch.equal(batch.action, members(seen.action[step]))
    assert torch.equal(batch.reward, members(seen.reward[step]))


def test_windows_and_their_returns_follow_the_view(folder: Path) -> None:
    window = load(folder, "@reward-zero").sequences(32, horizon=4).next()
    assert not window.return_to_go.any()
    (plain, negated) = (
        load(folder, view).sequences(32, horizon=4, history=1).next()
        for view in ("", "@reward-negated")
    )
    torch.testing.assert_close(negated.return_to_go, -plain.return_to_go)
    assert torch.equal(negated.observation, plain.observation)


def test_equal_places_have_equal_noise_in_every_batch(folder: Path) -> None:
    places = torch.tensor([3, 10**9, 3, 0])
    for law in (uniform, gaussian):
        drawn = law(places, 5, 7)
        assert torch.equal(drawn[0], drawn[2])
        assert torch.equal(law(places[1:2], 5, 7)[0], drawn[1])
        assert not torch.equal(law(places, 5, 8), drawn)
    many = uniform(torch.arange(100_000), 2, 1)
    assert 0 <= float(many.min()) < float(many.max()) < 1
    assert abs(float(many.mean()) - 0.5) < 0.003
    assert abs(float(torch.corrcoef(many.T)[0, 1])) < 0.01
    assert abs(float(torch.corrcoef(torch.stack([many[1:, 0], many[:-1, 0]]))[0, 1])) < 0.01
    assert abs(float(gaussian(torch.arange(100_000), 1, 1).std()) - 1) < 0.01


def test_the_card_is_that_of_what_is_seen(folder: Path) -> None:
    plain = load(folder).card
    card = load(folder, "@reward-negated").card
    assert card["id"] == f"{BASE}@reward-negated"
    assert card["views"] == ["reward-negated"]
    assert card["returns"]["mean"] == pytest.approx(-plain["returns"]["mean"])
    assert card["observation_std"] == plain["observation_std"]
    assert card["checksum"] == plain["checksum"]
    half = load(folder, "@noise-0.5", fraction=0.5)
    assert half.card["n_episodes"] == 100
    assert np.mean(half.card["observation_std"]) > 1.05 * np.mean(plain["observation_std"])
    words = text(half)
    assert f"{BASE}@noise-0.5" in words
    assert "Gaussian noise on recorded observations" in words


def test_statistics_of_observations_are_to_the_bit_those_without_a_view_of_rewards(
    folder: Path,
) -> None:
    for fraction in (1.0, 0.4):
        cards = [load(folder, view, fraction=fraction).card for view in ("", "@reward-zero")]
        for key in ("observation_mean", "observation_std"):
            assert cards[0][key] == cards[1][key]


def test_rows_can_be_read_in_every_way(folder: Path) -> None:
    seen = load(folder, MANY)
    for name in ("observation", "action", "reward"):
        lazy, whole = getattr(seen, name), np.asarray(getattr(seen, name))
        mask = np.zeros(len(whole), dtype=bool)
        mask[[2, 5]] = True
        for index in (3, slice(2, 9), slice(None, None, 1000), [4, 1, 4], mask, np.array([7]),
                      (slice(0, 5), 1), (np.array([1, 3]), 0)):  # fmt: skip
            assert np.array_equal(lazy[index], whole[index]), index
        assert lazy.shape == whole.shape
        assert len(lazy) == len(whole)


def test_the_page_names_every_view() -> None:
    page = (Path(__file__).parents[2] / "docs" / "robustness.md").read_text()
    for name, row in grammar.KINDS.items():
        assert f"`@{name}" in page, f"docs/robustness.md does not name @{name}{row.amount and '-'}"
