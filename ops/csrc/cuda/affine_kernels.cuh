// One pass over the images for any Op of affine_ops.cuh, in either layout, with the sums it asks for.
//
// Sums are deterministic: each is taken in a fixed order by the lanes of a warp or the rows of a block, which
// write one partial result a slot; `sum_slots` adds the slots. No atomics, so that runs repeat to the bit.
#pragma once

#include "affine_ops.cuh"

namespace hrgan {

constexpr int kThreads = 256;

template <class Op, typename T>
struct AffineArguments {
  using acc = compute_t<T>;
  const T* images[Op::kImages];        // null: absent
  const acc* planes[Op::kPlanes];      // [N or 1, C], null: absent
  uint32_t plane_strides[Op::kPlanes];  // C, or 0 if all samples share one
  const acc* pixels;                   // [N or 1, P], null: absent
  uint32_t pixel_stride;               // P or 0
  T* outputs[Op::kOutputs];            // null: not needed, as below
  acc* sums[Op::kSums + 1];            // [N, slots, C]
  acc* pixel_sum;                      // [N, groups, P]
  uint32_t channels;                   // C
  uint32_t n_pixels;                   // P
  Activation<acc> activation;
};

// How threads lie over the images; see `affine_tiling`.
struct AffineTiling {
  uint32_t lanes;  // threads side by side along the fastest dimension, a power of two; the others: rows
  uint32_t span;   // channels (planes_kernel) or pixels (channels_kernel) that a block goes through
  uint32_t slots;  // partial sums a channel
  uint32_t groups;  // partial sums a pixel
};

template <class Op, typename T>
__device__ inline compute_t<T> absent_plane(int i) {
  return i == 0 ? compute_t<T>(1) : compute_t<T>(0);  // planes[0] is always scale
}

// Runs Op on `vec` elements; `planes(j, i)` is operand j of element i, `pixel(i)` its pixel's, and
// `gather(i, e)` takes its sums.
template <class Op, bool smooth, int vec, typename T, class Planes, class Pixel, class Gather>
__device__ inline void apply_to_vector(const AffineArguments<Op, T>& a,
                                       const Raw<T, vec> (&raw)[Op::kImages], int64_t at,
                                       Planes planes, Pixel pixel, Gather gather) {
  using acc = compute_t<T>;
  acc in[Op::kImages][vec], out[Op::kOutputs][vec];
#pragma unroll
  for (int j = 0; j < Op::kImages; ++j) unpack(in[j], raw[j]);
#pragma unroll
  for (int i = 0; i < vec; ++i) {
    Element<Op, acc> e;
#pragma unroll
    for (int j = 0; j < Op::kImages; ++j) e.images[j] = in[j][i];
#pragma unroll
    for (int j = 0; j < Op::kPlanes; ++j) e.planes[j] = planes(j, i);
    e.pixel = pixel(i);
    Op::template apply<smooth>(a.activation, e);
#pragma unroll
    for (int j = 0; j < Op::kOutputs; ++j) out[j][i] = e.outputs[j];
    gather(i, e);
  }
#pragma unroll
  for (int j = 0; j < Op::kOutputs; ++j) {
    if (a.outputs[j]) store<vec>(a.outputs[j] + at, out[j]);
  }
}

// Nothing is computed of them here, so that the loads of several vectors are under way at once.
template <class Op, int vec, typename T>
__device__ inline void load_images(const AffineArguments<Op, T>& a, int64_t at, Raw<T, vec> (&in)[Op::kImages]) {
#pragma unroll
  for (int j = 0; j < Op::kImages; ++j) {
    in[j] = {};
    if (a.images[j]) in[j] = raw_at<vec>(a.images[j] + at);
  }
}

// Adds the rows of a block by halves; row 0 gets the sums. Each thread ends and begins on its own elements of
// `shared`, so that one call may follow another.
template <int vec, typename acc>
__device__ inline void sum_rows(acc (&shared)[vec][kThreads], acc (&values)[vec], uint32_t row, uint32_t rows,
                                uint32_t lanes) {
#pragma unroll
  for (int i = 0; i < vec; ++i) shared[i][threadIdx.x] = values[i];
  __syncthreads();
  for (uint32_t half = rows / 2; half > 0; half /= 2) {
    if (row < half) {
#pragma unroll
      for (int i = 0; i < vec; ++i) shared[i][threadIdx.x] += shared[i][threadIdx.x + half * lanes];
    }
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < vec; ++i) values[i] = shared[i][threadIdx.x];
}

// Contiguous images, grid (tiles of pixels, groups of channels, N). A thread owns `unroll` vectors of pixels
// and goes through the channels of its row, so that noise is read, and its gradient summed, in registers.
// vec divides P.
template <class Op, bool smooth, typename T, int vec, int unroll>
__global__ void __launch_bounds__(kThreads) planes_kernel(const AffineArguments<Op, T> a, const AffineTiling t) {
  using acc = compute_t<T>;
  const uint32_t lane = threadIdx.x % t.lanes, row = threadIdx.x / t.lanes, rows = kThreads / t.lanes;
  const uint32_t n = blockIdx.z, first = blockIdx.y * t.span;
  const uint32_t last = min(first + t.span, a.channels);
  const int warp_lanes = min(t.lanes, 32u);
  const uint32_t slot = blockIdx.x * (t.lanes / warp_lanes) + lane / warp_lanes;
  uint32_t pixels[unroll];
  acc noise[unroll][vec], pixel_sums[unroll][vec];
#pragma unroll
  for (int u = 0; u < unroll; ++u) {
    pixels[u] = ((blockIdx.x * unroll + u) * t.lanes + lane) * vec;
#pragma unroll
    for (int i = 0; i < vec; ++i) noise[u][i] = pixel_sums[u][i] = 0;
    if (Op::kPixels && a.pixels && pixels[u] < a.n_pixels) {
      const acc* from = a.pixels + int64_t(n) * a.pixel_stride + pixels[u];
#pragma unroll
      for (int i = 0; i < vec; ++i) noise[u][i] = from[i];
    }
  }
  // All lanes run every round, for the sums' sake.
  for (uint32_t base = first; base < last; base += rows) {
    const uint32_t c = base + row;
    const bool live = c < last;
    acc planes[Op::kPlanes], sums[Op::kSums + 1];
#pragma unroll
    for (int j = 0; j < Op::kPlanes; ++j) {
      planes[j] = live && a.planes[j] ? a.planes[j][int64_t(n) * a.plane_strides[j] + c] : absent_plane<Op, T>(j);
    }
#pragma unroll
    for (int s = 0; s <= Op::kSums; ++s) sums[s] = 0;
    const int64_t plane = (int64_t(n) * a.channels + c) * a.n_pixels;
    Raw<T, vec> in[unroll][Op::kImages];
#pragma unroll
    for (int u = 0; u < unroll; ++u) {
      if (live && pixels[u] < a.n_pixels) load_images<Op, vec>(a, plane + pixels[u], in[u]);
    }
#pragma unroll
    for (int u = 0; u < unroll; ++u) {
      if (!live || pixels[u] >= a.n_pixels) continue;
      apply_to_vector<Op, smooth, vec>(
          a, in[u], plane + pixels[u], [&](int j, int) { return planes[j]; },
          [&](int i) { return noise[u][i]; },
          [&](int i, const Element<Op, acc>& e) {
#pragma unroll
            for (int s = 0; s < Op::kSums; ++s) sums[s] += e.sums[s];
            if constexpr (Op::kPixelSum) pixel_sums[u][i] += e.pixel_sum;
          });
    }
#pragma unroll
    for (int s = 0; s < Op::kSums; ++s) {
      if (!a.sums[s]) continue;
      const acc total = lane_sum(sums[s], warp_lanes);
      if (live && lane % warp_lanes == 0) a.sums[s][(int64_t(n) * t.slots + slot) * a.channels + c] = total;
    }
  }
  if constexpr (Op::kPixelSum) {
    if (!a.pixel_sum) return;
    __shared__ acc shared[vec][kThreads];
#pragma unroll
    for (int u = 0; u < unroll; ++u) {
      sum_rows(shared, pixel_sums[u], row, rows, t.lanes);
      if (row == 0 && pixels[u] < a.n_pixels) {
        acc* to = a.pixel_sum + (int64_t(n) * t.groups + blockIdx.y) * a.n_pixels + pixels[u];
#pragma unroll
        for (int i = 0; i < vec; ++i) to[i] = pixel_sums[u][i];
      }
    }
  }
}

// Channels-last images, grid (spans of pixels, chunks of `lanes` channel vectors, N). A thread owns a vector
// of channels and goes through the pixels of its row. vec divides C.
template <class Op, bool smooth, typename T, int vec, int unroll>
__global__ void __launch_bounds__(kThreads) channels_kernel(const AffineArguments<Op, T> a, const AffineTiling t) {
  using acc = compute_t<T>;
  const uint32_t lane = threadIdx.x % t.lanes, row = threadIdx.x / t.lanes, rows = kThreads / t.lanes;
  const uint32_t n = blockIdx.z, c = (blockIdx.y * t.lanes + lane) * vec;
  const uint32_t first = blockIdx.x * t.span, last = min(first + t.span, a.n_pixels);
  const bool live = c < a.channels;
  acc planes[Op::kPlanes][vec], sums[Op::kSums + 1][vec];
#pragma unroll
  for (int i = 0; i < vec; ++i) {
#pragma unroll
    for (int j = 0; j < Op::kPlanes; ++j) {
      planes[j][i] =
          live && a.planes[j] ? a.planes[j][int64_t(n) * a.plane_strides[j] + c + i] : absent_plane<Op, T>(j);
    }
#pragma unroll
    for (int s = 0; s <= Op::kSums; ++s) sums[s][i] = 0;
  }
  for (uint32_t base = first; base < last; base += rows * unroll) {
    Raw<T, vec> in[unroll][Op::kImages];
    acc pixel_sums[unroll];
    int64_t at[unroll];
#pragma unroll
    for (int u = 0; u < unroll; ++u) {
      const uint32_t p = base + u * rows + row;
      at[u] = (int64_t(n) * a.n_pixels + p) * a.channels + c;
      pixel_sums[u] = 0;
      if (live && p < last) load_images<Op, vec>(a, at[u], in[u]);
    }
#pragma unroll
    for (int u = 0; u < unroll; ++u) {
      const uint32_t p = base + u * rows + row;
      if (!live || p >= last) continue;
      const acc noise = Op::kPixels && a.pixels ? a.pixels[int64_t(n) * a.pixel_stride + p] : acc(0);
      apply_to_vector<Op, smooth, vec>(
          a, in[u], at[u], [&](int j, int i) { return planes[j][i]; }, [&](int) { return noise; },
          [&](int i, const Element<Op, acc>& e) {
#pragma unroll
            for (int s = 0; s < Op::kSums; ++s) sums[s][i] += e.sums[s];
            if constexpr (Op::kPixelSum) pixel_sums[u] += e.pixel_sum;
          });
    }
    if constexpr (Op::kPixelSum) {
      if (!a.pixel_sum) continue;
#pragma unroll
      for (int u = 0; u < unroll; ++u) {
        const uint32_t p = base + u * rows + row;
        const acc total = lane_sum(pixel_sums[u], t.lanes);
        if (lane == 0 && p < last) a.pixel_sum[(int64_t(n) * t.groups + blockIdx.y) * a.n_pixels + p] = total;
      }
    }
  }
  if constexpr (Op::kSums > 0) {
    __shared__ acc shared[vec][kThreads];
#pragma unroll
    for (int s = 0; s < Op::kSums; ++s) {
      if (!a.sums[s]) continue;
      sum_rows(shared, sums[s], row, rows, t.lanes);
      if (row == 0 && live) {
        acc* to = a.sums[s] + (int64_t(n) * t.slots + blockIdx.x) * a.channels + c;
#pragma unroll
        for (int i = 0; i < vec; ++i) to[i] = sums[s][i];
      }
    }
  }
}

// to [B, M] = the sum over slots of from [B, slots, M]; grid (M / 32, B).
template <typename acc>
__global__ void __launch_bounds__(kThreads) sum_slots(const acc* from, acc* to, uint32_t slots, uint32_t size) {
  const uint32_t lane = threadIdx.x % 32, row = threadIdx.x / 32, rows = kThreads / 32;
  const uint32_t i = blockIdx.x * 32 + lane;
  acc sum = 0;
  if (i < size) {
#pragma unroll 4
    for (uint32_t s = row; s < slots; s += rows) sum += from[(int64_t(blockIdx.y) * slots + s) * size + i];
  }
  __shared__ acc rows_of_sums[kThreads];
  rows_of_sums[threadIdx.x] = sum;
  __syncthreads();
  if (row == 0 && i < size) {
    for (uint32_t r = 1; r < rows; ++r) sum += rows_of_sums[r * 32 + lane];
    to[int64_t(blockIdx.y) * size + i] = sum;
  }
}

}  // namespace hrgan
