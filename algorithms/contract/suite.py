"""All checks of the contract, run one after another on an algorithm of the table.

    check("my-algorithm")      -> one Outcome per check
    python -m bench check my-algorithm --plugin my_algorithm.py

A check is a function of a `Subject`; it raises `Broken` with one sentence, or `Skip` where the
algorithm's kind makes it meaningless. All run on narrow networks and synthetic data, in a few
seconds.
"""

import traceback
from collections.abc import Callable
from dataclasses import dataclass

import torch

import algorithms
from algorithms.contract.checks import GENERAL
from algorithms.contract.mathematics import MATHEMATICS
from algorithms.contract.subject import Broken, Check, Skip, Subject

CHECKS: tuple[Check, ...] = (*GENERAL, *MATHEMATICS)  # in the order in which they are reported


@dataclass(frozen=True)
class Outcome:
    """What became of one check: "ok", "skipped" or "broken", and why."""

    check: str
    status: str
    text: str = ""


def check(name: str, on_outcome: Callable[[Outcome], None] = lambda outcome: None) -> list[Outcome]:
    """Hold the algorithm ``name`` to the whole contract, on one thread.

    An exception of the algorithm itself counts as a broken check, with the exception's text.
    Raises AlgorithmError for an unknown name.
    """
    subject = Subject(name)
    algorithms.row(name)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        outcomes = []
        for one in CHECKS:
            outcomes.append(_outcome(one, subject))
            on_outcome(outcomes[-1])
    finally:
        torch.set_num_threads(threads)
    return outcomes


def _outcome(one: Check, subject: Subject) -> Outcome:
    """Run one check and say what became of it."""
    title = one.__name__.replace("_", " ")
    try:
        one(subject)
    except Skip as reason:
        return Outcome(title, "skipped", str(reason))
    except Broken as complaint:
        return Outcome(title, "broken", str(complaint))
    except Exception as error:  # an algorithm may fail in any way; the check reports it
        text = " ".join(str(error).split())
        return Outcome(title, "broken", f"{type(error).__name__}: {text}{_place(error)}")
    return Outcome(title, "ok")


def _place(error: BaseException) -> str:
    """Return file and line of an exception: in the algorithm's own file, if it went through it."""
    frames = traceback.extract_tb(error.__traceback__)
    harness = tuple(str(one.__file__).removesuffix("__init__.py") for one in (algorithms, torch))
    own = [frame for frame in frames if not frame.filename.startswith(harness)]
    deepest = (own or frames[-1:])[-1:]
    return "".join(f" ({frame.filename}, line {frame.lineno})" for frame in deepest)
