"""Drivers of official codes: with stand-ins for their checkouts, and with real ones if given.

`OM2P_BENCH_OFFICIAL=DIR pytest tests/studies` also trains the real codes for a few updates; DIR
holds the checkouts OMAR, OM2P, fql, CORL and DQL. The two in JAX need jax, flax and optax.
"""

import importlib.util
import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import algorithms
from datasets.errors import DatasetError
from studies.official import official, ours, pairs, recorded, rows, table
from studies.official.__main__ import main
from studies.official.checkout import Checkout, layers

ROOT = Path(__file__).resolve().parent.parent.parent
CHECKOUTS = {
    "ling-pan/OMAR": "OMAR",
    "lizr16/OM2P": "OM2P",
    "seohongpark/fql": "fql",
    "tinkoff-ai/CORL": "CORL",
    "Zhendong-Wang/Diffusion-Policies-for-Offline-RL": "DQL",
}
STEPS = 75

# What the drivers call, with the smallest behaviour that tells whether they called it rightly.
OMAR = {
    "algorithms/__init__.py": "",
    "algorithms/maddpg.py": """
import torch
from utils.scale import SCALE

class MATD3:
    @classmethod
    def init_from_env(cls, env, env_id, data_type, **options):
        team = cls()
        team.nagents, team.seen, team.targets = len(env.agent_types), [], 0
        assert env_id == "simple_spread" and data_type == "expert"
        assert options["batch_size"] == 8 and options["hidden_dim"] == 64
        team.zeros = torch.cuda.FloatTensor(8, env.action_space[0].shape[0]).zero_().cuda()
        team.omar = options["omar"]
        return team

    def prep_training(self, device):
        assert device == "cpu"

    prep_rollouts = prep_training

    def update(self, sample, agent):
        obs, acs, rews, next_obs, dones = sample
        assert obs[agent].shape == (8, 18)
        obs[agent].expand(2, 8, 18).permute(1, 0, 2).clamp(-1, 1).view(-1, 18)
        torch.distributions.Normal(self.zeros, self.zeros)
        self.seen.append(agent)

    def update_all_targets(self):
        self.targets += 1

    def step(self, observations, explore=False):
        assert self.seen == [0, 1, 2] * 3 and self.targets == 3
        return [SCALE * o[:, :2] for o in observations]
""",
    "utils/__init__.py": "",
    "utils/scale.py": "SCALE = 0.5",
    "utils/networks.py": "import torch.nn as nn",
    "utils/buffer.py": """
import numpy as np
import torch

class ReplayBuffer:
    def __init__(self, rows, agents, observations, actions):
        assert (rows, agents, observations, actions) == (75, 3, [18] * 3, [2] * 3)

    def load_batch_data(self, folder):
        self.parts = [
            [torch.from_numpy(np.load(f"{folder}/{kind}_{i}.npy")) for i in range(3)]
            for kind in ("obs", "acs", "rews", "next_obs", "dones")
        ]

    def sample(self, count, to_gpu):
        assert not to_gpu
        rows = np.random.choice(75, count, replace=False)
        return [[values[rows] for values in part] for part in self.parts]
""",
}
CORL_COMMON = """
import d4rl
import gym
import numpy as np
import pyrallis
import torch
import torch.nn as nn
import wandb
from dataclasses import dataclass
from typing import Optional

@dataclass
class TrainConfig:
    env: str = "halfcheetah"

def compute_mean_std(states, eps):
    return states.mean(0), states.std(0) + eps

def normalize_states(states, mean, std):
    return (states - mean) / std

def set_seed(seed, env: Optional[gym.Env] = None):
    torch.manual_seed(seed)

class ReplayBuffer:
    def __init__(self, state_dim, action_dim, size, device):
        assert size == 75

    def load_d4rl_dataset(self, data):
        self.data = data
        assert abs(data["observations"].mean()) < 1e-3  # standardised

    def sample(self, count):
        return [torch.from_numpy(values[:count]) for values in self.data.values()]

class Trainer:
    def __init__(self, **parts):
        self.actor, self.steps = parts["actor"], 0
        self.parts = parts

    def train(self, batch):
        self.steps += 1

@pyrallis.wrap()
def train(config: TrainConfig):
    env = gym.make(config.env)
"""
TD3_BC = (
    CORL_COMMON
    + """
class Actor(nn.Module):
    def __init__(self, state_dim, action_dim, max_action):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(state_dim, 256), nn.ReLU(), nn.Linear(256, action_dim))
        assert self.net[0].out_features == 128

    def forward(self, state):
        return self.net(state).tanh()

class Critic(nn.Module):
    def __init__(self, state_dim, action_dim):
        super().__init__()
        self.net = nn.Linear(state_dim + action_dim, 256)
        assert self.net.out_features == 64

class TD3_BC(Trainer):
    pass
"""
)
IQL = (
    CORL_COMMON
    + """
class GaussianPolicy(nn.Module):
    def __init__(self, state_dim, action_dim, max_action, hidden_dim):
        super().__init__()
        self.net = nn.Linear(state_dim, action_dim)

    def forward(self, state):
        return torch.distributions.Normal(self.net(state).tanh(), torch.ones(2))

class TwinQ(nn.Module):
    def __init__(self, state_dim, action_dim, hidden_dim):
        super().__init__()
        assert hidden_dim == 64
        self.net = nn.Linear(state_dim + action_dim, 1)

class ValueFunction(TwinQ):
    def __init__(self, state_dim, hidden_dim):
        super().__init__(state_dim, 0, hidden_dim)

class ImplicitQLearning(Trainer):
    pass
"""
)
DQL = {
    "agents/__init__.py": "",
    "agents/model.py": """
import torch.nn as nn

class MLP(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(18, 256)
""",
    "agents/ql_diffusion.py": """
import torch
import torch.nn as nn
from agents.model import MLP
from tabulate import tabulate

class Diffusion_QL:
    def __init__(self, state_dim, action_dim, **options):
        assert MLP().layer.out_features == 128
        self.actor, self.critic_target = self, self
        self.critic_optimizer = torch.optim.Adam(nn.Linear(1, 64).parameters(), lr=3e-4)
        self.generator = torch.Generator().manual_seed(0)

    def train(self, sampler, iterations, batch_size):
        assert self.critic_optimizer.param_groups[0]["lr"] == 1e-3
        assert (iterations, batch_size) == (3, 8)

    def sample(self, states):
        return torch.rand(len(states), 2, generator=self.generator) * 2 - 1

    def q_min(self, states, actions):
        return 1e6 * actions[:, :1]  # the candidate furthest to the right is taken
""",
    "utils/__init__.py": "",
    "utils/data_sampler.py": """
class Data_Sampler:
    def __init__(self, data, device, reward_tune):
        assert (device, reward_tune) == ("cpu", "no") and data["terminals"].sum() == 0
""",
}


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """Return a folder as `data export` writes it: three episodes of made-up numbers."""
    folder = tmp_path / "export"
    folder.mkdir()
    random = np.random.default_rng(0)
    for agent in range(3):
        shapes = {"obs": (18,), "acs": (2,), "rews": (), "next_obs": (18,), "dones": ()}
        for kind, shape in shapes.items():
            values = random.uniform(-1, 1, (STEPS, *shape)).astype(np.float32)
            np.save(folder / f"{kind}_{agent}.npy", 0 * values if kind == "dones" else values)
    about: dict[str, Any] = {
        "format": "omar", "dataset": "mpe/spread/expert", "task": "mpe/spread", "rules": "omar",
        "prey": None, "quality": "expert", "data_seed": 0, "checksum": "c" * 64,
        "transitions": STEPS, "agents": ["agent_0", "agent_1", "agent_2"],
        "observation_sizes": [18, 18, 18], "action_sizes": [2, 2, 2],
    }  # fmt: skip
    (folder / "dataset.json").write_text(json.dumps(about))
    return folder


def small(monkeypatch: pytest.MonkeyPatch, **settings: Any) -> None:
    """Let every pair have a batch of 8, and the official side other settings."""
    whole = pairs.pair

    def smaller(name: str, quality: str, flip: str | None = None) -> pairs.Pair:
        pair = whole(name, quality, flip)
        return replace(pair, batch_size=8, official=pair.official | settings)

    monkeypatch.setattr(pairs, "pair", smaller)


def test_drivers_run_stand_ins_from_data_to_rows(
    export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    small(monkeypatch)
    code = write(tmp_path / "omar", OMAR)
    subprocess.run(["git", "init", "-q", str(code)], check=True)
    subprocess.run(["git", "-C", str(code), "add", "."], check=True)
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "-C", str(code), *who, "commit", "-qm", "one"], check=True)
    corl = write(
        tmp_path / "corl",
        {"algorithms/offline/td3_bc.py": TD3_BC, "algorithms/offline/iql.py": IQL},
    )
    file = tmp_path / "rows.jsonl"
    common = ["--data", str(export), "--updates", "3", "--episodes", "4", "--rows", str(file)]
    own = sys.modules["algorithms"]
    for pair, folder in (("omar", code), ("iql", corl), ("td3bc", corl)):
        assert main(["official", pair, "--code", str(folder), *common]) == 0
    assert sys.modules["algorithms"] is own is algorithms, "ours is back"
    assert str(code) not in sys.path

    omar, iql, td3bc = rows.read(file)
    assert omar.code == "ling-pan/OMAR"
    assert len(omar.commit or "") == 40
    assert omar.changed is False
    assert iql.commit is None
    assert iql.changed is None
    assert (td3bc.updates, td3bc.batch_size, td3bc.episodes) == (3, 8, 4)
    assert td3bc.score is not None
    assert td3bc.half_width == pytest.approx(1.96 * td3bc.return_std / 2)
    (code / "utils" / "scale.py").write_text("SCALE = 0.25")
    assert main(["official", "omar", "--code", str(code), *common]) == 0
    again = rows.read(file)
    assert len(again) == 3, "the last of equal runs counts"
    changed = next(row for row in again if row.pair == "omar")
    assert changed.changed is True
    assert changed.files != omar.files
    assert "official td3bc: return" in capsys.readouterr().out


def test_candidates_are_chosen_for_all_states_as_for_one(
    export: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from studies.official.codes import diffusion_ql

    checkout = Checkout(write(tmp_path / "dql", DQL))
    settings = pairs.pair("diffusion-ql", "expert").official
    job = recorded.Job(settings | {"candidates": 5}, 3, 8, 0)
    policy = diffusion_ql.train(checkout, recorded.read(export), job)
    job.check_used()
    import torch

    draws = torch.rand(4 * 5, 2, generator=torch.Generator().manual_seed(0)) * 2 - 1
    best = torch.stack([one[one[:, 0].argmax()] for one in draws.view(4, 5, 2)])
    actions = policy([np.zeros((4, 18), dtype=np.float32)] * 3)
    assert [np.array_equal(action, best.numpy()) for action in actions] == [True] * 3


def test_what_is_missing_is_said_in_a_sentence(
    export: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    data = ["--data", str(export)]
    assert main(["official", "iql", "--code", str(empty), *data]) == 1
    assert "has no file algorithms/offline/iql.py" in capsys.readouterr().err
    assert main(["official", "omar", "--code", str(empty), *data]) == 1
    assert "has no module algorithms.maddpg" in capsys.readouterr().err
    assert main(["official", "omar", "--code", str(tmp_path / "no"), *data]) == 1
    assert "--code names a checkout" in capsys.readouterr().err
    assert main(["ours", "omar", "--data", str(empty)]) == 1
    assert "holds no dataset.json" in capsys.readouterr().err
    assert main(["ours", "omar", *data, "--flip", "nothing"]) == 1
    assert "unknown flip 'nothing'" in capsys.readouterr().err
    with pytest.raises(DatasetError, match="does not know the settings colour"):
        recorded.Job({"colour": 1}, 1, 1, 0).check_used()


def test_layers_are_changed_only_while_they_are_built() -> None:
    import types

    from torch import nn

    module = types.ModuleType("made")
    module.nn = nn  # type: ignore[attr-defined]
    with layers(module, {256: 100}, outputs=2, he=True):
        assert module.nn.ReLU is nn.ReLU
        hidden, last = module.nn.Linear(256, 256), module.nn.Linear(256, 2)
        assert (hidden.in_features, hidden.out_features) == (100, 100)
    bounds = [float(layer.weight.detach().abs().max()) for layer in (hidden, last)]
    assert bounds[0] == pytest.approx((6 / 100) ** 0.5, rel=0.01), "He's law, as ours"
    assert bounds[1] <= 0.1
    assert module.nn.Linear(256, 5).in_features == 256


def test_settings_of_every_pair_are_settings_of_our_algorithm(export: Path) -> None:
    """Also with every flip: a name that ours does not have would end the run."""
    data = recorded.read(export)
    for name in pairs.names():
        for flip in (None, *pairs.flips(name)):
            for quality in ("expert", "medium-replay"):
                pair = pairs.pair(name, quality, flip)
                algorithms.settings_class(pair.algorithm)(
                    **{
                        key: tuple(value) if isinstance(value, list) else value
                        for key, value in pair.ours.items()
                    }
                )
                line = ours.command(pair, data, 0, 10, 4)
                assert line[0] == "run"
                assert f"{pair.algorithm}.hidden=" in " ".join(line)
    omar = pairs.pair("omar", "medium-replay").ours
    assert omar["cql_weight"] == 1.0, "as the code's own table"
    assert pairs.pair("omar", "expert").ours["cql_weight"] == 5.0


def made(side: str, mean: float, flip: str | None = None) -> rows.Row:
    return rows.Row(
        "omar", flip, side, "code", None, None, None, "mpe/spread/expert", 0, "c", 100, 2000, 1024,
        {}, 0, 100, mean, 10.0, 50.0, None, "cpu", {},
    )  # fmt: skip


def test_the_table_marks_differences_beyond_the_intervals() -> None:
    near = table.paired([made("official", 500.0), made("ours", 502.0)])
    assert near[2:] == [
        "| OMAR | expert | 2,000 | 0 | 500.0 ± 2.0 (50.0) | 502.0 ± 2.0 (50.0) | +2.0 ± 2.8 |"
    ]
    gap, half = table.difference(made("official", 500.0), made("ours", 490.0))
    assert (gap, half) == (-10.0, pytest.approx(1.96 * math.sqrt(2)))
    far = table.paired([made("official", 500.0), made("ours", 490.0)])
    assert "**-10.0 ± 2.8**" in far[2]
    changed = table.flipped(
        [made("official", 500.0), made("ours", 490.0), made("ours", 499.0, "other-weights")]
    )
    assert changed[2:] == [
        "| OMAR | expert | 2,000 | other weights | ours | 490.0 ± 2.0 (50.0) "
        "| 499.0 ± 2.0 (50.0) | 500.0 ± 2.0 (50.0) |"
    ]


def test_the_page_shows_the_rows() -> None:
    page = (ROOT / "docs" / "official.md").read_text(encoding="utf-8")
    assert table.filled(page, rows.read()) == page, "fill it: python -m studies.official table"
    assert table.filled(page, []) != page
    for row in rows.read():
        assert row.episodes == 1000
        if row.side == "official":
            assert row.changed is False, f"{row.code} was changed"
            assert row.commit is not None
            assert row.commit[:7] in page


def real(name: str) -> Path:
    folder = os.environ.get("OM2P_BENCH_OFFICIAL")
    if folder is None:
        pytest.skip("OM2P_BENCH_OFFICIAL names no folder of checkouts")
    return Path(folder) / CHECKOUTS[pairs.pair(name, "").repository]


@pytest.mark.parametrize("name", pairs.names())
def test_real_checkouts_train(name: str, export: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = real(name)
    if code.name in ("OM2P", "fql") and importlib.util.find_spec("jax") is None:
        pytest.skip("needs jax")
    small(monkeypatch)
    row = official.run(name, code, export, updates=3, episodes=2)
    assert math.isfinite(row.return_mean)
    assert row.files is not None
