// Which kernel runs on which grid. `launch(kernel, grid, threads, arguments...)` is a parameter, so that
// the same choices run on emulated threads.
#pragma once

#include <algorithm>

#include "affine_kernels.cuh"

namespace hrgan {

// About four rounds of resident blocks on the largest devices. A constant, not a device's property: it
// decides how sums are split, and results must not depend on the machine.
constexpr int64_t kBlocksWanted = 4096;
#ifdef HRGAN_EMULATED
constexpr int64_t kGridLimit = 500;  // within the reach of tests
#else
constexpr int64_t kGridLimit = 65535;  // of the y and z dimensions
#endif

struct AffineShape {
  int64_t samples, channels, pixels;
  bool channels_last;
  bool aligned;  // all images start on 16 bytes
};

struct AffinePlan {
  AffineShape shape;
  AffineTiling tiling;
  dim3 grid;  // for all samples, which may be more than one launch takes
  bool vectors;
};

inline int64_t power_of_two_from(int64_t value, int64_t limit) {
  int64_t power = 1;
  while (power < value && power < limit) power *= 2;
  return power;
}

template <class Op, typename T>
AffinePlan plan_planes(const AffineShape& s, bool vectors) {
  const int64_t length = vectors ? s.pixels / kWidest<T> : s.pixels;
  const int64_t lanes = power_of_two_from(ceil_div(length, Op::kUnroll), kThreads), rows = kThreads / lanes;
  const int64_t tiles = ceil_div(length, lanes * Op::kUnroll);
  const int64_t wanted = std::clamp<int64_t>(kBlocksWanted / (tiles * s.samples), 1, ceil_div(s.channels, rows));
  const int64_t span = ceil_div(ceil_div(s.channels, wanted), rows) * rows;
  const int64_t groups = ceil_div(s.channels, span), slots = tiles * (lanes / std::min<int64_t>(lanes, 32));
  const AffineTiling tiling = {uint32_t(lanes), uint32_t(span), uint32_t(slots), uint32_t(groups)};
  return {s, tiling, dim3(tiles, groups, 1), vectors};
}

template <class Op, typename T>
AffinePlan plan_channels(const AffineShape& s, bool vectors) {
  const int64_t length = vectors ? s.channels / kWidest<T> : s.channels;
  // The widest chunk among those that leave the fewest lanes without channels.
  const int64_t least = power_of_two_from(length, 8);
  int64_t lanes = power_of_two_from(length, 32);
  for (int64_t fewer = lanes / 2; fewer >= least; fewer /= 2) {
    if (ceil_div(length, fewer) * fewer < ceil_div(length, lanes) * lanes) lanes = fewer;
  }
  const int64_t chunks = ceil_div(length, lanes), round = kThreads / lanes * Op::kUnroll;
  const int64_t wanted = std::clamp<int64_t>(kBlocksWanted / (chunks * s.samples), 1, ceil_div(s.pixels, round));
  const int64_t span = ceil_div(ceil_div(s.pixels, wanted), round) * round;
  const int64_t slots = ceil_div(s.pixels, span);
  const AffineTiling tiling = {uint32_t(lanes), uint32_t(span), uint32_t(slots), uint32_t(chunks)};
  return {s, tiling, dim3(slots, chunks, 1), vectors};
}

template <class Op, typename T>
AffinePlan plan_affine(const AffineShape& s) {
  const int64_t fastest = s.channels_last ? s.channels : s.pixels;
  const bool vectors = kWidest<T> > 1 && s.aligned && fastest % kWidest<T> == 0;
  return s.channels_last ? plan_channels<Op, T>(s, vectors) : plan_planes<Op, T>(s, vectors);
}

// Operands that all samples share make of channels-last samples one long one: small images fill blocks.
template <class Op, typename T>
AffineShape as_one_sample(AffineShape s, AffineArguments<Op, T>& a) {
  bool shared = s.channels_last && (!a.pixels || a.pixel_stride > 0) && s.samples * s.pixels < INT32_MAX;
  for (uint32_t stride : a.plane_strides) shared = shared && stride == 0;
  if (shared) {
    s.pixels *= s.samples;
    s.samples = 1;
    a.n_pixels = uint32_t(s.pixels);
  }
  return s;
}

template <class Op, typename T>
void skip_samples(AffineArguments<Op, T>& a, const AffineTiling& t, int64_t samples) {
  const int64_t size = samples * a.channels * a.n_pixels;
  for (auto& image : a.images) image = image ? image + size : nullptr;
  for (auto& output : a.outputs) output = output ? output + size : nullptr;
  for (int j = 0; j < Op::kPlanes; ++j) {
    a.planes[j] = a.planes[j] ? a.planes[j] + samples * a.plane_strides[j] : nullptr;
  }
  a.pixels = a.pixels ? a.pixels + samples * a.pixel_stride : nullptr;
  for (auto& sum : a.sums) sum = sum ? sum + samples * t.slots * a.channels : nullptr;
  a.pixel_sum = a.pixel_sum ? a.pixel_sum + samples * t.groups * a.n_pixels : nullptr;
}

template <class Op, bool smooth, int vec, typename T, class Launch>
void launch_affine(const AffinePlan& plan, AffineArguments<Op, T> a, Launch launch) {
  for (int64_t done = 0; done < plan.shape.samples; done += kGridLimit) {
    const dim3 grid(plan.grid.x, plan.grid.y, std::min(plan.shape.samples - done, kGridLimit));
    if (plan.shape.channels_last) {
      launch(channels_kernel<Op, smooth, T, vec, Op::kUnroll>, grid, kThreads, a, plan.tiling);
    } else {
      launch(planes_kernel<Op, smooth, T, vec, Op::kUnroll>, grid, kThreads, a, plan.tiling);
    }
    skip_samples(a, plan.tiling, kGridLimit);
  }
}

template <class Op, typename T, class Launch>
void run_affine(const AffinePlan& plan, const AffineArguments<Op, T>& a, Launch launch) {
  if constexpr (kWidest<T> > 1) {
    if (plan.vectors && Op::kHot && a.activation.piecewise()) {
      return launch_affine<Op, !Op::kHot, kWidest<T>>(plan, a, launch);
    }
    if (plan.vectors) return launch_affine<Op, true, kWidest<T>>(plan, a, launch);
  }
  launch_affine<Op, true, 1>(plan, a, launch);
}

template <typename acc, class Launch>
void run_sum_slots(const acc* from, acc* to, int64_t batch, int64_t slots, int64_t size, Launch launch) {
  for (int64_t done = 0; done < batch; done += kGridLimit) {
    const dim3 grid(ceil_div(size, 32), std::min(batch - done, kGridLimit), 1);
    launch(sum_slots<acc>, grid, kThreads, from + done * slots * size, to + done * size, uint32_t(slots),
           uint32_t(size));
  }
}

}  // namespace hrgan
