"""Reference counts: the floating-point operations of one update of a plain implementation.

*Overhead* is the processor time of an update divided by the time that the reference count takes at
the rate of a large matrix product, measured in the same process. The counts do not follow this
package's code: an implementation that computes less gets a smaller overhead.

A product of (rows, in) by (in, out) counts 2 rows in out; element-wise operations count zero.
For a network of layer sizes s_0 ... s_L let F = 2 rows sum_l s_(l-1) s_l be one evaluation and
F1 = 2 rows s_0 s_1 the part of its first layer. Then, by the chain rule,

    without gradient                               F
    trained, input is data                         F (values) + F (weights) + F - F1 (hidden)
    trained, gradient also to the input            3 F
    frozen, gradient to the input only             2 F

Torch-free. A count is for one team; every agent has its own networks, and a critic has two heads.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

from bench.outside import Settings


class Network:
    """The counts of one network on `rows` rows."""

    def __init__(self, rows: int, sizes: Sequence[int], normed: bool = False) -> None:
        """Count the products of layers of these sizes, input first.

        normed: a norm with learnt scale and shift stands before the first layer.
        """
        self.normed = normed
        self.value = 2 * rows * sum(i * o for i, o in pairwise(sizes))
        self.first = 2 * rows * sizes[0] * sizes[1]

    @property
    def trained(self) -> int:
        """Values, gradients of weights and hidden layers, and of an input whose norm learns."""
        return 3 * self.value - (0 if self.normed else self.first)

    @property
    def passed(self) -> int:
        """Values and the gradient to the input of a frozen network."""
        return 2 * self.value


class Team:
    """The networks of one agent, by the algorithm's settings."""

    def __init__(
        self, settings: Settings, observation: int, action: int, batch: int, agents: int
    ) -> None:
        self.settings, self.observation, self.action, self.batch, self.agents = (
            settings, observation, action, batch, agents,
        )  # fmt: skip
        self.normed = settings.get("input_norm") == "batch"

    def policy(self, times: int = 0, noisy: bool = True) -> Network:
        """Return the network of observation, noisy action (where it has one) and times."""
        inputs = self.observation + (self.action if noisy else 0) + times
        return Network(self.batch, (inputs, *self.settings["hidden"], self.action), self.normed)

    def critic(self, more: int = 0) -> Network:
        """Return one head; ``more`` inputs beside observation and action."""
        inputs = self.observation + self.action + more
        return Network(self.batch, (inputs, *self.settings["critic_hidden"], 1), self.normed)

    def network(self, inputs: int, hidden: Sequence[int], outputs: int) -> Network:
        """Return a network on the batch; where a team shares it, on one agent's rows."""
        return Network(self.batch, (inputs, *hidden, outputs))

    def part(self, count: int) -> int:
        """Return one agent's part of a count of the whole team, rounded up."""
        return -(-count // self.agents)

    def value_terms(self, recorded: int = 1, more: int = 0) -> int:
        """Return the count of a twin critic: target, `recorded` trained actions and Q term."""
        head = self.critic(more)
        return 2 * (head.value + recorded * head.trained + head.passed)


def _om2p(team: Team) -> int:
    """Regression and Q action trained; next action and second point without gradient."""
    policy = team.policy(times=2)
    if team.settings["q_weight"] == 0:
        return policy.trained + policy.value
    return 2 * policy.trained + 2 * policy.value + team.value_terms()


def _om2p_jvp(team: Team) -> int:
    """As `om2p`, the second point replaced by value and derivative in forward mode."""
    policy = team.policy(times=2)
    return _om2p(team) - policy.value + 2 * policy.value


def _chain(team: Team, steps: int) -> int:
    """A denoising loss, and a chain with gradient through all steps but to the first noise."""
    policy = team.policy(times=1)
    return policy.trained + 3 * steps * policy.value - policy.first


def _dom2(team: Team) -> int:
    """Chain of the policy, chain of its average, critic on the recorded and the K CQL actions."""
    settings, steps = team.settings, team.settings["solver_steps"]
    if settings["q_weight"] == 0:
        return team.policy(times=1).trained
    sampled = settings["cql_samples"] if settings["cql_weight"] > 0 else 0
    average = steps * team.policy(times=1).value
    return _chain(team, steps) + average + team.value_terms(1 + sampled)


def _diffusion_ql(team: Team) -> int:
    """Chain of the policy, chain of its average, twin critic."""
    steps = team.settings["diffusion_steps"]
    if team.settings["q_weight"] == 0:
        return team.policy(times=1).trained
    return _chain(team, steps) + steps * team.policy(times=1).value + team.value_terms()


def _consistency_ql(team: Team) -> int:
    """As `diffusion_ql`, with a teacher's evaluation at the next level."""
    steps, policy = team.settings["consistency_steps"], team.policy(times=1)
    taught = policy.value if team.settings["cloning"] == "consistency" else 0
    if team.settings["q_weight"] == 0:
        return policy.trained + taught
    return _chain(team, steps) + taught + steps * policy.value + team.value_terms()


def _edp(team: Team) -> int:
    """The Q term reads the denoising loss's own evaluation; the average runs its solver."""
    policy = team.policy(times=1)
    if team.settings["q_weight"] == 0:
        return policy.trained
    return policy.trained + team.settings["solver_steps"] * policy.value + team.value_terms()


def _fql(team: Team) -> int:
    """Flow trained and run to its end; one-step policy trained, and once without gradient."""
    flow, policy = team.policy(times=1), team.policy()
    taught = flow.trained + team.settings["flow_steps"] * flow.value + policy.trained
    return taught + policy.value + team.value_terms()


def _shortcut_ql(team: Team) -> int:
    """Two regressions, two half steps that teach; 1, 2, 4 ... steps, with and without gradient."""
    policy, most = team.policy(times=2), team.settings["guided_steps"]
    cloning = 2 * policy.trained + 2 * policy.value
    if team.settings["q_weight"] == 0:
        return cloning
    steps = (2 * most - 1) / (most.bit_length())  # the mean of 1, 2, 4 ... most
    walks = int(4 * steps * policy.value) - policy.first
    return cloning + walks + team.value_terms(more=1)


def _td3bc(team: Team) -> int:
    """Policy trained, target policy without gradient, twin critic of which one head guides."""
    policy = team.policy(noisy=False)
    return policy.trained + policy.value + team.value_terms() - team.critic().passed


def _rebrac(team: Team) -> int:
    """As `td3bc`, both heads guiding; the policy is trained at every k-th update only."""
    policy, head, every = team.policy(noisy=False), team.critic(), team.settings["policy_every"]
    whole = policy.trained + 2 * head.passed
    return whole // every + policy.value + 2 * (head.value + head.trained)


def _om2p_release(team: Team) -> int:
    """As `om2p`; both points of the difference are evaluated for it, as in the release."""
    return _om2p(team) + team.policy(times=2).value


def _meanflow_ql(team: Team) -> int:
    """Regression and Q action trained; second point; the TD target's candidates, chosen by Q."""
    policy = team.policy(times=1)
    if team.settings["q_weight"] == 0:
        return policy.trained + policy.value
    candidates = max(1, team.settings["candidates"] // 2)
    choice = 2 * candidates * team.critic().value if candidates > 1 else 0
    return 2 * policy.trained + (1 + candidates) * policy.value + team.value_terms() + choice


def _gaussian(team: Team) -> Network:
    """The policy that states a mean and a deviation."""
    sizes = (team.observation, *team.settings["hidden"], 2 * team.action)
    return Network(team.batch, sizes)


def _implicit(team: Team) -> int:
    """Value trained, value of the next state, twin critic and its target."""
    head = team.critic()
    value = Network(team.batch, (team.observation, *team.settings["critic_hidden"], 1))
    return value.trained + value.value + 2 * (head.value + head.trained)


def _cql(team: Team) -> int:
    """As `td3bc`, the critic trained on the recorded and the K actions of each law."""
    settings = team.settings
    laws = 3 if settings["cql_laws"] == "uniform_and_policy" else 1
    sampled = laws * settings["cql_samples"] if settings["cql_weight"] > 0 else 0
    centre = team.policy(noisy=False).value if laws > 1 and sampled else 0
    return _td3bc(team) + centre + 2 * sampled * team.critic().trained


def _omar(team: Team) -> int:
    """As `cql`, and one head's values of the actions that are searched."""
    settings = team.settings
    searched = settings["search_rounds"] * settings["search_samples"]
    if settings["search"] == "elites":
        searched += (settings["search_rounds"] - 1) * settings["search_elites"]
    return _cql(team) + searched * team.critic().value


def _icq(team: Team) -> int:
    """Shared networks on each agent's rows; the mixer once for the team."""
    settings, agents = team.settings, team.agents
    policy = team.network(team.observation + agents, settings["hidden"], team.action)
    inputs = (agents + 1) * team.observation + team.action + agents
    critic = team.network(inputs, settings["critic_hidden"], 1)
    mixer = team.network(agents * team.observation, (), (agents + 1) * settings["mixing_width"])
    values = (1 + settings["baseline_samples"]) * critic.value
    return policy.trained + critic.trained + values + team.part(mixer.trained + mixer.value)


def _omiga(team: Team) -> int:
    """As `icq`, and a shared value; the target mixer sees both observations."""
    settings, agents, own = team.settings, team.agents, team.observation + team.agents
    policy = team.network(own, settings["hidden"], 2 * team.action)
    value = team.network(own, settings["critic_hidden"], 1)
    critic = team.network(own + team.action, settings["critic_hidden"], 1)
    mixer = team.network(agents * team.observation, (settings["mixing_width"],), agents + 1)
    trained = policy.trained + value.trained + critic.trained
    return trained + value.value + critic.value + team.part(mixer.trained + 2 * mixer.value)


def _cfcql(team: Team) -> int:
    """Policies trained at every k-th update; a critic of the team on each agent's own actions."""
    settings, agents, policy = team.settings, team.agents, team.policy(noisy=False)
    every, laws = settings["policy_every"], 3 if settings["cql_laws"] == "uniform_and_policy" else 1
    sampled = laws * settings["cql_samples"] if settings["cql_weight"] > 0 else 0
    centres = 2 * policy.value if laws > 1 and sampled else 0
    sizes = (agents * (team.observation + team.action), *settings["critic_hidden"], 1)
    head = Network(team.batch, sizes, team.normed)
    whole = policy.trained + head.passed  # one head on every agent's rows
    critic = team.part(2 * (head.value + head.trained)) + 2 * sampled * head.trained
    return -(-whole // every) + policy.value + centres + critic


FORMULAS: dict[str, Callable[[Team], int]] = {
    "om2p": _om2p,
    "om2p-release": _om2p_release,
    "om2p-jvp": _om2p_jvp,
    "dom2": _dom2,
    "diffusion-ql": _diffusion_ql,
    "edp": _edp,
    "consistency-ql": _consistency_ql,
    "fql": _fql,
    "meanflow-ql": _meanflow_ql,
    "shortcut-ql": _shortcut_ql,
    "dof": _diffusion_ql,
    "bc-gaussian": lambda team: _gaussian(team).trained,
    "td3bc": _td3bc,
    "rebrac": _rebrac,
    "icq": _icq,
    "omiga": _omiga,
    "cfcql": _cfcql,
    "cql": _cql,
    "omar": _omar,
    "iql": lambda team: _gaussian(team).trained + _implicit(team),
    "ifql": lambda team: team.policy(times=1).trained + _implicit(team),
    "flow-bc": lambda team: team.policy(times=1).trained,
    "diffusion-bc": lambda team: team.policy(times=1).trained,
    "bc": lambda team: team.policy(noisy=False).trained,
}


def update_flops(
    name: str, settings: Settings, agents: int, observation: int, action: int, batch: int
) -> int | None:
    """Return the reference count of one update, None for an algorithm without a formula."""
    if name not in FORMULAS:
        return None
    if name == "om2p" and settings.get("derivative") != "finite_difference":
        return None
    return agents * FORMULAS[name](Team(settings, observation, action, batch, agents))
