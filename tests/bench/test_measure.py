"""The efficiency track: what is timed, what is counted against, and files that go on."""

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from bench import commands_measure, measure
from bench.errors import BenchError
from bench.measuring import document, reference, show, sizes, summary, timing
from bench.measuring.document import read
from bench.measuring.request import Request, make_request, settings_of
from bench.measuring.sizes import Size
from bench.measuring.subject import Subject

ROOT = Path(__file__).parents[2]
OBSERVATION, ACTION, BATCH, HIDDEN = 18, 2, 32, (24, 40)
SMALL = Size(3, BATCH, HIDDEN)


def request(algos: str = "bc,om2p", **changes: Any) -> Request:
    """Return a small request."""
    flags: dict[str, Any] = {
        "agents": "3", "batch": "32", "hidden": "8x2", "set_": [], "rounds": 2, "preset": "smoke",
        "threads": 1, "seconds": 0.02, "device": "cpu",
    }  # fmt: skip
    return make_request(algos, **{**flags, **changes})


def subject(name: str, size: Size = SMALL, **changes: Any) -> Subject:
    """Return an algorithm at a size in this process."""
    settings = settings_of(request(name), name, size) | changes
    job = {"algorithm": name, "settings": settings, "agents": size.agents, "batch": size.batch}
    return Subject({**job, "device": "cpu"})


# --- reference counts ----------------------------------------------------------------------------


def mlp(*layers: int) -> nn.Sequential:
    parts: list[nn.Module] = []
    for inputs, outputs in pairwise(layers):
        parts += [nn.Linear(inputs, outputs), nn.GELU()]
    return nn.Sequential(*parts[:-1])


def plain_update(batch: int) -> None:
    """One agent's update of OM2P as one would write it down: nothing joined, nothing saved."""
    policy = mlp(OBSERVATION + ACTION + 2, *HIDDEN, ACTION)
    critics = [mlp(OBSERVATION + ACTION, *HIDDEN, 1) for _ in range(2)]
    targets = [mlp(OBSERVATION + ACTION, *HIDDEN, 1) for _ in range(2)]
    seen, following = torch.randn(batch, OBSERVATION), torch.randn(batch, OBSERVATION)
    action, noise, times = (torch.randn(batch, ACTION) for _ in range(3))

    def move(observation: Tensor, x: Tensor) -> Tensor:
        value: Tensor = policy(torch.cat([observation, x, times], dim=-1))
        return value

    with torch.no_grad():
        neighbour = move(seen, noise + 0.01)
        next_action = move(following, noise)
        goal = torch.stack([t(torch.cat([following, next_action], -1)) for t in targets]).mean(0)
    flow_loss = (move(seen, noise) - neighbour).square().mean()
    pair = torch.cat([seen, move(seen, noise)], dim=-1)
    frozen = [{k: v.detach() for k, v in critic.named_parameters()} for critic in critics]
    guided = [functional_call(c, p, (pair,)) for c, p in zip(critics, frozen, strict=True)]
    recorded = [critic(torch.cat([seen, action], dim=-1)) for critic in critics]
    critic_loss = sum(((value - goal).square().mean() for value in recorded), torch.zeros(()))
    loss = flow_loss - torch.stack(guided).mean() + critic_loss
    torch.autograd.grad(loss, [p for net in (policy, *critics) for p in net.parameters()])


def test_the_reference_of_om2p_is_what_a_plain_implementation_computes() -> None:
    with FlopCounterMode(display=False) as counter:
        plain_update(BATCH)
    settings = {
        "hidden": HIDDEN, "critic_hidden": HIDDEN, "q_weight": 0.1,
        "derivative": "finite_difference",
    }  # fmt: skip
    found = reference.update_flops("om2p", settings, 3, OBSERVATION, ACTION, BATCH)
    assert found == 3 * counter.get_total_flops()


@pytest.mark.parametrize(("width", "flops"), [(256, 2_154_823_680), (64, 161_218_560)])
def test_the_reference_of_om2p_stands_still(width: int, flops: int) -> None:
    """Written down, and by arithmetic: a yardstick that follows the code measures nothing."""
    settings = {
        "hidden": (width,) * 2, "critic_hidden": (width,) * 2, "q_weight": 1.0,
        "derivative": "finite_difference",
    }  # fmt: skip
    rows = 2 * 3 * 256  # two operations per multiply-add, three agents, batch 256
    inner, policy_in, critic_in = width * width, 22 * width, 20 * width
    policy, critics = rows * (policy_in + inner + 2 * width), 2 * rows * (critic_in + inner + width)
    passes = 4 * policy + 3 * critics  # forward
    passes += 2 * (2 * policy - rows * policy_in)  # inputs need no gradient
    passes += critics + (2 * critics - 2 * rows * critic_in)  # Q term: inputs only; critic's own
    assert reference.update_flops("om2p", settings, 3, OBSERVATION, ACTION, 256) == flops == passes


@pytest.mark.parametrize("name", reference.FORMULAS)
def test_no_algorithm_computes_much_more_than_its_reference(name: str) -> None:
    """Less is progress; forward mode takes a twentieth more in torch than it needs."""
    one = subject(name)
    with FlopCounterMode(display=False) as counter:
        one.algorithm.update(one.batch)
    settings = one.job["settings"]
    found = reference.update_flops(name, settings, 3, OBSERVATION, ACTION, BATCH)
    assert found is not None
    assert 0.5 * found < counter.get_total_flops() <= (1.06 if name == "om2p-jvp" else 1.0) * found


def test_the_reference_stays_the_same_for_variants_that_do_less_or_other_work() -> None:
    settings = settings_of(request("om2p"), "om2p", Size(3, 32, (8, 8)))
    assert reference.update_flops("om2p", settings, 3, 18, 2, 32)
    other = settings | {"derivative": "zero"}
    assert reference.update_flops("om2p", other, 3, 18, 2, 32) is None
    assert reference.update_flops("madiff-c", settings, 3, 18, 2, 32) is None


# --- sizes ---------------------------------------------------------------------------------------


def test_sizes_vary_one_at_a_time_around_the_first_of_each() -> None:
    found = sizes.around((3, 8), (256, 1024), ((64, 64), (256, 256)))
    assert [size.label for size in found] == [
        "3 agents, batch 256, hidden 64x2",
        "8 agents, batch 256, hidden 64x2",
        "3 agents, batch 1024, hidden 64x2",
        "3 agents, batch 256, hidden 256x2",
    ]
    assert sizes.around((3,), (16,), ()) == [Size(3, 16, None)]
    assert all(sizes.from_dict(size.as_dict()) == size for size in found)


def test_settings_follow_the_size_and_windows_the_batch() -> None:
    asked = request("madiff-c,dom2", set_=["dom2.solver_steps=3"])
    found = settings_of(asked, "dom2", Size(3, 32, (8, 8)))
    assert found["hidden"] == found["critic_hidden"] == (8, 8)
    assert found["solver_steps"] == 3
    whole = settings_of(asked, "madiff-c", Size(3, 32, None))["windows"]
    assert settings_of(asked, "madiff-c", Size(3, 8, None))["windows"] == whole / 4


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"algos": "om2q"}, "unknown algorithm 'om2q'; did you mean om2p"),
        ({"algos": ","}, "--algos names nothing"),
        ({"agents": "3,x"}, "--agents '3,x' is no list of whole numbers"),
        ({"agents": "2"}, "mpe/spread can have 3 to 32 agents, not 2"),
        ({"batch": "0"}, "--batch '0' names a number outside"),
        ({"hidden": "256"}, "--hidden '256' is not WIDTHxDEPTH"),
        ({"hidden": ","}, "--hidden names no layers"),
        ({"set_": ["om2p.hidden=64x2"]}, "--hidden and --set om2p.hidden both give widths"),
        ({"set_": ["run.batch_size=3"]}, "--set run.batch_size has no effect"),
        ({"set_": ["om2p.q_wieght=3"]}, "unknown setting om2p.q_wieght"),
        ({"preset": "quik"}, "unknown preset 'quik'"),
        ({"device": "tpu"}, "--device 'tpu' is not auto, cpu or cuda"),
    ],
)
def test_what_cannot_be_measured_is_said_in_one_sentence(
    changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(Exception, match=r"\S") as caught:
        request(**changes)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


# --- statistics ----------------------------------------------------------------------------------


def test_exponents_of_exact_power_laws_are_found() -> None:
    sizes_ = [3.0, 8.0, 32.0]
    for power in (-1.0, 0.0, 0.5, 2.0):
        found = summary.fit([(x, 7.0 * x**power) for x in sizes_])
        assert found is not None
        assert found.slope == pytest.approx(power, abs=1e-12)
        assert found.count == 3
    noisy = summary.fit([(3, 10.0), (8, 27.0), (32, 105.0), (16, 53.0)])
    assert noisy is not None
    assert 0.97 < noisy.slope < 1.02
    assert summary.fit([(3.0, 1.0)]) is None
    assert summary.fit([(3.0, 1.0), (3.0, 2.0)]) is None


def test_percentiles_are_those_of_numpy() -> None:
    import numpy as np

    values = np.random.default_rng(0).lognormal(size=37)
    for percent in (0, 25, 50, 95, 99, 100):
        found = summary.percentile(list(values), percent)
        assert found == pytest.approx(np.percentile(values, percent))


def sample(round_: int, seconds: float, rate: float = 1e9) -> dict[str, Any]:
    return {
        "round": round_, "load": 0.5, "throttling": None, "calibration": [rate],
        "update": {"count": 1, "wall": [2 * seconds], "cpu": [seconds, 9.0, seconds]},
        "latency": [1e-4] * 98 + [2e-4, 5e-4], "throughput": [0.01, 0.02, 0.03],
    }  # fmt: skip


def made_up(hidden: str = "8x2") -> dict[str, Any]:
    """Return a measurement with made-up samples: om2p takes 1, 2, 3 ms, bc half of that."""
    made = document.new(request(hidden=hidden, rounds=3))
    made["machine"] = {"machine_class": "a machine"}
    for entry in made["entries"]:
        share = 0.5 if entry["algorithm"] == "bc" else 1.0
        width = entry["size"]["hidden"][0]
        made["rounds"][entry["key"]] = [
            sample(at, share * at * 1e-3 * width / 8) for at in (1, 2, 3)
        ]
        made["costs"][entry["key"]] = {
            "peak_tensor_bytes": share * width**2 * 2**20, "flops_update": width**2,
            "peak_split": {"activations": 2**20}, "memory": {"peak_rss_bytes": 300 * 2**20},
            "evaluations_update": {"total": 7.0}, "flops_act": 1000, "parameters_act": 500,
        }  # fmt: skip
    return made


def test_figures_are_medians_of_rounds_and_quartiles_over_them() -> None:
    cloning, om2p = summary.figures(made_up())
    assert om2p.time == summary.Spread(0.002, 0.0015, 0.0025, 3)
    assert om2p.other_time == summary.Spread(0.004, 0.003, 0.005, 3)
    assert om2p.latency == pytest.approx({50: 1e-4, 95: 1e-4, 99: 2.03e-4})
    assert om2p.per_second == pytest.approx(1000 / 0.02)
    flops = reference.update_flops("om2p", made_up()["entries"][1]["settings"], 3, 18, 2, 32)
    assert flops is not None
    assert om2p.overhead is not None
    assert om2p.overhead.median == pytest.approx(0.002 * 1e9 / flops)
    assert cloning.time is not None
    assert cloning.time.median == 0.001
    cloning.rounds[2] = 0.5  # of om2p's 2 ms: 250 times; round 9 has no partner
    cloning.rounds[9] = 0.1
    assert summary.ratio(cloning, om2p) == summary.Spread(0.5, 0.5, 125.25, 3)
    assert summary.base_of([cloning, om2p]) == "om2p"
    assert summary.base_of([cloning]) == "bc"


def test_on_a_gpu_the_wall_clock_counts_and_throttling_is_said() -> None:
    made = made_up()
    made["configuration"]["device"] = "cuda"
    for entry in made["entries"]:
        memory = made["costs"][entry["key"]]["memory"]
        memory |= {
            "torch_peak_allocated_bytes": 2**20, "torch_peak_reserved_bytes": 2**21,
            "nvml_bytes": None, "nvml_attribution": None,
        }  # fmt: skip
        made["rounds"][entry["key"]][0]["throttling"] = ["power cap"]
    om2p = summary.figures(made)[1]
    assert om2p.time == summary.Spread(0.004, 0.003, 0.005, 3)
    text = show.markdown(made)
    assert "| update, wall (ms) | x om2p | CPU (ms) |" in text
    assert "om2p: torch 1.0 MiB allocated, 2.0 reserved; NVML -- MiB" in text
    assert "The GPU was throttled during some rounds." in text


def test_widths_are_fitted_at_the_bases_depth_and_two_sizes_are_marked() -> None:
    text = show.markdown(made_up("8x2,32x2"))
    assert "| hidden | om2p | 1.00 (2) | 2.00 (2) | 2.00 (2) |" in text
    text = show.markdown(made_up("8x2,32x2,16x2,64x4"))
    assert "| hidden | om2p | 1.00 | 2.00 | 2.00 |" in text
    assert "| hidden |" not in show.markdown(made_up("8x2,64x4"))


def test_the_table_shows_ratios_to_om2p_and_says_what_was_measured_how() -> None:
    made = made_up()
    made["entries"][0]["steps"] = 4
    made["failures"]["om2p, elsewhere"] = "it broke"
    text = show.markdown(made)
    assert "| bc | 1.00 [0.75, 1.25] | 0.50 [0.50, 0.50] | 2.00 |" in text
    assert "| om2p | 2.00 [1.50, 2.50] | 1.00 [1.00, 1.00] | 4.00 |" in text
    assert "| bc | 4* | 100 | 100 | 203 | 1.00 | 50,000 |" in text
    assert "Medians over 3 rounds" in text
    assert "Fewer than 7 rounds" in text
    assert "bc (4 instead of 1)" in text
    assert "Failed: om2p, elsewhere: it broke." in text


def test_the_papers_claim_is_answered_from_the_measurement() -> None:
    made = made_up()
    assert show.headline(made) == []  # nothing of several steps, no Jacobian
    made["entries"][0] |= {"algorithm": "dom2", "settings": {"solver_steps": 5}}
    lines = show.headline(made)
    assert lines[0] == (
        "dom2 (5 steps) takes 0.50 times the time and 0.50 times the peak tensor memory of om2p."
    )
    assert lines[1].startswith("At most, then, 0.50 times the time (dom2) and 0.50 times")
    made["entries"][0] |= {"algorithm": "om2p-batch-jacobian", "settings": {}}
    assert "whole-batch Jacobian takes 0.50 times" in show.headline(made)[0]


@pytest.mark.parametrize("name", ["m.png", "m.pdf"])
def test_equal_measurements_give_equal_figures(tmp_path: Path, name: str) -> None:
    made = made_up()
    made["rounds"].pop(made["entries"][0]["key"])  # one row without times
    pictures = [tmp_path / f"{at}-{name}" for at in range(2)]
    for picture in pictures:
        commands_measure.draw(made, picture)
    first, second = (picture.read_bytes() for picture in pictures)
    assert first == second
    with pytest.raises(BenchError, match="cannot be written"):
        commands_measure.draw(made, tmp_path / "missing" / name)


def test_what_was_not_measured_is_left_open() -> None:
    made = made_up()
    made["rounds"].clear()
    assert "| om2p | -- | -- | -- | -- | 64.00 | 1.00 |" in show.markdown(made)


# --- timing --------------------------------------------------------------------------------------


def test_warming_up_leaves_no_trace() -> None:
    """Parameters, optimiser and random streams are those of as many updates without it."""
    timed, plain = subject("om2p"), subject("om2p")
    found = timing.updates(timed, 0.02)
    taken = 1 + found["count"] * len(found["cpu"])
    for _ in range(taken):
        plain.algorithm.update(plain.batch)
    assert timed.algorithm.updates == taken
    for mine, theirs in zip(
        timed.algorithm.parameters(), plain.algorithm.parameters(), strict=True
    ):
        assert torch.equal(mine, theirs)
    assert all(0 < cpu < 10 for cpu in found["cpu"])


def test_times_are_those_of_one_update_and_one_action(monkeypatch: pytest.MonkeyPatch) -> None:
    """With clocks that run 2 and 3 seconds an update: blocks are divided by their updates."""
    one, now = subject("bc"), {"wall": 0.0, "cpu": 0.0}
    real = one.algorithm.update

    def update(batch: Any) -> Any:
        now["wall"] += 2.0
        now["cpu"] += 3.0
        return real(batch)

    monkeypatch.setattr(one.algorithm, "update", update)
    monkeypatch.setattr(timing.time, "perf_counter", lambda: now["wall"])
    monkeypatch.setattr(timing.time, "process_time", lambda: now["cpu"])
    found = timing.updates(one, 100.0)
    assert found["count"] * len(found["wall"]) == 40
    assert set(found["wall"]) == {2.0}
    assert set(found["cpu"]) == {3.0}


@pytest.mark.parametrize("name", ["om2p", "madiff-c"])
def test_actions_are_timed_one_by_one_and_a_thousand_at_once(name: str) -> None:
    one = subject(name, Size(3, 8, (8, 8)))
    if name == "om2p":
        assert len(timing.latency(one, 0.01)) >= timing.FEWEST_ACTIONS
        assert len(timing.throughput(one, 0.5)) >= timing.FEWEST_BLOCKS
    assert one.batch.observation.shape[:2] == (3, max(1, 8 // 2 if name == "madiff-c" else 8))
    assert one.present.shape[-1] == OBSERVATION
    assert one.observation(1).shape == (3, 1, OBSERVATION)


def test_the_rate_of_the_reference_product_is_plausible() -> None:
    rates = timing.calibration("cpu")
    assert len(rates) == 5
    assert all(1e8 < rate < 1e14 for rate in rates)


# --- the file ------------------------------------------------------------------------------------


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> list[measure.Job]:
    """Replace processes by made-up answers, and return the jobs that were started."""
    started: list[measure.Job] = []

    def start(asked: Request, job: measure.Job) -> dict[str, Any]:
        started.append(job)
        if job.round == 0:
            return {"peak_tensor_bytes": 1000}
        state = {"throttling": None}
        machine = {"machine_class": "a machine", "gpu_at_start": state, "gpu_at_end": state}
        answer = sample(job.round, 1e-3) | {"machine": machine}
        del answer["round"], answer["throttling"]
        return answer

    monkeypatch.setattr(measure, "_start", start)
    return started


def test_rounds_are_interleaved_each_in_an_order_of_its_own(
    processes: list[measure.Job], tmp_path: Path
) -> None:
    asked = request("bc,om2p,dom2", rounds=6, hidden="8x2,16x2")
    made = measure.run(asked, tmp_path / "m.json", lambda text: None)
    by_round = [processes[at : at + 6] for at in range(0, len(processes), 6)]
    assert [{job.round for job in jobs} for jobs in by_round] == [{at} for at in range(7)]
    orders = {tuple(job.key for job in jobs) for jobs in by_round[1:]}
    assert len(orders) > 1
    assert all(len(samples) == 6 for samples in made["rounds"].values())


def test_an_interrupted_measurement_goes_on_and_a_finished_one_takes_more_rounds(
    processes: list[measure.Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to, told = tmp_path / "m.json", []
    start = measure._start

    def cut(request: Request, job: measure.Job) -> dict[str, Any]:
        if len(processes) == 5:
            raise KeyboardInterrupt
        return start(request, job)

    with monkeypatch.context() as patch:
        patch.setattr(measure, "_start", cut)
        with pytest.raises(KeyboardInterrupt):
            measure.run(request(rounds=3), to, told.append)
    assert len(told) == 5
    kept = read(to)
    assert sum(map(len, kept["rounds"].values())) == 3
    measure.run(request(rounds=3), to, told.append)
    assert len(processes) == 8
    assert len({(job.key, job.round) for job in processes}) == 8
    made = measure.run(request(rounds=4), to, told.append)
    assert len(processes) == 10
    assert {len(samples) for samples in made["rounds"].values()} == {4}
    assert read(to) == made


def test_a_file_of_another_measurement_is_left_alone(
    processes: list[measure.Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to = tmp_path / "m.json"
    measure.run(request(rounds=1), to, lambda text: None)
    before = to.read_bytes()
    for changes, words in [
        ({"algos": "bc"}, "its algorithms differ"),
        ({"hidden": "16x2"}, "its sizes differ"),
        ({"preset": "cpu"}, "its preset is smoke, not cpu"),
        ({"set_": ["om2p.fd_step=0.1"]}, "its overrides differ"),
    ]:
        with pytest.raises(BenchError, match="holds another measurement") as caught:
            measure.run(request(**changes), to, lambda text: None)
        assert words in str(caught.value)
    monkeypatch.setattr(document, "code_hash", lambda: "another")
    with pytest.raises(BenchError, match="the code has changed since"):
        measure.run(request(rounds=1), to, lambda text: None)
    assert to.read_bytes() == before


def test_times_of_another_machine_are_not_added(
    processes: list[measure.Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to = tmp_path / "m.json"
    measure.run(request(rounds=1), to, lambda text: None)
    start = measure._start

    def elsewhere(request: Request, job: measure.Job) -> dict[str, Any]:
        answer = start(request, job)
        answer["machine"]["machine_class"] = "another machine"
        return answer

    monkeypatch.setattr(measure, "_start", elsewhere)
    with pytest.raises(BenchError, match="times of another machine"):
        measure.run(request(rounds=2), to, lambda text: None)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is not valid JSON"),
        ("[]", "was not written by"),
        ('{"kind": "om2p-bench measurement", "schema": 99}', "is of schema version 99"),
    ],
)
def test_files_that_are_no_measurement_are_refused(
    tmp_path: Path, content: str, words: str
) -> None:
    path = tmp_path / "m.json"
    path.write_text(content)
    with pytest.raises(BenchError, match=words):
        read(path)
    with pytest.raises(BenchError, match="cannot be read"):
        read(tmp_path / "missing.json")
    with pytest.raises(BenchError, match="in a folder that exists"):
        measure.run(request(), tmp_path / "missing" / "m.json", lambda text: None)


def test_ctrl_c_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(measure, "_start", cut)
    flags = {
        "algos": "bc", "agents": "3", "batch": "32", "hidden": None, "set_": [], "rounds": 1,
        "preset": "smoke", "threads": 1, "seconds": 0.02, "device": "cpu", "plugin": [],
        "to": tmp_path / "m.json", "show": None, "format_": "table", "figure": None,
    }  # fmt: skip
    assert commands_measure.measure(flags) == 130
    assert "the same command goes on" in capsys.readouterr().err


# --- the whole command ---------------------------------------------------------------------------


def test_the_command_measures_shows_and_draws(
    tmp_path: Path, environment: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """With one algorithm that works, and one that refuses this batch."""
    to, picture = tmp_path / "m.json", tmp_path / "m.png"
    done = subprocess.run(
        [
            sys.executable, "-m", "bench", "measure", "--algos", "om2p,om2p-batch-jacobian",
            "--hidden", "8x2", "--batch", "300", "--rounds", "1", "--seconds", "0.02",
            "--preset", "smoke", "--device", "cpu", "--to", str(to),
        ],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "batch_jacobian is quadratic in the batch: at most 256 rows" in done.stdout
    assert "[2/4]" in done.stderr
    (key,) = json.loads(to.read_text())["rounds"]
    assert key == "om2p, 3 agents, batch 300, hidden 8x2"
    made = read(to)
    assert made["costs"][key]["memory"]["peak_rss_bytes"] > 50e6
    assert made["costs"][key]["evaluations_update"]["total"] == 7
    assert made["machine"]["threads"] == 1
    (timed,) = made["rounds"][key]
    assert len(timed["calibration"]) == 10
    assert all(0 < value < 10 for value in timed["update"]["cpu"])
    flags = {"show": to, "format_": "markdown", "figure": picture}
    assert commands_measure.measure(flags) == 0
    assert capsys.readouterr().out == show.markdown(made)
    assert picture.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(BenchError, match=r"must end in .png or .pdf"):
        commands_measure.measure({**flags, "figure": Path("m.txt")})
    with pytest.raises(BenchError, match="--format 'text' is not one of table, markdown"):
        commands_measure.measure({**flags, "format_": "text"})


def test_the_measuring_process_ends_with_the_one_that_started_it() -> None:
    """A parent that is gone already: the process leaves at once, without an answer."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "bench.measuring.worker", "1"],
        input="{}", capture_output=True, text=True, cwd=ROOT, timeout=60, check=False,
        env=measure.worker_environment({}),
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout == ""


PAGE = ROOT / "docs" / "efficiency.md"
KEPT = sorted((ROOT / "docs" / "evidence").glob("efficiency*.json"))


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.name)
def test_the_page_shows_what_its_file_holds(path: Path) -> None:
    """Printed by `measure --show FILE --format markdown`, and pasted whole."""
    page, made = PAGE.read_text(), read(path)
    assert show.markdown(made).strip() in page
    assert f"`docs/evidence/{path.name}`" in page
    assert path.stat().st_size < 2**20
    assert not made["failures"]
