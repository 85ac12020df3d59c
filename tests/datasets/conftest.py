"""A small recorded dataset shared by the tests of the data."""

import shutil
from pathlib import Path

import pytest
import torch

import datasets
from datasets.formats import exporting
from datasets.recorded.store import Dataset

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


@pytest.fixture(scope="module")
def exported(expert: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exporting.export(expert, tmp_path_factory.mktemp("published") / "seed_0_data")


@pytest.fixture
def files(exported: Path, tmp_path: Path) -> Path:
    """A private copy of a dataset in OMAR's layout, 200 episodes of mpe/spread."""
    return Path(shutil.copytree(exported, tmp_path / "seed_0_data"))
