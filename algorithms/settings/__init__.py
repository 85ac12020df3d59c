"""The hyper-parameters of every algorithm, grouped by family.

Plain dataclasses without torch, so that planning and ``--help`` stay fast; may import the standard
library only. Start with `common`. A field's ``help`` is what users read, its ``range`` what they
may choose; defaults are the official sizes and step counts where a source states them. Presets
override them, the same way for every dataset.
"""

from algorithms.settings.cloning import BcGaussianSettings, BcSettings
from algorithms.settings.common import (
    Activation,
    CriticSettings,
    Range,
    Settings,
    ValueSettings,
    as_in,
    require,
    setting,
)
from algorithms.settings.conservative import (
    CfcqlSettings,
    CqlSettings,
    IcqSettings,
    IqlSettings,
    OmarSettings,
    OmigaSettings,
    RebracSettings,
    Td3BcSettings,
)
from algorithms.settings.diffusion import (
    AveragedPolicySettings,
    ConsistencyQlSettings,
    DiffusionBcSettings,
    DiffusionQlSettings,
    DofSettings,
    Dom2Settings,
    EdpSettings,
    Prediction,
)
from algorithms.settings.flow import (
    FlowBcSettings,
    FqlSettings,
    IfqlSettings,
    MacFlowSettings,
    MeanFlowQlSettings,
    Om2pSettings,
    ShortcutQlSettings,
)
from algorithms.settings.search import Choice, Dimension, LinearRange, LogRange
from algorithms.settings.trajectory import CoflowSettings, MadiffSettings, PlannerSettings

__all__ = [
    "Activation",
    "AveragedPolicySettings",
    "BcGaussianSettings",
    "BcSettings",
    "CfcqlSettings",
    "Choice",
    "CoflowSettings",
    "ConsistencyQlSettings",
    "CqlSettings",
    "CriticSettings",
    "DiffusionBcSettings",
    "DiffusionQlSettings",
    "Dimension",
    "DofSettings",
    "Dom2Settings",
    "EdpSettings",
    "FlowBcSettings",
    "FqlSettings",
    "IcqSettings",
    "IfqlSettings",
    "IqlSettings",
    "LinearRange",
    "LogRange",
    "MacFlowSettings",
    "MadiffSettings",
    "MeanFlowQlSettings",
    "Om2pSettings",
    "OmarSettings",
    "OmigaSettings",
    "PlannerSettings",
    "Prediction",
    "Range",
    "RebracSettings",
    "Settings",
    "ShortcutQlSettings",
    "Td3BcSettings",
    "ValueSettings",
    "as_in",
    "require",
    "setting",
]
