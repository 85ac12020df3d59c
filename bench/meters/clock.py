"""Time accounts: exclusive, nested, in wall-clock and process CPU seconds, over interruptions.

While an inner account runs the outer one stands still, so the accounts add up to the total:

    with clock("train"):
        ...
        with clock("evaluate"):  # does not count as training
            ...
"""

import contextlib
import time
from collections.abc import Callable, Iterator

ACCOUNTS = (
    "setup", "data", "compile", "warm_up", "train", "evaluate", "latency", "write",
)  # fmt: skip


def wall_seconds() -> float:
    """Return seconds of wall-clock time, from any beginning; tests put their own clock here."""
    return time.perf_counter()


def cpu_seconds() -> float:
    """Return seconds that all threads of this process spent on a processor."""
    return time.process_time()


class Clock:
    """Accounts of wall-clock and CPU seconds; a device is synchronised at their borders only."""

    def __init__(
        self,
        wall: Callable[[], float] | None = None,
        cpu: Callable[[], float] | None = None,
        synchronise: Callable[[], None] | None = None,
    ) -> None:
        """Start with empty accounts; `synchronise` waits for the device's queued work."""
        self._wall, self._cpu = wall or wall_seconds, cpu or cpu_seconds
        self._synchronise = synchronise
        self._spent = {name: [0.0, 0.0] for name in ACCOUNTS}
        self._open: list[str] = []
        self._since = (0.0, 0.0)

    @contextlib.contextmanager
    def __call__(self, account: str) -> Iterator[None]:
        """Charge the time of the block to `account`, and not to the account around it."""
        if account not in self._spent:
            raise ValueError(f"unknown account {account!r}, one of {ACCOUNTS}")
        self._charge()
        self._open.append(account)
        try:
            yield
        finally:
            self._charge()
            self._open.pop()

    def add(self, account: str, wall: float, cpu: float) -> None:
        """Charge time that passed before the clock existed, such as imports."""
        self._spent[account][0] += wall
        self._spent[account][1] += cpu

    def seconds(self, account: str) -> tuple[float, float]:
        """Return an account's (wall, CPU) seconds up to now; call it outside of accounts."""
        wall, cpu = self._spent[account]
        return wall, cpu

    def table(self) -> dict[str, dict[str, float]]:
        """Return every account and their total as {"wall": seconds, "cpu": seconds}."""
        rows = {name: {"wall": wall, "cpu": cpu} for name, (wall, cpu) in self._spent.items()}
        total = {key: sum(row[key] for row in rows.values()) for key in ("wall", "cpu")}
        return {**rows, "total": total}

    def state_dict(self) -> dict[str, list[float]]:
        """Return the accounts as plain numbers."""
        return {name: list(spent) for name, spent in self._spent.items()}

    def resume(self, state: dict[str, list[float]]) -> None:
        """Add the accounts of the run that this one continues."""
        for name, (wall, cpu) in state.items():
            self.add(name, wall, cpu)

    def _charge(self) -> None:
        """Book the time since the last border on the account that is open, if any."""
        if self._synchronise is not None:
            self._synchronise()
        now = (self._wall(), self._cpu())
        if self._open:
            self.add(self._open[-1], now[0] - self._since[0], now[1] - self._since[1])
        self._since = now
