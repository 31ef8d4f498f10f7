// pixel_norm and minibatch_stddev with their gradients: kernels, and which of them runs on which grid.
//
// Sums are taken in a fixed order by lanes, rows and warps of one block, without atomics: runs repeat to the bit.
#pragma once

#ifndef HRGAN_EMULATED
#include <math.h>
#endif

#include "affine_launch.cuh"

namespace hrgan {

// What is done to a pixel. kImages: x, dy; as many sums over its channels. `factors` makes of the sums what
// each channel is computed with.
struct PixelNorm {
  static constexpr int kImages = 1;

  template <typename acc>
  static __device__ void add(const acc (&image)[kImages], acc (&sums)[kImages]) {
    sums[0] += image[0] * image[0];
  }
  template <typename acc>
  static __device__ void factors(acc (&sums)[kImages], acc count, acc eps) {
    sums[0] = acc(1) / sqrt(sums[0] / count + eps);
  }
  template <typename acc>
  static __device__ acc result(const acc (&image)[kImages], const acc (&factors)[kImages]) {
    return image[0] * factors[0];
  }
};

// With r = 1 / rms: dx = r * dy - x * r^3 * mean(dy * x). It is its own transpose in dy.
struct PixelNormBackward {
  static constexpr int kImages = 2;

  template <typename acc>
  static __device__ void add(const acc (&image)[kImages], acc (&sums)[kImages]) {
    sums[0] += image[0] * image[0];
    sums[1] += image[0] * image[1];
  }
  template <typename acc>
  static __device__ void factors(acc (&sums)[kImages], acc count, acc eps) {
    const acc r = acc(1) / sqrt(sums[0] / count + eps);
    sums[1] = (r * sums[1]) * (r * r / count);  // r^3 alone would overflow sooner
    sums[0] = r;
  }
  template <typename acc>
  static __device__ acc result(const acc (&image)[kImages], const acc (&factors)[kImages]) {
    return image[1] * factors[0] - image[0] * factors[1];
  }
};

template <class Op, typename T>
struct PixelArguments {
  const T* images[Op::kImages];
  T* output;
  int64_t rows;       // N * P
  uint32_t channels;  // C
  uint32_t n_pixels;  // P
  compute_t<T> eps;
};

template <class Op, int vec, typename T>
__device__ inline void load_pixels(const PixelArguments<Op, T>& a, int64_t at,
                                   compute_t<T> (&in)[Op::kImages][vec]) {
#pragma unroll
  for (int j = 0; j < Op::kImages; ++j) load<vec>(in[j], a.images[j] + at);
}

// Image values of element i of a vector.
template <int images, int vec, typename acc>
struct Slice {
  acc values[images];
  __device__ Slice(const acc (&in)[images][vec], int i) {
#pragma unroll
    for (int j = 0; j < images; ++j) values[j] = in[j][i];
  }
};

// Channels-last images: `lanes` threads, at most a warp, own a pixel. What they read again lies in the cache
// nearest to them. vec divides C.
template <class Op, typename T, int vec>
__global__ void __launch_bounds__(kThreads) pixel_rows_kernel(const PixelArguments<Op, T> a, uint32_t lanes) {
  using acc = compute_t<T>;
  constexpr int images = Op::kImages;
  const uint32_t first = threadIdx.x % lanes * vec, step = lanes * vec;
  const int64_t row = int64_t(blockIdx.x) * (kThreads / lanes) + threadIdx.x / lanes;
  const bool live = row < a.rows;  // the others lend their lanes to the sums
  const int64_t at = row * a.channels;
  acc in[images][vec], sums[images] = {};
  if (live) {
#pragma unroll 4
    for (uint32_t c = first; c < a.channels; c += step) {
      load_pixels<Op, vec>(a, at + c, in);
#pragma unroll
      for (int i = 0; i < vec; ++i) Op::add(Slice<images, vec, acc>(in, i).values, sums);
    }
  }
#pragma unroll
  for (int j = 0; j < images; ++j) sums[j] = lane_sum(sums[j], lanes);
  if (!live) return;
  Op::factors(sums, acc(a.channels), a.eps);
#pragma unroll 4
  for (uint32_t c = first; c < a.channels; c += step) {
    acc out[vec];
    load_pixels<Op, vec>(a, at + c, in);
#pragma unroll
    for (int i = 0; i < vec; ++i) out[i] = Op::result(Slice<images, vec, acc>(in, i).values, sums);
    store<vec>(a.output + at + c, out);
  }
}

// Contiguous images, grid (tiles of `lanes` vectors of pixels, 1, N). The rows of a block share the channels
// of their pixels: small images would leave most of the device without work otherwise. vec divides P.
template <class Op, typename T, int vec>
__global__ void __launch_bounds__(kThreads) pixel_planes_kernel(const PixelArguments<Op, T> a, uint32_t lanes) {
  using acc = compute_t<T>;
  constexpr int images = Op::kImages;
  const uint32_t lane = threadIdx.x % lanes, row = threadIdx.x / lanes, rows = kThreads / lanes;
  const uint32_t pixel = (blockIdx.x * lanes + lane) * vec;
  const bool live = pixel < a.n_pixels;
  const int64_t sample = int64_t(blockIdx.z) * a.channels * a.n_pixels + pixel;
  acc in[images][vec], sums[images][vec] = {};
  if (live) {
#pragma unroll 4
    for (uint32_t c = row; c < a.channels; c += rows) {
      load_pixels<Op, vec>(a, sample + int64_t(c) * a.n_pixels, in);
#pragma unroll
      for (int i = 0; i < vec; ++i) {
        Slice<images, vec, acc> sum(sums, i);
        Op::add(Slice<images, vec, acc>(in, i).values, sum.values);
#pragma unroll
        for (int j = 0; j < images; ++j) sums[j][i] = sum.values[j];
      }
    }
  }
  // One array a sum: rows still read the first one's totals while the second's are gathered.
  __shared__ acc shared[images][vec][kThreads];
#pragma unroll
  for (int j = 0; j < images; ++j) sum_rows(shared[j], sums[j], row, rows, lanes);
  if (!live) return;
#pragma unroll
  for (int i = 0; i < vec; ++i) {
    acc totals[images];
#pragma unroll
    for (int j = 0; j < images; ++j) totals[j] = shared[j][i][lane];
    Op::factors(totals, acc(a.channels), a.eps);
#pragma unroll
    for (int j = 0; j < images; ++j) sums[j][i] = totals[j];
  }
#pragma unroll 4
  for (uint32_t c = row; c < a.channels; c += rows) {
    const int64_t at = sample + int64_t(c) * a.n_pixels;
    acc out[vec];
    load_pixels<Op, vec>(a, at, in);
#pragma unroll
    for (int i = 0; i < vec; ++i) {
      out[i] = Op::result(Slice<images, vec, acc>(in, i).values, Slice<images, vec, acc>(sums, i).values);
    }
    store<vec>(a.output + at, out);
  }
}

template <class Op, int vec, typename T, class Launch>
void launch_pixel_norm(const AffineShape& s, PixelArguments<Op, T> a, Launch launch) {
  if (s.channels_last) {
    const int64_t lanes = power_of_two_from(s.channels / vec, 32);
    const dim3 grid(ceil_div(a.rows, kThreads / lanes));
    return launch(pixel_rows_kernel<Op, T, vec>, grid, kThreads, a, uint32_t(lanes));
  }
  const int64_t lanes = power_of_two_from(s.pixels / vec, 32);
  for (int64_t done = 0; done < s.samples; done += kGridLimit) {
    const dim3 grid(ceil_div(s.pixels / vec, lanes), 1, std::min(s.samples - done, kGridLimit));
    launch(pixel_planes_kernel<Op, T, vec>, grid, kThreads, a, uint32_t(lanes));
    for (auto& image : a.images) image += kGridLimit * s.channels * s.pixels;
    a.output += kGridLimit * s.channels * s.pixels;
  }
}

// images: x, dy. Returns whether vectors are used.
template <class Op, typename T, class Launch>
bool run_pixel_norm(const AffineShape& s, const T* const (&images)[Op::kImages], T* output, double eps,
                    Launch launch) {
  PixelArguments<Op, T> a = {};
  for (int j = 0; j < Op::kImages; ++j) a.images[j] = images[j];
  a.output = output;
  a.rows = s.samples * s.pixels;
  a.channels = s.channels;
  a.n_pixels = s.pixels;
  a.eps = compute_t<T>(eps);
  if constexpr (kWidest<T> > 1) {
    if (s.aligned && (s.channels_last ? s.channels : s.pixels) % kWidest<T> == 0) {
      launch_pixel_norm<Op, kWidest<T>>(s, a, launch);
      return true;
    }
  }
  launch_pixel_norm<Op, 1>(s, a, launch);
  return false;
}

constexpr int kStatisticsThreads = 512;  // one block has a whole slice to go through

// What minibatch_stddev sees: groups of images `groups` apart, slices of channels. x is [N, C, P] and the
// result [N, C + slices, P], in the layout of x.
struct StddevShape {
  int64_t group, groups, channels, slices, pixels;
  bool channels_last;

  __host__ __device__ int64_t width() const { return channels / slices; }
  __host__ __device__ int64_t samples() const { return group * groups; }
  __host__ __device__ int64_t image() const { return channels * pixels; }
  __host__ __device__ int64_t full_image() const { return (channels + slices) * pixels; }
  // Of a channel's pixel in an image of `all` channels.
  __host__ __device__ int64_t offset(int64_t channel, int64_t pixel, int64_t all) const {
    return channels_last ? pixel * all + channel : channel * pixels + pixel;
  }
};

// The sum over a block, in the order of its warps; each thread gets it.
template <typename acc>
__device__ inline acc block_sum(acc value) {
  constexpr int warps = kStatisticsThreads / 32;
  __shared__ acc sums[warps];
  value = lane_sum(value, 32);
  if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = value;
  __syncthreads();
  acc total = 0;
#pragma unroll
  for (int i = 0; i < warps; ++i) total += sums[i];
  return total;
}

// Mean and standard deviation of one element over the images of a group, `stride` elements apart. Squares of
// differences: differences of squares would lose small deviations from large means.
template <typename acc>
struct Deviation {
  acc mean, root;

  template <typename T>
  __device__ Deviation(const T* x, int64_t stride, int64_t count, acc eps) : mean(0) {
    for (int64_t g = 0; g < count; ++g) mean += widen(x[g * stride]);
    mean /= acc(count);
    acc squares = 0;
    for (int64_t g = 0; g < count; ++g) {
      const acc d = widen(x[g * stride]) - mean;
      squares += d * d;
    }
    root = sqrt(squares / acc(count) + eps);
  }
};

// means [groups, slices]: of the deviations of a slice's elements. A block each.
template <typename T>
__global__ void __launch_bounds__(kStatisticsThreads)
    stddev_statistics(const T* x, compute_t<T>* means, const StddevShape s, compute_t<T> eps) {
  using acc = compute_t<T>;
  const int64_t m = blockIdx.x / s.slices, first = blockIdx.x % s.slices * s.width(), count = s.width() * s.pixels;
  acc total = 0;
#pragma unroll 2
  for (int64_t i = threadIdx.x; i < count; i += kStatisticsThreads) {
    const int64_t at = s.channels_last ? s.offset(first + i % s.width(), i / s.width(), s.channels)
                                       : first * s.pixels + i;
    total += Deviation<acc>(x + m * s.image() + at, s.groups * s.image(), s.group, eps).root;
  }
  total = block_sum(total);
  if (threadIdx.x == 0) means[blockIdx.x] = total / acc(count);
}

// y: x, and the means as maps.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    stddev_write(const T* x, const compute_t<T>* means, T* y, const StddevShape s) {
  const int64_t all = s.channels + s.slices, count = s.samples() * s.full_image();
  for (int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x; i < count; i += int64_t(gridDim.x) * kThreads) {
    const int64_t n = i / s.full_image(), at = i % s.full_image();
    const int64_t channel = s.channels_last ? at % all : at / s.pixels;
    const int64_t pixel = s.channels_last ? at / all : at % s.pixels;
    y[i] = channel < s.channels ? x[n * s.image() + s.offset(channel, pixel, s.channels)]
                                : narrow<T>(means[n % s.groups * s.slices + channel - s.channels]);
  }
}

// pulls [groups, slices]: the gradient of each element's deviation, over the group's size. A block each.
template <typename T>
__global__ void __launch_bounds__(kStatisticsThreads)
    stddev_pulls(const T* dy, compute_t<T>* pulls, const StddevShape s) {
  using acc = compute_t<T>;
  const int64_t m = blockIdx.x / s.slices, channel = s.channels + blockIdx.x % s.slices;
  acc total = 0;
  for (int64_t i = threadIdx.x; i < s.group * s.pixels; i += kStatisticsThreads) {
    const int64_t n = i / s.pixels * s.groups + m;
    total += widen(dy[n * s.full_image() + s.offset(channel, i % s.pixels, s.channels + s.slices)]);
  }
  total = block_sum(total);
  if (threadIdx.x == 0) pulls[blockIdx.x] = total / acc(s.width() * s.pixels * s.group);
}

// dx of one element in all images of a group a thread.
template <typename T>
__global__ void __launch_bounds__(kThreads) stddev_gradient(const T* dy, const T* x, const compute_t<T>* pulls, T* dx,
                                                            const StddevShape s, compute_t<T> eps) {
  using acc = compute_t<T>;
  const int64_t count = s.groups * s.image(), stride = s.groups * s.image(), from_stride = s.groups * s.full_image();
  for (int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x; i < count; i += int64_t(gridDim.x) * kThreads) {
    const int64_t m = i / s.image(), at = i % s.image();
    const int64_t channel = s.channels_last ? at % s.channels : at / s.pixels;
    const int64_t pixel = s.channels_last ? at / s.channels : at % s.pixels;
    const T* from = dy + m * s.full_image() + s.offset(channel, pixel, s.channels + s.slices);
    const Deviation<acc> deviation(x + i, stride, s.group, eps);
    const acc slope = pulls[m * s.slices + channel / s.width()] / deviation.root;
    for (int64_t g = 0; g < s.group; ++g) {
      const acc d = widen(x[i + g * stride]) - deviation.mean;
      dx[i + g * stride] = narrow<T>(widen(from[g * from_stride]) + d * slope);
    }
  }
}

inline dim3 element_grid(int64_t count) { return dim3(std::min(ceil_div(count, kThreads), kBlocksWanted)); }

// means: room for [groups, slices].
template <typename T, class Launch>
void run_stddev(const StddevShape& s, const T* x, compute_t<T>* means, T* y, double eps, Launch launch) {
  const dim3 slices(s.groups * s.slices);
  launch(stddev_statistics<T>, slices, kStatisticsThreads, x, means, s, compute_t<T>(eps));
  launch(stddev_write<T>, element_grid(s.samples() * s.full_image()), kThreads, x, means, y, s);
}

template <typename T, class Launch>
void run_stddev_backward(const StddevShape& s, const T* dy, const T* x, compute_t<T>* pulls, T* dx, double eps,
                         Launch launch) {
  const dim3 slices(s.groups * s.slices);
  launch(stddev_pulls<T>, slices, kStatisticsThreads, dy, pulls, s);
  launch(stddev_gradient<T>, element_grid(s.groups * s.image()), kThreads, dy, x, pulls, dx, s, compute_t<T>(eps));
}

}  // namespace hrgan
