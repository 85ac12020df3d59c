"""The clock: accounts are exclusive, nested, and add up, whatever happens inside them."""

import pytest

from bench.meters.clock import ACCOUNTS, Clock


class Ticker:
    """A clock that moves only when a test moves it."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def ticker() -> Ticker:
    return Ticker()


@pytest.fixture
def clock(ticker: Ticker) -> Clock:
    return Clock(wall=ticker, cpu=lambda: ticker.now / 2)


def test_an_inner_account_stops_the_outer_one(clock: Clock, ticker: Ticker) -> None:
    ticker.now += 50  # before any account: charged to none
    with clock("train"):
        ticker.now += 3
        with clock("evaluate"):
            ticker.now += 10
            with clock("write"):
                ticker.now += 1
        ticker.now += 4
    ticker.now += 70
    table = clock.table()
    assert table["train"] == {"wall": 7, "cpu": 3.5}
    assert table["evaluate"]["wall"] == 10
    assert table["write"]["wall"] == 1
    assert table["total"] == {"wall": 18, "cpu": 9}
    assert table["setup"]["wall"] == 0


def test_a_block_that_raises_is_still_charged_and_closed(clock: Clock, ticker: Ticker) -> None:
    def work() -> None:
        with clock("train"):
            ticker.now += 2
            raise RuntimeError

    with pytest.raises(RuntimeError):
        work()
    ticker.now += 5
    with clock("data"):
        ticker.now += 1
    assert clock.seconds("train") == (2, 1)
    assert clock.seconds("data")[0] == 1


def test_a_resumed_clock_goes_on_where_the_first_one_stopped(clock: Clock, ticker: Ticker) -> None:
    with clock("train"):
        ticker.now += 8
    second = Clock(wall=ticker, cpu=ticker)
    second.resume(clock.state_dict())
    with second("train"):
        ticker.now += 2
    assert second.seconds("train") == (10, 6)


def test_the_device_is_waited_for_at_borders_and_only_there(ticker: Ticker) -> None:
    waits = []
    clock = Clock(wall=ticker, cpu=ticker, synchronise=lambda: waits.append(ticker.now))
    with clock("train"):
        ticker.now += 5
        for _ in range(100):
            ticker.now += 0.0
    assert waits == [100, 105]


def test_work_the_device_still_does_is_charged_to_the_account_that_queued_it() -> None:
    ticker = Ticker()

    def wait() -> None:
        ticker.now += 1

    clock = Clock(wall=ticker, cpu=ticker, synchronise=wait)
    with clock("train"):
        pass
    assert clock.seconds("train")[0] == 1


def test_an_unknown_account_is_refused(clock: Clock) -> None:
    with pytest.raises(ValueError, match="unknown account"), clock("coffee"):
        pass
    assert set(clock.state_dict()) == set(ACCOUNTS)
