// Mean and variance of each channel over a batch, with one read of the images: the sums that affine kernels
// take, of distances from a value near the mean. Squares themselves would lose a variance that is small beside it.
#pragma once

#include "affine_launch.cuh"

namespace hrgan {

// The sums of x - pivot and of its square; planes[0]: pivots.
struct Distances {
  static constexpr int kImages = 1, kPlanes = 1, kOutputs = 1, kSums = 2;
  static constexpr bool kPixels = false, kPixelSum = false;
  static constexpr int kUnroll = 4;  // one image alone is read
  static constexpr bool kHot = true;

  template <bool, typename acc>
  __host__ __device__ static void apply(const Activation<acc>&, Element<Distances, acc>& e) {
    const acc d = e.images[0] - e.planes[0];
    e.outputs[0] = 0;  // wanted by nobody
    e.sums[0] = d;
    e.sums[1] = d * d;
  }
};

// pivots [C]: means of the first few pixels of the first image, `pixel_step` apart.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    moment_pivots(const T* x, compute_t<T>* pivots, uint32_t channels, int64_t channel_step, int64_t pixel_step,
                  int few) {
  const uint32_t c = blockIdx.x * kThreads + threadIdx.x;
  if (c >= channels) return;
  compute_t<T> sum = 0;
  for (int i = 0; i < few; ++i) sum += widen(x[c * channel_step + i * pixel_step]);
  pivots[c] = sum / few;
}

// mean and var [C] of the sums [slots, C], added in the order of slots. A warp takes 32 channels, each row of
// the block a share of the slots.
template <typename acc>
__global__ void __launch_bounds__(kThreads)
    moment_results(const acc* pivots, const acc* sums, const acc* squares, acc* mean, acc* var, int64_t slots,
                   uint32_t channels, int64_t count) {
  constexpr int kRows = kThreads / 32;
  __shared__ double shared[2][kThreads];
  const uint32_t lane = threadIdx.x % 32, row = threadIdx.x / 32, c = blockIdx.x * 32 + lane;
  double sum = 0, square = 0;
  if (c < channels) {
#pragma unroll 4
    for (int64_t s = row; s < slots; s += kRows) {
      sum += sums[s * channels + c];
      square += squares[s * channels + c];
    }
  }
  shared[0][threadIdx.x] = sum;
  shared[1][threadIdx.x] = square;
  __syncthreads();
  if (row > 0 || c >= channels) return;
  for (int r = 1; r < kRows; ++r) {
    sum += shared[0][r * 32 + lane];
    square += shared[1][r * 32 + lane];
  }
  const double apart = sum / double(count), spread = square / double(count) - apart * apart;
  mean[c] = acc(pivots[c] + apart);
  var[c] = spread < 0 ? acc(0) : acc(spread);
}

// How `run_moments` takes its sums: [2, samples * slots, C] of this plan.
template <typename T>
AffinePlan plan_moments(const AffineShape& shape, AffineArguments<Distances, T>& a) {
  a.channels = shape.channels;
  a.n_pixels = shape.pixels;
  return plan_affine<Distances, T>(as_one_sample(shape, a));
}

// shape: of the images as given; plan: by `plan_moments`, of the same arguments. pivots [C]; sums as above.
template <typename T, class Launch>
void run_moments(const AffineShape& shape, const AffinePlan& plan, AffineArguments<Distances, T> a, const T* x,
                 compute_t<T>* pivots, compute_t<T>* sums, compute_t<T>* mean, compute_t<T>* var, Launch launch) {
  using acc = compute_t<T>;
  const int64_t slots = plan.shape.samples * plan.tiling.slots;
  const int64_t channel_step = shape.channels_last ? 1 : shape.pixels;
  const int64_t pixel_step = shape.channels_last ? shape.channels : 1;
  launch(moment_pivots<T>, dim3(ceil_div(shape.channels, kThreads)), kThreads, x, pivots, uint32_t(shape.channels),
         channel_step, pixel_step, int(std::min<int64_t>(plan.shape.pixels, 16)));
  a.images[0] = x;
  a.planes[0] = pivots;
  a.sums[0] = sums;
  a.sums[1] = sums + slots * shape.channels;
  run_affine(plan, a, launch);
  launch(moment_results<acc>, dim3(ceil_div(shape.channels, 32)), kThreads, static_cast<const acc*>(pivots),
         static_cast<const acc*>(a.sums[0]), static_cast<const acc*>(a.sums[1]), mean, var, slots,
         uint32_t(shape.channels), shape.samples * shape.pixels);
}

}  // namespace hrgan
