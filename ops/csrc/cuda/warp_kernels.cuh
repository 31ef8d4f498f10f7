// Where each place of a warped image comes from: a thread a place.
#pragma once

#ifndef HRGAN_EMULATED
#include <math.h>
#endif

#include "affine_launch.cuh"

namespace hrgan {

template <typename acc>
struct WarpArguments {
  const acc *linear, *offset;  // [N, 2, 2], [N, 2]
  acc* grid;                   // [N, places, places, 2]
  int places;
  acc centre, half, seen;  // half, seen: pixels from the middle to the last pixel, to the end of the margin
  acc share, shift;        // from pixels to shares of the upsampled image

  __device__ acc centred(int place) const { return (acc(place) - centre) / 2 - half; }

  // A triangle wave of period 4 half, for what lies outside the margins.
  __device__ acc folded(acc x) const {
    if (fabs(x) <= seen) return x;
    const acc period = 4 * half;
    acc rest = fmod(x + half, period);
    if (rest < 0) rest += period;
    return half - fabs(rest - 2 * half);
  }
};

// Grid (places in x, places in y, N).
template <typename acc>
__global__ void __launch_bounds__(kThreads) warp_grid_kernel(const WarpArguments<acc> a) {
  const int x = blockIdx.x * kThreads + threadIdx.x, y = blockIdx.y;
  if (x >= a.places) return;
  const int64_t n = blockIdx.z;
  const acc across = a.centred(x), down = a.centred(y);
  acc source[2];
#pragma unroll
  for (int k = 0; k < 2; ++k) {
    const acc pixel = a.linear[4 * n + 2 * k] * across + (a.linear[4 * n + 2 * k + 1] * down + a.offset[2 * n + k]);
    source[k] = a.folded(pixel) * a.share + a.shift;
  }
  store<2>(a.grid + ((n * a.places + y) * a.places + x) * 2, source);
}

template <typename acc, class Launch>
void run_warp_grid(WarpArguments<acc> a, int64_t samples, Launch launch) {
  for (int64_t done = 0; done < samples; done += kGridLimit) {
    const dim3 grid(ceil_div(a.places, kThreads), a.places, std::min(samples - done, kGridLimit));
    launch(warp_grid_kernel<acc>, grid, kThreads, a);
    a.linear += 4 * kGridLimit;
    a.offset += 2 * kGridLimit;
    a.grid += 2 * kGridLimit * a.places * a.places;
  }
}

}  // namespace hrgan
