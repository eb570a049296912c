from collections.abc import Iterator

import pytest

from videre.models import MODELS

from .tiny import register


@pytest.fixture(scope="package", autouse=True)
def _toy_is_a_model() -> Iterator[None]:
    register()
    yield
    del MODELS["toy"]
