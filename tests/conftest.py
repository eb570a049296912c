"""What all tests share."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Plans timed while tests run are not for the user's own predictions."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VIDERE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
