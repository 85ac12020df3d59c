"""The literal table of algorithms: where each lives, what it fixes, what users should know."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from algorithms.base import Algorithm
    from algorithms.settings import Settings

# In the order in which algorithms are listed.
FAMILIES = ("mean flow", "flow", "diffusion", "planning", "cloning", "actor-critic")


@dataclass(frozen=True)
class Row:
    """One algorithm: where it lives, what it fixes, and what users should know about it."""

    target: "str | type[Algorithm[Any]]"  # "module:Class", or a plug-in's class
    settings: "str | type[Settings]"  # a dataclass, by its name in algorithms.settings
    version: int  # raised when the mathematics changes
    summary: str
    source: str
    deviations: str
    observes: str = "own"  # what a policy sees when acting: "own" or "joint" observations
    centralised_training: bool = False
    switches: Mapping[str, Any] = field(default_factory=dict)  # fixed settings of a variant
    steps_setting: str = ""  # the setting that counts steps from noise to action; "": one
    plugin: str | None = None  # sha256 of the file that registered it, None for our own
    family: str = "plug-in"  # what it is listed under: one of FAMILIES for our own
    label: str = ""  # its name in figures and tables, as in its paper; "": the name itself
    colour: str | None = None  # "#rrggbb" in figures; None: one that nothing else has there
    marker: str | None = None  # matplotlib's letter for it; None: one that nothing else has there


_OM2P = "algorithms.om2p:Om2p"
_OM2P_SOURCE = "OM2P, arXiv 2508.06269 (AAMAS 2026)"

TABLE: dict[str, Row] = {
    "om2p": Row(
        family="mean flow",
        label="OM2P",
        target=_OM2P,
        settings="Om2pSettings",
        version=1,
        summary="one-step mean-flow policy with a twin critic, the identity with the right signs",
        source=_OM2P_SOURCE,
        deviations="step, sorted times, equal share, Q normalisation: ours (the paper is silent)",
    ),
    "om2p-release": Row(
        family="mean flow",
        label="OM2P (release)",
        target=_OM2P,
        settings="Om2pSettings",
        version=1,
        summary="OM2P as its official release behaves: zero difference, noise left out when acting",
        source="lizr16/OM2P f3cfd05",
        deviations="random streams, initialisation and standardised observations are ours",
        switches={
            "derivative": "finite_difference",
            "fd_step": 1e-12,
            "order_times": False,
            "equal_share": 0.0,
            "anchor": "end",
            "sign": "release",
            "output": "u_only",
            "q_normalise": "none",
        },
    ),
    "om2p-jvp": Row(
        family="mean flow",
        label="OM2P (JVP)",
        target=_OM2P,
        settings="Om2pSettings",
        version=1,
        summary="om2p with the exact derivative by forward-mode differentiation",
        source=_OM2P_SOURCE,
        deviations="as om2p; for comparing the cost of the derivative",
        switches={"derivative": "jvp"},
    ),
    "om2p-batch-jacobian": Row(
        family="mean flow",
        label="OM2P (batch Jacobian)",
        target=_OM2P,
        settings="Om2pSettings",
        version=1,
        summary="om2p with the release's whole-batch Jacobian, for its cost only (batch <= 256)",
        source="lizr16/OM2P f3cfd05, is_autograd=1",
        deviations="as om2p; quadratic in the batch in time and memory",
        switches={"derivative": "batch_jacobian"},
    ),
    "dom2": Row(
        family="diffusion",
        label="DOM2",
        target="algorithms.dom2:Dom2",
        settings="Dom2Settings",
        version=1,
        summary="diffusion policy per agent, first-order DPM-Solver, conservative twin critic",
        source="DOM2, arXiv 2307.01472; no official code",
        deviations="trunk, schedule, steps, weights are our choice; re-weighting: run.reweight",
        steps_setting="solver_steps",
    ),
    "flow-bc": Row(
        family="flow",
        label="Flow-BC",
        target="algorithms.flow_bc:FlowBc",
        settings="FlowBcSettings",
        version=1,
        summary="cloning by flow matching, Euler steps when acting",
        source="flow matching; the behaviour policy of FQL, arXiv 2502.02538",
        deviations="one network per agent",
        steps_setting="flow_steps",
    ),
    "diffusion-bc": Row(
        family="diffusion",
        label="Diffusion-BC",
        target="algorithms.diffusion_bc:DiffusionBc",
        settings="DiffusionBcSettings",
        version=1,
        summary="cloning by denoising diffusion (DDPM), ancestral steps when acting",
        source="Diffusion-QL, arXiv 2208.06193, without its Q term",
        deviations="one network per agent, scalar time input",
        steps_setting="diffusion_steps",
    ),
    "flow-bc-joint": Row(
        family="flow",
        label="Flow-BC (joint)",
        target="algorithms.flow_bc_joint:FlowBcJoint",
        settings="FlowBcSettings",
        version=1,
        summary="cloning by one flow of the whole team, all observations seen (mac-flow's stage 1)",
        source="MAC-Flow, arXiv 2511.05005, stage 1",
        deviations="loss averaged over agents and action dimensions",
        observes="joint",
        centralised_training=True,
        steps_setting="flow_steps",
    ),
    "diffusion-ql": Row(
        family="diffusion",
        label="Diffusion-QL",
        target="algorithms.diffusion_ql:DiffusionQl",
        settings="DiffusionQlSettings",
        version=1,
        summary="diffusion policy per agent, Q guidance through its whole denoising chain",
        source="Diffusion-QL, arXiv 2208.06193, and its code d871f5c",
        deviations="per agent, scalar time input, one candidate by default, no max-Q backup",
        steps_setting="diffusion_steps",
    ),
    "edp": Row(
        family="diffusion",
        label="EDP",
        target="algorithms.edp:Edp",
        settings="EdpSettings",
        version=1,
        summary="diffusion-ql whose Q term needs one evaluation, sampled by a first-order solver",
        source="EDP, arXiv 2305.20081, and its code sail-sg/edp b019648",
        deviations="as diffusion-ql; first-order solver",
        steps_setting="solver_steps",
    ),
    "fql": Row(
        family="flow",
        label="FQL",
        target="algorithms.fql:Fql",
        settings="FqlSettings",
        version=1,
        summary="one-step policy per agent distilled from a cloning flow and guided by Q",
        source="FQL, arXiv 2502.02538, and its code seohongpark/fql 719d044",
        deviations="per agent; Q normalised, alpha 1",
    ),
    "mac-flow": Row(
        family="flow",
        label="MAC-Flow",
        target="algorithms.mac_flow:MacFlow",
        settings="MacFlowSettings",
        version=1,
        summary="joint flow distilled into one-step agents of shared weights, mixed critic",
        source="MAC-Flow, arXiv 2511.05005 (the official continuous agent is missing)",
        deviations="both stages train together; flat batches; means over action dimensions",
        centralised_training=True,
        switches={"flow": "joint"},
    ),
    "mac-flow-factorised": Row(
        family="flow",
        label="MAC-Flow (factorised)",
        target="algorithms.mac_flow:MacFlow",
        settings="MacFlowSettings",
        version=1,
        summary="mac-flow as its code runs: the flow that teaches sees one agent at a time",
        source="DongsuLeeTech/mac-flow e47e324 and a copy derived from it",
        deviations="as mac-flow",
        centralised_training=True,
        switches={"flow": "factorised"},
    ),
    "meanflow-ql": Row(
        family="mean flow",
        label="MeanFlowQL",
        target="algorithms.meanflow_ql:MeanFlowQl",
        settings="MeanFlowQlSettings",
        version=1,
        summary="residual mean flow per agent, one evaluation, the best of five actions by Q",
        source="MeanFlowQL, arXiv 2511.13035, and its code HiccupRL/MeanFlowQL 3fab100",
        deviations="per agent; MLP instead of a transformer; fixed alpha, Q normalised",
    ),
    "dof": Row(
        family="diffusion",
        label="DoF",
        target="algorithms.dof:Dof",
        settings="DofSettings",
        version=1,
        summary="factorised diffusion with Q guidance by its formulas, ten levels",
        source="DoF (ICLR 2025), policy variant",
        deviations="concatenation only; one Adam, one backward pass",
        switches={"q_gradient": True, "backward": "once"},
        steps_setting="diffusion_steps",
    ),
    "dof-shipped": Row(
        family="diffusion",
        label="DoF (shipped)",
        target="algorithms.dof:Dof",
        settings="DofSettings",
        version=1,
        summary="dof as its code runs: cloning only (no Q gradient), a hundred linear levels",
        source="xmu-rl-3dv/DoF 84ba48a",
        deviations="PyTorch streams differ; one random candidate of 50 is drawn directly",
        switches={
            "diffusion_steps": 100,
            "schedule": "linear",
            "beta_min": 1e-4,
            "beta_max": 2e-2,
            "prediction": "noise",
            "q_gradient": False,
            "backward": "per_agent",
        },
        steps_setting="diffusion_steps",
    ),
    "madiff-d": Row(
        family="planning",
        label="MADiff-D",
        target="algorithms.madiff:Madiff",
        settings="MadiffSettings",
        version=2,
        summary="trajectory diffusion, every agent plans for the team from its own observation",
        source="MADiff, arXiv 2305.17330, and its code zbzhu99/madiff 120bf5c",
        deviations="normaliser, schedule, LayerNorm, inverse model per agent, DDIM: see its file",
        centralised_training=True,
        switches={"execution": "decentralised"},
        steps_setting="solver_steps",
    ),
    "madiff-c": Row(
        family="planning",
        label="MADiff-C",
        target="algorithms.madiff:Madiff",
        settings="MadiffSettings",
        version=2,
        summary="trajectory diffusion that plans from all observations, inverse dynamics act",
        source="MADiff, arXiv 2305.17330, and its code zbzhu99/madiff 120bf5c",
        deviations="as madiff-d",
        observes="joint",
        centralised_training=True,
        switches={"execution": "centralised"},
        steps_setting="solver_steps",
    ),
    "bc": Row(
        family="cloning",
        label="BC",
        target="algorithms.bc:Bc",
        settings="BcSettings",
        version=1,
        summary="deterministic cloning by mean squared error",
        source="behaviour cloning",
        deviations="none",
    ),
    "bc-gaussian": Row(
        family="cloning",
        label="BC (Gaussian)",
        target="algorithms.bc_gaussian:BcGaussian",
        settings="BcGaussianSettings",
        version=2,
        summary="cloning by a Gaussian's likelihood, one mode by construction",
        source="behaviour cloning",
        deviations="mean instead of sum over action dimensions",
    ),
    "td3bc": Row(
        family="actor-critic",
        label="MA-TD3+BC",
        target="algorithms.td3bc:Td3Bc",
        settings="Td3BcSettings",
        version=1,
        summary="deterministic actor that maximises Q and stays near the data",
        source="TD3+BC, arXiv 2106.06860, per agent on OMAR's actor-critic",
        deviations="no target smoothing, no delayed actor",
    ),
    "cql": Row(
        family="actor-critic",
        label="MA-CQL",
        target="algorithms.cql:Cql",
        settings="CqlSettings",
        version=2,
        summary="MA-CQL: deterministic actor on a conservative twin critic",
        source="CQL, arXiv 2006.04779, as in ling-pan/OMAR 0e52ad6",
        deviations="log-density where the code subtracts a density; its weight is a median",
    ),
    "omar": Row(
        family="actor-critic",
        label="OMAR",
        target="algorithms.omar:Omar",
        settings="OmarSettings",
        version=2,
        summary="cql whose actor also follows the best action a zeroth-order search finds",
        source="OMAR, arXiv 2111.11188, and ling-pan/OMAR 0e52ad6",
        deviations="as cql; the share c is a median of the published values",
    ),
    "iql": Row(
        family="actor-critic",
        label="IQL",
        target="algorithms.iql:Iql",
        settings="IqlSettings",
        version=2,
        summary="expectile value, advantage-weighted cloning of a Gaussian",
        source="IQL, arXiv 2110.06169, per agent",
        deviations="advantages divided by their batch deviation instead of scaled rewards",
    ),
    "rebrac": Row(
        family="actor-critic",
        label="ReBRAC",
        target="algorithms.rebrac:Rebrac",
        settings="RebracSettings",
        version=1,
        summary="td3bc whose TD target is held near the data, too; policy at every second update",
        source="ReBRAC, arXiv 2305.09836, and its form in tinkoff-ai/CORL and lizr16/OM2P f3cfd05",
        deviations="per agent; Q weighed instead of cloning; mean over dimensions in the actor",
    ),
}
