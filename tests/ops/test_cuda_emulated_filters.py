"""upfirdn2d and blur_act as the GPU computes them, on emulated threads, against the plain form."""

from __future__ import annotations

import pytest
import torch

from ops import reference
from tests.ops.cuda_emulation import library as emulated
from tests.ops.cuda_emulation.tensors import BF16, DOUBLE, FLOAT, Tensors, close

FILTERS = {
    "4": [1.0, 3.0, 2.0, 0.5],
    "3": [1.0, 2.0, -4.0],
    "1": [2.0],
    "6": [1.0, -2.0, 3.0, 0.5, 1.5, 2.5],
    "8": [1.0, -2.0, 3.0, 0.5, 1.5, 2.5, -1.0, 0.3],
    "12": [0.1, -0.2, 0.3, 0.5, 1.5, 2.5, -1.0, 0.3, 0.4, -0.7, 0.2, 0.9],
    "13": [0.5, 0.1, -0.2, 0.3, 0.5, 1.5, 2.5, -1.0, 0.3, 0.4, -0.7, 0.2, 0.9],
    "2x3": [[1.0, 2.0, 0.5], [0.3, -1.0, 4.0]],
}
MODES = {"same": (1, 1), "up": (2, 1), "down": (1, 2)}
PADS = [(0, 0, 0, 0), (2, 1, 1, 2), (1, 2, 2, 0), (-3, 4, 0, -1), (13, 15, 14, 12)]


def filtered(x_of, name, up, down, pads, *, flip=False, gain=1.7, blur=None, backwards=False):
    """The kernel's result, whether it was a fast one, and the plain result in double."""
    x = x_of.images[-1]
    taps = torch.tensor(FILTERS[name] if isinstance(name, str) else name)
    f = x_of.operand(*taps.shape).copy_(taps)
    want = reference.upfirdn2d(
        x.double(), f.double(), up=up, down=down, padding=pads, flip_filter=flip, gain=gain
    )
    if blur is not None:
        named = {
            key: value.double() if isinstance(value, torch.Tensor) else value for key, value in blur.items()
        }
        want = reference.affine_act(want, **named)
    y = x_of.empty(want.shape)
    fast = emulated.filtered(
        x,
        f,
        y,
        up=(up, up),
        down=(down, down),
        pads=pads,
        flip=flip,
        gain=gain,
        blur=blur,
        backwards=backwards,
    )
    x_of.check_margins()
    return y, fast, want


def images(shape, dtype=FLOAT, last=False, offset=0):
    made = Tensors(dtype, last, offset)
    made.images = [made.normal(*shape)]
    return made


def fast_taps(name, up, pads):
    """Taps that a fast kernel would run: zeros are put before those that meet stuffed zeros first."""
    odd = up == 2 and (pads[0] % 2 or pads[2] % 2)
    return int(name) + int(odd) if name.isdigit() else 99


@pytest.mark.parametrize("pads", PADS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("shape", [(2, 9, 14, 13), (1, 2, 41, 75)], ids=["small", "large"])
def test_planes(shape, name, mode, pads):
    up, down = MODES[mode]
    for flip in (False, True):
        y, fast, want = filtered(images(shape), name, up, down, pads, flip=flip)
        assert fast == (fast_taps(name, up, pads) <= 16)
        close(y, want, FLOAT, 40)


@pytest.mark.parametrize("pads", PADS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("channels", [4, 12, 32, 40])
def test_channels(channels, name, mode, pads):
    up, down = MODES[mode]
    y, fast, want = filtered(images((2, channels, 14, 15), last=True), name, up, down, pads)
    assert fast == (fast_taps(name, up, pads) <= 8)
    close(y, want, FLOAT, 40)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("n_taps", range(1, 18))
def test_every_number_of_taps(n_taps, mode, last):
    up, down = MODES[mode]
    taps = torch.linspace(-1.0, 2.0, n_taps).tolist()
    for pads in ((n_taps, n_taps - 1, n_taps - 1, n_taps), (n_taps // 2, n_taps, n_taps // 2 + 1, n_taps)):
        y, fast, want = filtered(images((1, 8, 19, 9), last=last), taps, up, down, pads)
        leads = up == 2 and (pads[0] % 2 or pads[2] % 2)
        assert fast == (n_taps + int(leads) <= (8 if last else 16))
        close(y, want, FLOAT, 40)


@pytest.mark.parametrize("dtype", [FLOAT, BF16])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["4", "8"])
@pytest.mark.parametrize("height", [31, 33, 66, 97])
def test_strips_of_every_length(height, name, mode, dtype):
    """Many columns make strips long; they end within a period of the window, at its end or below an image."""
    for pads in ((2, 1, 1, 2), (1, 2, -2, 3), (0, 3, 9, -5)):
        for images_at_once, width in ((1, 9), (2, 40), (6, 40)):
            tensors = images((images_at_once, 8, height, width), dtype, last=True)
            y, fast, want = filtered(tensors, name, *MODES[mode], pads)
            assert fast == (fast_taps(name, MODES[mode][0], pads) <= 8)
            close(y, want, dtype, 40)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("width", [15, 16, 66, 67])
def test_halves_of_odd_and_even_width(width, mode, last):
    for pads in PADS[:3]:
        for name in ("4", "8"):
            tensors = images((2, 8, 9, width), BF16, last)
            y, fast, want = filtered(tensors, name, *MODES[mode], pads)
            assert fast == (fast_taps(name, MODES[mode][0], pads) <= (8 if last else 16))
            close(y, want, BF16)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize(("up", "down"), [(1, 1), (2, 2), (3, 1), (1, 3), (3, 2), (2, 3)])
@pytest.mark.parametrize("pads", PADS)
def test_any_factors_in_double(up, down, pads, last):
    for name in ("4", "2x3"):
        y, fast, want = filtered(images((2, 3, 9, 8), DOUBLE, last), name, up, down, pads, flip=True)
        assert not fast
        close(y, want, DOUBLE, 40)


def test_factors_of_each_axis():
    tensors = Tensors(FLOAT)
    x, f = tensors.normal(1, 2, 6, 7), tensors.operand(2, 3)
    stuffed = torch.zeros(1, 2, 12, 7, dtype=DOUBLE)
    stuffed[:, :, ::2] = x.double()
    want = reference.upfirdn2d(stuffed, f.double(), padding=(1, 1, 1, 0))[:, :, :, ::3]
    y = tensors.empty(want.shape)
    assert not emulated.filtered(x, f, y, up=(2, 1), down=(1, 3), pads=(1, 1, 1, 0))
    close(y, want, FLOAT)
    tensors.check_margins()


@pytest.mark.parametrize("last", [False, True])
def test_images_out_of_line(last):
    for dtype in (FLOAT, BF16):
        for mode in MODES.values():
            y, fast, want = filtered(images((2, 8, 9, 12), dtype, last, offset=1), "4", *mode, (2, 1, 2, 1))
            assert fast == (dtype == FLOAT and not last)
            close(y, want, dtype, 16)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("shape", "last"), [((17, 3, 9, 9), False), ((1, 2, 50, 90), False), ((2, 8, 9, 9), True)]
)
def test_no_result_depends_on_the_order_of_threads(mode, shape, last):
    runs = [
        filtered(images(shape, last=last), "4", *MODES[mode], (2, 1, 2, 1), backwards=backwards)[0]
        for backwards in (False, True)
    ]
    assert torch.equal(*runs)


@pytest.mark.parametrize("act", ["linear", "lrelu", "relu", "tanh", "swish"])
@pytest.mark.parametrize(
    ("shape", "last"), [((2, 9, 11, 11), False), ((1, 2, 41, 67), False), ((2, 12, 7, 9), True)]
)
def test_blur_act(act, shape, last):
    for dtype in (FLOAT, DOUBLE):
        for pads in ((1, 1, 1, 1), (2, 0, 1, -1)):
            tensors = images(shape, dtype, last)
            n, c, h, w = shape
            h, w = h + pads[2] + pads[3] - 3, w + pads[0] + pads[1] - 3
            blur = {
                "scale": tensors.operand(n, c),
                "shift": tensors.operand(c),
                "noise": tensors.operand(n, 1, h, w),
                "act": act,
                "alpha": 0.2,
                "gain": 1.4,
                "clamp": 5.0,
            }
            y, fast, want = filtered(tensors, "4", 1, 1, pads, gain=4.0, blur=blur)
            assert fast == (dtype == FLOAT and act not in ("tanh", "swish"))
            close(y, want, dtype, 100)


def test_blur_act_with_few_operands():
    for last in (False, True):
        for given in ({}, {"shift": (2, 8)}, {"noise": (1, 1, 7, 7)}, {"scale": (8,)}):
            tensors = images((2, 8, 8, 8), last=last)
            blur = {name: tensors.operand(*shape) for name, shape in given.items()}
            y, _, want = filtered(
                tensors, "4", 1, 1, (1, 1, 1, 1), blur={**blur, "act": "lrelu", "alpha": 0.2, "gain": 1.0}
            )
            close(y, want, FLOAT, 16)


def test_more_samples_than_a_grid_takes():
    for last in (False, True):
        tensors = images((1030, 4, 2, 2), last=last)
        blur = {"scale": tensors.operand(1030, 4), "act": "linear", "gain": 1.0}
        y, fast, want = filtered(tensors, "4", 1, 1, (1, 2, 2, 1), blur=blur)
        assert fast
        close(y, want, FLOAT, 16)
