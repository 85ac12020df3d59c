"""A trained team as an ONNX file: it acts like the checkpoint, without torch."""

import dataclasses
import functools
import importlib
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import algorithms
import bench
from algorithms.contract.examples import team
from bench.cli import app
from bench.errors import BenchError
from bench.plan.grid import cells
from bench.policies import onnx_export
from bench.policies.onnx_policy import ExportedPolicy, draw
from bench.results.record import Record
from bench.training.runner import ExecutionOptions, run_cell
from tests.bench.conftest import DATASET, SIZE
from tests.bench.documents import document

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
TEAM = team((5, 7, 4), (2, 1, 3))
OBSERVATIONS = [np.full(size, 0.3) for size in TEAM.observation_sizes]
FEW = {
    "hidden": (8,), "critic_hidden": (8,), "flow_steps": 2, "diffusion_steps": 2, "solver_steps": 2,
    "consistency_steps": 2, "candidates": 2,
}  # fmt: skip
any_batch = pytest.mark.skipif(
    torch.__version__ < onnx_export.ANY_BATCH, reason=f"needs torch {onnx_export.ANY_BATCH}"
)


def small(name: str, **changes: Any) -> Any:
    fixed = algorithms.row(name).switches
    wanted = {"hidden": (16,), **changes, **fixed}
    return algorithms.make(name, TEAM, algorithms.settings_class(name)(**wanted))


def content(learner: Any, dynamic: bool = False) -> bytes:
    trained = {"name": learner.name, "version": learner.version, "plugin": None}
    return onnx_export.model_of(learner, Record.read(document(algorithm=trained)), dynamic)


@pytest.fixture(scope="module", autouse=True)
def one_list_of_operations() -> Iterator[None]:
    """Let torch list its ONNX operations once: at every export it takes more than half the time."""
    from torch.onnx._internal.exporter import _registration

    listed = _registration.ONNXRegistry.from_torchlib
    with pytest.MonkeyPatch.context() as patch:
        once = staticmethod(functools.cache(listed))
        patch.setattr(_registration.ONNXRegistry, "from_torchlib", once)
        yield


@functools.cache
def narrow(name: str, dynamic: bool) -> tuple[Any, bytes]:
    """Return an algorithm with few steps and its file, made once: no test changes either."""
    fields = {one.name for one in dataclasses.fields(algorithms.settings_class(name))}
    learner = small(name, **{key: value for key, value in FEW.items() if key in fields})
    return learner, content(learner, dynamic)


@pytest.fixture(scope="module")
def om2p() -> bytes:
    return content(small("om2p"))


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("diffusion-ql", {}),  # draws by value, and mish
        ("meanflow-ql", {"critic_hidden": (16,)}),  # the best of five
        ("flow-bc-joint", {"flow_steps": 2, "activation": "relu"}),
    ],
)
def test_a_file_acts_as_the_algorithm_does(name: str, changes: dict[str, Any]) -> None:
    if changes:
        learner = small(name, **changes)
        file = content(learner)
    else:
        learner, file = narrow(name, False)
    exported = ExportedPolicy(file)
    assert onnx_export.compared(learner, exported) < 1e-5
    assert exported.description["algorithm"] == name
    actions = exported(OBSERVATIONS)
    assert actions.shape == (3, 3)
    for action, size in zip(actions, TEAM.action_sizes, strict=True):
        assert not action[size:].any()
        assert np.abs(action).max() <= 1


def test_a_file_holds_the_weights_of_a_chain_once() -> None:
    learner = small("flow-bc", hidden=(128, 128))  # ten steps
    weights = 4 * sum(p.numel() for p in learner.acting_parameters())
    assert weights > 2**17
    result = content(learner)
    assert len(result) < 1.25 * weights
    assert str(Path(algorithms.__file__).parents[1]).encode() not in result  # nor where it was made


def test_a_comparison_notices_another_policy(om2p: bytes) -> None:
    learner = small("om2p")
    assert onnx_export.compared(learner, ExportedPolicy(om2p)) < 1e-5
    with torch.no_grad():
        learner.policy.network.biases[0].add_(0.01)
    assert onnx_export.compared(learner, ExportedPolicy(om2p)) > 1e-4


def test_noise_that_is_drawn_elsewhere_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = small("bc")
    plain = learner.act

    def act(observation: torch.Tensor) -> Any:
        action, memory = plain(observation)
        return action + 0.1 * torch.randn(action.shape), memory

    monkeypatch.setattr(learner, "act", act)
    assert onnx_export.compared(learner, ExportedPolicy(content(learner))) > onnx_export.TOLERANCE


def test_without_a_seed_policies_draw_differently(om2p: bytes) -> None:
    first, second = (ExportedPolicy(om2p)([np.zeros(n) for n in (5, 7, 4)]) for _ in range(2))
    assert not np.array_equal(first, second)


def test_seeds_decide_the_noise_and_names_the_order(om2p: bytes) -> None:
    first, same, other = (ExportedPolicy(om2p, seed=seed) for seed in (0, 0, 1))
    actions = first(OBSERVATIONS)
    named = {f"agent_{index}": OBSERVATIONS[index] for index in (2, 0, 1)}
    result = same(named)
    assert list(result) == ["agent_0", "agent_1", "agent_2"]
    for index, size in enumerate(TEAM.action_sizes):
        np.testing.assert_array_equal(result[f"agent_{index}"], actions[index, :size])
    assert not np.array_equal(other(OBSERVATIONS), actions)
    first.reset()
    kept = actions.copy()
    assert not np.array_equal(first(OBSERVATIONS), actions)
    np.testing.assert_array_equal(actions, kept)  # no later action writes into an earlier one
    with pytest.raises(
        BenchError, match=r"cell 0123456789ab needs observations of sizes \[5, 7, 4\]"
    ):
        first(OBSERVATIONS[::-1])


def test_the_distributions_of_random_numbers() -> None:
    random = np.random.default_rng(0)
    normal, uniform = (np.empty((200, 100), np.float32) for _ in range(2))
    draw(random, "normal", normal)
    draw(random, "uniform", uniform)
    assert abs(normal.mean()) < 0.03
    assert abs(normal.std() - 1) < 0.03
    assert 0 <= uniform.min() <= uniform.max() < 1
    assert abs(uniform.mean() - 0.5) < 0.01


def test_a_cell_is_exported_and_acts_without_torch(
    tmp_path: Path, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from bench.plan import config

    made = config.make_config(
        algorithms=("om2p",), datasets=(DATASET,), seeds=(0,), preset="smoke", size=SIZE,
        overrides={"run.updates": 5, "algorithm.hidden": [16]}, data_dir=data_dir, out=tmp_path,
    )  # fmt: skip
    (cell,) = cells(made)
    assert run_cell(cell, tmp_path / cell.id, ExecutionOptions())["status"] == "done"
    to = tmp_path / "team.onnx"
    assert app.main(["export", cell.id, "--out", str(tmp_path), "--to", str(to)]) == 0
    assert "differ from torch's by" in capsys.readouterr().out
    code = (
        "import sys, bench, numpy as np\n"
        f"policy = bench.load_exported({str(to)!r})\n"
        "print(policy(np.zeros((3, 18))).shape, 'torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(3, 2) False"
    assert app.main(["export", cell.id, "--out", str(tmp_path), "--to", str(tmp_path)]) == 2
    assert "cannot be written (Is a directory)" in capsys.readouterr().err


def test_a_file_that_is_not_an_exported_policy_is_refused_in_one_sentence(
    om2p: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnx

    with pytest.raises(BenchError, match="cannot be read"):
        bench.load_exported(tmp_path / "nowhere.onnx")
    foreign = onnx.load_from_string(om2p)
    del foreign.metadata_props[:]
    for name, written in (("text", b"no model"), ("foreign", foreign.SerializeToString())):
        (tmp_path / name).write_bytes(written)
        with pytest.raises(BenchError, match=f"{name} was not written by"):
            bench.load_exported(tmp_path / name)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(BenchError, match=r"need onnxruntime: pip install"):
        bench.load_exported(tmp_path / "text")


def test_missing_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        BenchError, match="needs onnx, onnx_ir, onnxscript, onnxruntime: pip install"
    ):
        onnx_export.export("0123456789ab", tmp_path / "team.onnx", tmp_path)


def exportable() -> list[str]:
    """Return one row of every way to act without planning."""
    first: dict[tuple[object, ...], str] = {}
    for name in algorithms.names():
        if not hasattr(algorithms.settings_class(name), "history"):  # MADiff plans
            module, _, kind = algorithms.row(name).target.partition(":")
            learner = getattr(importlib.import_module(module), kind)
            first.setdefault((learner.act_from, getattr(learner, "_sample", None)), name)
    return list(first.values())


@any_batch
@pytest.mark.parametrize("name", exportable())
def test_every_algorithm_acts_upon_any_batch(name: str) -> None:
    learner, file = narrow(name, True)
    exported = ExportedPolicy(file)
    assert onnx_export.compared(learner, exported) < 1e-5  # at 1, 2 and 7 observations
    assert exported.description["batch"] == "batch"
    assert all("batch" in str(shape) for _, shape in exported.description["draws"])
    wide = [np.full((33, size), 0.3) for size in TEAM.observation_sizes]
    assert [one.shape for one in exported.act_on_batch(wide)] == [(33, 2), (33, 1), (33, 3)]


def test_an_older_torch_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def load(cell: str, out: str) -> Any:
        return types.SimpleNamespace(
            algorithm=small("bc"), record=Record.read(document()), cell="0123456789ab"
        )

    def refuse(*arguments: Any) -> None:
        raise torch.onnx.OnnxExporterError("constraints violated")

    monkeypatch.setattr(onnx_export.checkpointed, "load_policy", load)
    monkeypatch.setattr(onnx_export, "model_of", refuse)
    with pytest.raises(BenchError, match=r"leave --batch dynamic out, or use torch 2\.13 or newer"):
        onnx_export.export("0123456789ab", tmp_path / "team.onnx", dynamic=True)


@any_batch
def test_a_file_takes_any_batch() -> None:
    exported = ExportedPolicy(narrow("om2p", True)[1], seed=0)
    assert exported.dynamic
    for count in (1, 2, 33):
        observations = [np.full((count, size), 0.3) for size in TEAM.observation_sizes]
        actions = exported.act_on_batch(observations)
        assert [one.shape for one in actions] == [(count, size) for size in TEAM.action_sizes]
        assert all(np.abs(one).max() <= 1 for one in actions)
    assert [len(one) for one in exported(OBSERVATIONS)] == [3, 3, 3]  # padded, as before


def test_a_batch_for_a_file_of_one_is_refused(om2p: bytes) -> None:
    policy = ExportedPolicy(om2p)
    one = [row[None] for row in OBSERVATIONS]
    assert [row.shape for row in policy.act_on_batch(one)] == [(1, 2), (1, 1), (1, 3)]
    with pytest.raises(BenchError, match="--batch dynamic"):
        policy.act_on_batch([np.repeat(row, 2, axis=0) for row in one])
    with pytest.raises(BenchError, match="needs observations of shapes"):
        policy.act_on_batch(one[:2])


@pytest.mark.parametrize("dynamic", [False, pytest.param(True, marks=any_batch)])
def test_a_file_says_what_its_inputs_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], dynamic: bool
) -> None:
    (tmp_path / "team.onnx").write_bytes(narrow("diffusion-ql", dynamic)[1])
    assert app.main(["export", "--describe", str(tmp_path / "team.onnx")]) == 0
    shown = capsys.readouterr().out
    batch = "batch" if dynamic else "1"
    assert f"observation (3, {batch}, 7)" in shown
    assert f"action (3, {batch}, 3)" in shown
    stated = "batch: any number of joint observations" if dynamic else "one joint observation at"
    assert stated in shown
    assert "agents have 5, 7, 4 features" in shown
    import onnxruntime

    model = onnxruntime.InferenceSession(tmp_path / "team.onnx")
    for one in model.get_inputs():  # every input that the file has is described
        assert f"  {one.name} (" in shown
    assert app.main(["export"]) == 2
