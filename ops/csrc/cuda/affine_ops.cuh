// affine_act and its two gradients as functions of one element; the kernels of affine_kernels.cuh run them.
#pragma once

#include "activation.cuh"

namespace hrgan {

// What one element meets. images: tensors of x's shape. planes: one value a channel, or a channel of a
// sample. pixels: one value a pixel. sums: over the pixels of a channel. The operands that are absent are 0,
// but for scale, which is 1.
template <class Op, typename acc>
struct Element {
  acc images[Op::kImages];
  acc planes[Op::kPlanes];
  acc pixel;
  acc outputs[Op::kOutputs];
  acc sums[Op::kSums + 1];  // C++ knows no empty arrays
  acc pixel_sum;
};

// y from x; scale, shift; noise.
struct AffineForward {
  static constexpr int kImages = 1, kPlanes = 2, kOutputs = 1, kSums = 0;
  static constexpr bool kPixels = true, kPixelSum = false;
  static constexpr int kUnroll = 2;
  static constexpr bool kHot = true;  // worth kernels of its own for piecewise activations

  template <bool smooth, typename acc>
  __host__ __device__ static void apply(const Activation<acc>& a, Element<AffineForward, acc>& e) {
    e.outputs[0] = activate<smooth>(a, e.images[0] * e.planes[0] + e.planes[1] + e.pixel);
  }
};

// dx and the sums dscale, dshift and dnoise from dy, ref, x; scale.
struct AffineBackward {
  static constexpr int kImages = 3, kPlanes = 1, kOutputs = 1, kSums = 2;
  static constexpr bool kPixels = false, kPixelSum = true;
  static constexpr int kUnroll = 2;
  static constexpr bool kHot = true;

  template <bool smooth, typename acc>
  __host__ __device__ static void apply(const Activation<acc>& a, Element<AffineBackward, acc>& e) {
    const acc g = e.images[0] * derivatives<smooth>(a, e.images[1]).first;
    e.outputs[0] = g * e.planes[0];
    e.sums[0] = g * e.images[2];
    e.sums[1] = g;
    e.pixel_sum = g;
  }
};

// d_dy, d_ref, d_x and the sum d_scale from dy, ref, x, ddx; scale, ddscale, ddshift; ddnoise.
struct AffineBackwardBackward {
  static constexpr int kImages = 4, kPlanes = 3, kOutputs = 3, kSums = 1;
  static constexpr bool kPixels = true, kPixelSum = false;
  static constexpr int kUnroll = 1;  // four images in flight are enough
  static constexpr bool kHot = false;

  template <bool smooth, typename acc>
  __host__ __device__ static void apply(const Activation<acc>& a, Element<AffineBackwardBackward, acc>& e) {
    const acc dy = e.images[0], x = e.images[2], ddx = e.images[3];
    const Derivatives<acc> c = derivatives<smooth>(a, e.images[1]);
    const acc q = e.planes[0] * ddx + x * e.planes[1] + e.planes[2] + e.pixel;
    e.outputs[0] = c.first * q;
    e.outputs[1] = dy * q * c.second;
    e.outputs[2] = dy * c.first * e.planes[1];
    e.sums[0] = dy * c.first * ddx;
  }
};

}  // namespace hrgan
