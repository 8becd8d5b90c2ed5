"""What the training tests share: one tiny model and its samples."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_models import random_samples, sampled_by, write_model

from training.samples import Sample


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def samples(model_dir: Path) -> list[Sample]:
    return sampled_by(model_dir, random_samples(36))


@pytest.fixture
def make_model(tmp_path: Path) -> Callable[..., Path]:
    return lambda **settings: write_model(tmp_path / "model", **settings)
