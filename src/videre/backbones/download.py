"""Published weight files: fetched once, their hash checked before anything in them is read."""

from __future__ import annotations

import hashlib
import io
import urllib.request

import torch
from torch import Tensor

from videre.errors import WeightsError


def download(url: str) -> bytes:
    """The bytes at `url`; WeightsError when they cannot be had."""
    try:
        with urllib.request.urlopen(url, timeout=60) as response:
            return response.read()
    except OSError as error:
        raise WeightsError(f"{url}: could not be downloaded ({error})") from error


def unpickle(data: bytes, sha256: str, name: str) -> dict[str, Tensor]:
    """The tensors of a pickled file, read with `weights_only`; WeightsError when its hash does not begin with `sha256`."""
    digest = hashlib.sha256(data).hexdigest()
    if not digest.startswith(sha256):
        raise WeightsError(f"{name}: the file's sha256 is {digest[:12]}…, it should begin with {sha256}")
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
