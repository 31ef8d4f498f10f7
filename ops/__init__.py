"""The operations that dominate the cost of these networks. They depend on torch alone.

`use` chooses between compiled and plain implementations; callers need not.
"""

from ops._library import Backend, NativeOpsMissing, OpState, backend, loaded, prepare, state, use
from ops.activation import affine_act, bias_act
from ops.alias_free import filtered_lrelu
from ops.filtering import blur_act, upfirdn2d
from ops.layout import arranged
from ops.memory import keep_memory, memory_state
from ops.modulation import modulated_conv2d
from ops.normalisation import batch_moments, conditional_norm_act, minibatch_stddev, pixel_norm
from ops.reference import Activation, setup_filter
from ops.resample import conv2d_act, conv2d_resample, downsample2d, filter2d, upsample2d
from ops.spectral import spectral_norm, spectral_weight
from ops.warping import warp_grid

__all__ = [
    "Activation",
    "Backend",
    "NativeOpsMissing",
    "OpState",
    "affine_act",
    "arranged",
    "backend",
    "batch_moments",
    "bias_act",
    "blur_act",
    "conditional_norm_act",
    "conv2d_act",
    "conv2d_resample",
    "downsample2d",
    "filter2d",
    "filtered_lrelu",
    "keep_memory",
    "loaded",
    "memory_state",
    "minibatch_stddev",
    "modulated_conv2d",
    "pixel_norm",
    "prepare",
    "setup_filter",
    "spectral_norm",
    "spectral_weight",
    "state",
    "upfirdn2d",
    "upsample2d",
    "use",
    "warp_grid",
]
