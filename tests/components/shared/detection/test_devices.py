"""A device is the one asked for, or refused in our words."""

import pytest

from components.shared.detection.devices import resolve_device
from components.shared.errors import ConfigError


def test_auto_is_a_gpu_where_there_is_one() -> None:
    import torch  # noqa: PLC0415 - heavy

    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert {resolve_device(word).type for word in ("", "auto")} == {expected}
    assert resolve_device("cpu").type == "cpu"


@pytest.mark.parametrize(("device", "words"), [("77", "is not here"), ("cuda:77", "is not here"), ("tpu?", "There is")])
def test_a_device_that_is_not_here_is_refused(device: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        resolve_device(device)
