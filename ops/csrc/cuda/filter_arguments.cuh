// What the filter kernels are told, and what may follow the filter in the same pass.
#pragma once

#include "activation.cuh"

namespace hrgan {

// Along one axis, out[o] = sum over j of tap(j) * stuffed[o * down + j - before].
struct FilterAxis {
  int in, out;  // pixels
  int up, down, before, n_taps;
};

template <typename T>
struct FilterArguments {
  using acc = compute_t<T>;
  const T* x;
  const acc* f;  // [n_taps] along both axes if separable, else [y.n_taps, x.n_taps]
  T* out;
  int64_t samples, channels;
  FilterAxis y, x_axis;
  bool separable, flip, channels_last;
  acc gain;
};

// A tap as correlation meets it.
__host__ __device__ inline int tap_index(int j, int n_taps, bool flip) { return flip ? j : n_taps - 1 - j; }

// Nothing follows.
template <typename T>
struct NoEpilogue {
  using acc = compute_t<T>;
  static constexpr bool kPixels = false;
  struct Channel {};
  __device__ Channel channel(int64_t, int64_t) const { return {}; }
  __device__ acc pixel(int64_t, int64_t) const { return 0; }
  template <int count>
  __device__ void pixels(int64_t, int64_t, bool, int, acc (&)[count]) const {}
  __device__ acc apply(Channel, acc, acc value) const { return value; }
  bool aligned() const { return true; }
  void skip_samples(int64_t) {}
};

// affine_act follows.
template <typename T, bool smooth>
struct AffineEpilogue {
  using acc = compute_t<T>;
  static constexpr bool kPixels = true;  // asks for them
  const acc *scale, *shift, *noise;  // as in affine_act; null: absent
  int64_t scale_stride, shift_stride, noise_stride;  // of samples; 0 if they share
  Activation<acc> activation;

  struct Channel {
    acc scale, shift;
  };
  __device__ Channel channel(int64_t n, int64_t c) const {
    return {scale ? scale[n * scale_stride + c] : acc(1), shift ? shift[n * shift_stride + c] : acc(0)};
  }
  __device__ acc pixel(int64_t n, int64_t p) const { return noise ? noise[n * noise_stride + p] : acc(0); }
  // `count` pixels from p on: all at once if `whole`, else the first `left` of them.
  template <int count>
  __device__ void pixels(int64_t n, int64_t p, bool whole, int left, acc (&to)[count]) const {
#pragma unroll
    for (int i = 0; i < count; ++i) to[i] = 0;
    if (!noise) return;
    const acc* from = noise + n * noise_stride + p;
    if (whole) {
      load<count>(to, from);
    } else {
#pragma unroll
      for (int i = 0; i < count; ++i) {
        if (i < left) to[i] = from[i];
      }
    }
  }
  // Whether each sample's noise starts on 16 bytes.
  bool aligned() const { return reinterpret_cast<uintptr_t>(noise) % 16 == 0 && noise_stride % 4 == 0; }
  __device__ acc apply(Channel c, acc pixel, acc value) const {
    return activate<smooth>(activation, value * c.scale + c.shift + pixel);
  }
  void skip_samples(int64_t samples) {
    scale = scale ? scale + samples * scale_stride : nullptr;
    shift = shift ? shift + samples * shift_stride : nullptr;
    noise = noise ? noise + samples * noise_stride : nullptr;
  }
};

}  // namespace hrgan
