"""A small recorded dataset shared by the tests of the data."""

from pathlib import Path

import pytest
import torch

import datasets
from datasets.store import Dataset

SIZE = 5_000  # transitions: 200 episodes


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="session")
def expert(data_dir: Path) -> Dataset:
    return datasets.load("mpe/spread/expert", size=SIZE, data_dir=data_dir)
