"""Tensors are, pixel for pixel, what ultralytics would feed its model."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from components.shared.detection.contract import InputContract
from components.shared.detection.environment import prepare_environment
from components.shared.detection.preprocess import place, prepare
from components.shared.detection.torchvision_runtime import fit_longest

sizes = st.integers(1, 300)


def noise(width: int, height: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@given(width=sizes, height=sizes, strides=st.integers(1, 8), square=st.booleans(), stretch=st.booleans())
@settings(max_examples=150, deadline=None)
def test_letterbox_and_stretch_give_the_pixels_of_ultralytics(
    width: int, height: int, strides: int, square: bool, stretch: bool
) -> None:
    prepare_environment()
    from ultralytics.data.augment import LetterBox  # noqa: PLC0415 - after the environment is prepared

    edge = 32 * strides
    contract = InputContract(imgsz=edge, fit="stretch" if stretch else "letterbox", square=square)
    image = noise(width, height)
    theirs = LetterBox((edge, edge), auto=not square and not stretch, scale_fill=stretch, stride=32)(image=image)
    np.testing.assert_array_equal(place(image, contract)[0], theirs)


@given(width=sizes, height=sizes, square=st.booleans())
@settings(max_examples=100, deadline=None)
def test_boxes_come_back_where_ultralytics_puts_them_if_it_guesses_right(width: int, height: int, square: bool) -> None:
    prepare_environment()
    from ultralytics.utils.ops import scale_boxes  # noqa: PLC0415 - after the environment is prepared

    canvas, placement = place(noise(width, height), InputContract(imgsz=160, square=square))
    gain = min(canvas.shape[0] / height, canvas.shape[1] / width)  # it does not remember what the image was scaled by
    assume(max(round(width * gain), 1) == round(placement.scale_x * width))
    assume(max(round(height * gain), 1) == round(placement.scale_y * height))
    corners = np.random.default_rng(1).uniform(-20, 180, (20, 4))
    theirs = scale_boxes(canvas.shape[:2], corners.copy(), (height, width))
    np.testing.assert_allclose(placement.to_image(corners), theirs, atol=1e-9)


@given(width=sizes, height=sizes)
@settings(max_examples=50, deadline=None)
def test_the_longest_edge_is_fitted_as_the_torchvision_runtime_does(width: int, height: int) -> None:
    image = noise(width, height)
    np.testing.assert_array_equal(place(image, InputContract(imgsz=100, fit="longest"))[0], fit_longest(image, 100))


def test_a_tensor_has_the_exact_values_torch_would_compute() -> None:
    import torch  # noqa: PLC0415 - heavy

    image = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    tensor, _ = prepare(image, InputContract(imgsz=16, fit="none"))
    theirs = torch.from_numpy(image).permute(2, 0, 1)[None].float().div_(255)
    np.testing.assert_array_equal(tensor, theirs.numpy())


def test_a_size_that_is_no_whole_number_of_strides_is_refused() -> None:
    with pytest.raises(ValidationError, match="imgsz 100 is no multiple of the stride 32"):
        InputContract(imgsz=100)
