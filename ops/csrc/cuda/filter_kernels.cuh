// upfirdn2d for any filter, and what the kernels for separable filters of few taps have in common.
#pragma once

#include "filter_arguments.cuh"

namespace hrgan {

constexpr int kFilterThreads = 256;  // of any_filter_kernel
constexpr int kStripThreads = 128;   // of the others, whose threads hold many outputs

// Any filter, factors and layout: a thread an output, in the order of memory. Index counts all outputs.
template <typename Index, typename T, class Epilogue>
__global__ void __launch_bounds__(kFilterThreads)
    any_filter_kernel(const FilterArguments<T> a, const Epilogue epilogue) {
  using acc = compute_t<T>;
  const Index height = a.y.out, width = a.x_axis.out, channels = a.channels;
  const Index total = Index(a.samples) * channels * height * width;
  const Index stride = gridDim.x * blockDim.x;
  for (Index at = blockIdx.x * blockDim.x + threadIdx.x; at < total; at += stride) {
    Index rest = at;
    const Index c_fast = a.channels_last ? rest % channels : 0;
    rest = a.channels_last ? rest / channels : rest;
    const int ox = rest % width;
    rest /= width;
    const int oy = rest % height;
    rest /= height;
    const Index c = a.channels_last ? c_fast : rest % channels;
    const int64_t n = a.channels_last ? rest : rest / channels;
    const int64_t step = a.channels_last ? channels : 1;
    const T* image = a.x + n * channels * a.y.in * a.x_axis.in +
                     (a.channels_last ? int64_t(c) : int64_t(c) * a.y.in * a.x_axis.in);
    // Only taps that meet a pixel: the first one at or after the border, then every up-th.
    const int base_y = oy * a.y.down - a.y.before, base_x = ox * a.x_axis.down - a.x_axis.before;
    const int before_y = max(base_y, 0) % a.y.up, before_x = max(base_x, 0) % a.x_axis.up;
    const int first_y = max(-base_y, 0) + (before_y ? a.y.up - before_y : 0);
    const int first_x = max(-base_x, 0) + (before_x ? a.x_axis.up - before_x : 0);
    acc sum = 0;
    for (int j = first_y, iy = (base_y + first_y) / a.y.up; j < a.y.n_taps && iy < a.y.in; j += a.y.up, ++iy) {
      const T* line = image + int64_t(iy) * a.x_axis.in * step;
      const int row = tap_index(j, a.y.n_taps, a.flip);
      const acc* taps = a.separable ? a.f : a.f + row * a.x_axis.n_taps;
      acc line_sum = 0;
      for (int k = first_x, ix = (base_x + first_x) / a.x_axis.up; k < a.x_axis.n_taps && ix < a.x_axis.in;
           k += a.x_axis.up, ++ix) {
        line_sum += taps[tap_index(k, a.x_axis.n_taps, a.flip)] * widen(line[ix * step]);
      }
      sum += a.separable ? a.f[row] * line_sum : line_sum;
    }
    const acc value = epilogue.apply(epilogue.channel(n, c), epilogue.pixel(n, int64_t(oy) * width + ox), sum * a.gain);
    a.out[at] = narrow<T>(value);
  }
}

// The taps of one axis in registers. Zeros before them make the first output of a strip meet a pixel and not
// a stuffed zero; zeros after them fill the template's count.
template <int n, typename T>
__device__ inline void load_taps(const FilterArguments<T>& a, const FilterAxis& axis, compute_t<T> gain,
                                 compute_t<T> (&taps)[n]) {
  const int lead = axis.before % axis.up == 0 ? 0 : 1;
#pragma unroll
  for (int j = 0; j < n; ++j) {
    const int tap = j - lead;
    taps[j] = tap >= 0 && tap < axis.n_taps ? gain * a.f[tap_index(tap, axis.n_taps, a.flip)] : compute_t<T>(0);
  }
}

// The input that output `o` of an axis, a multiple of up, starts at. Exact after load_taps' leading zero.
__device__ inline int first_input(const FilterAxis& axis, int o) {
  const int lead = axis.before % axis.up == 0 ? 0 : 1;
  return (o * axis.down - axis.before - lead) / axis.up;
}

}  // namespace hrgan
