"""What several pictures must have in common to become one, for the transforms that join them."""

from __future__ import annotations

from collections.abc import Container

import numpy as np

from videre.errors import DataError
from videre.structures import Scene
from videre.structures.scene import field_of


def check_joined(kind: str, joined: Container[str], first: np.ndarray, picture: np.ndarray, scene: Scene) -> None:
    """Raise DataError where a scene says what cannot be joined, or its picture is not like the first one.

    Args:
        kind: of what they become, "mosaic". joined: fields that can be, beside those of things.
    """
    odd = sorted(field for field in scene.present() if field not in joined and field_of(field).rows != "instances")
    if odd:
        raise DataError(f"{scene.name}: {', '.join(odd)} cannot be joined in a {kind}; train without it")
    if picture.shape[2] != first.shape[2] or picture.dtype != first.dtype:
        raise DataError(
            f"{scene.name}: a {picture.dtype} picture of {picture.shape[2]} channels beside a {first.dtype} one of "
            f"{first.shape[2]}; a {kind} needs equal ones"
        )
