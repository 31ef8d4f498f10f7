// Which kernel of filtered_lrelu runs on which grid; `launch` as in affine_launch.cuh.
#pragma once

#include <algorithm>

#include "affine_launch.cuh"
#include "filtered_lrelu_strip.cuh"
#include "filtered_lrelu_tile.cuh"

namespace hrgan {

#ifdef HRGAN_EMULATED
constexpr int64_t kLreluBlocks = 24, kLreluStrips = 16;  // within the reach of tests
constexpr int kShortestLrelu = 4, kLongestLrelu = 16;
#else
constexpr int64_t kLreluBlocks = 1 << 30;  // of a launch
constexpr int64_t kLreluStrips = 8192;     // that long strips must leave
constexpr int kShortestLrelu = 16, kLongestLrelu = 64;  // rows of outputs, multiples of 4
#endif

// True if the filters fit the kernel with these rates.
template <int up, int down, bool radial_up, bool radial_down, typename T>
bool fits_strips(const LreluArguments<T>& a) {
  for (const LreluAxis* axis : {&a.y, &a.x_axis}) {
    if (axis->up != up || axis->down != down) return false;
    if (axis->up_taps > kReach * up || axis->down_taps > kReach * down) return false;
  }
  return a.up_separable == !radial_up && a.down_separable == !radial_down;
}

// As many samples go into a launch as a grid takes blocks of.
template <typename T, class Run>
void by_samples(LreluArguments<T> a, int64_t blocks_a_plane, Run run) {
  const int64_t samples = a.planes / a.channels;
  const int64_t at_once = std::clamp<int64_t>(kLreluBlocks / (a.channels * blocks_a_plane), 1, samples);
  for (int64_t done = 0; done < samples; done += at_once) {
    const int64_t planes = std::min(samples - done, at_once) * a.channels;
    a.planes = planes;
    run(a);
    a.x += planes * a.y.in * a.x_axis.in;
    a.out += planes * a.y.out * a.x_axis.out;
    const int64_t signed_rows = ceil_div(a.y.signed_samples, kSignRows), rows = ceil_div(a.y.samples, kSignRows);
    a.signs = a.signs ? a.signs + planes * signed_rows * a.x_axis.signed_samples : nullptr;
    a.kept = a.kept ? a.kept + planes * rows * a.x_axis.samples : nullptr;
  }
}

inline int remainder_of(int value, int divisor) { return (value % divisor + divisor) % divisor; }

// True if it ran.
template <int up, int down, bool radial_up, bool radial_down, Slope slope, typename T, class Launch>
bool run_lrelu_strips(const LreluArguments<T>& whole, Launch launch) {
  using S = LreluShape<up, down>;
  if (!fits_strips<up, down, radial_up, radial_down>(whole)) return false;
  LreluPlan plan;
  plan.tiles = ceil_div(whole.x_axis.out, S::kOutWidth);
  // The longer a strip, the fewer rows are computed twice.
  plan.rows = kLongestLrelu;
  while (plan.rows > kShortestLrelu && whole.planes * plan.tiles * ceil_div(whole.y.out, plan.rows) < kLreluStrips) {
    plan.rows /= 2;
  }
  plan.strips = ceil_div(whole.y.out, plan.rows);
  plan.lead_x = remainder_of(-whole.x_axis.before, up);
  plan.lead_y = remainder_of(-whole.y.before - 1, up);
  plan.lead_down = plan.lead_y % down;
  plan.skipped = plan.lead_y / down;
  by_samples(whole, ceil_div(int64_t(plan.tiles) * plan.strips, kLreluWarps), [&](const LreluArguments<T>& a) {
    const dim3 grid(ceil_div(a.planes * plan.tiles * plan.strips, kLreluWarps));
    constexpr int kBytes = int(sizeof(T)) * S::kEach;
    const bool pairs = reinterpret_cast<uintptr_t>(a.out) % kBytes == 0 && a.x_axis.out % S::kEach == 0;
    launch(lrelu_strip_kernel<up, down, radial_up, radial_down, slope, T>, grid, kLreluWarps * kLanes, a, plan, pairs);
  });
  return true;
}

// The largest tile that shared memory holds, but not much larger than the image.
template <typename T>
LreluTile lrelu_tile(const LreluArguments<T>& a) {
  LreluTile tile = {64, 32};
  for (bool narrower = true;; narrower = !narrower) {
    tile.samples_x = samples_met(a.x_axis, tile.width);
    tile.samples_y = samples_met(a.y, tile.height);
    tile.pixels_y = pixels_met(a.y, tile.samples_y);
    const int up_rows = a.up_separable ? tile.pixels_y * tile.samples_x : 0;
    const int down_rows = a.down_separable ? tile.samples_y * tile.width : 0;
    const int values = tile.samples_y * tile.samples_x + std::max(up_rows, down_rows);
    const bool wide = tile.width > 4 && tile.width >= 2 * a.x_axis.out, fits = values <= kTileValues<compute_t<T>>;
    const bool high = tile.height > 4 && tile.height >= 2 * a.y.out;
    if (fits && !wide && !high) return tile;
    const bool width = tile.width > 4 && (wide || (!high && (narrower || tile.height <= 4)));
    (width ? tile.width : tile.height) /= 2;
  }
}

template <Slope slope, typename T, class Launch>
void run_lrelu_tiles(const LreluArguments<T>& whole, Launch launch) {
  const LreluTile tile = lrelu_tile(whole);
  const int64_t tiles = ceil_div(whole.x_axis.out, tile.width) * ceil_div(whole.y.out, tile.height);
  by_samples(whole, tiles, [&](const LreluArguments<T>& a) {
    const dim3 grid(std::min(a.planes * tiles, kLreluBlocks));
    launch(lrelu_tile_kernel<slope, T>, grid, kTileThreads, a, tile);
  });
}

// Filters of alias-free networks have kernels of their own, and so have those of their gradients. Gradients of
// gradients do not: no phase of training has them.
template <Slope slope, typename T, class Launch>
void run_filtered_lrelu(const LreluArguments<T>& a, Launch launch) {
  if constexpr (sizeof(T) <= 4) {
    if (run_lrelu_strips<2, 2, false, false, slope>(a, launch)) return;
    if constexpr (slope == Slope::of_value) {
      if (run_lrelu_strips<4, 2, false, false, slope>(a, launch)) return;
      if (run_lrelu_strips<2, 2, false, true, slope>(a, launch)) return;
      if (run_lrelu_strips<4, 2, false, true, slope>(a, launch)) return;
    } else {
      if (run_lrelu_strips<2, 4, false, false, slope>(a, launch)) return;
      if (run_lrelu_strips<2, 2, true, false, slope>(a, launch)) return;
      if (run_lrelu_strips<2, 4, true, false, slope>(a, launch)) return;
    }
  }
  run_lrelu_tiles<slope>(a, launch);
}

}  // namespace hrgan
