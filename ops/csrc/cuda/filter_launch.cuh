// Which filter kernel runs on which grid; `launch` as in affine_launch.cuh.
#pragma once

#include <algorithm>

#include "affine_launch.cuh"
#include "channel_kernel.cuh"
#include "tile_kernel.cuh"

namespace hrgan {

// Values that 32 bits count, and a grid's stride beyond; blocks that long strips must leave.
#ifdef HRGAN_EMULATED
constexpr int64_t kIndexLimit = 20000, kStripBlocks = 8;  // within the reach of tests
#else
constexpr int64_t kIndexLimit = INT32_MAX, kStripBlocks = 2048;
#endif
constexpr int kShortestStrip = 8, kLongestStrip = 32;  // rows of inputs or outputs, whichever are more

inline bool is_aligned(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer) % 16 == 0; }

inline int taps_with_lead(const FilterAxis& axis) { return axis.n_taps + (axis.before % axis.up == 0 ? 0 : 1); }

template <int up, int down, int n_taps, int threads_x, int threads_y, typename T, class Epilogue, class Launch>
void run_tiles(const FilterArguments<T>& a, const Epilogue& epilogue, Launch launch) {
  using Shape = Tile<up, down, n_taps, threads_x, threads_y>;
  const int64_t tiles = ceil_div(a.x_axis.out, Shape::kOutWidth) * ceil_div(a.y.out, Shape::kOutHeight);
  const dim3 grid(tiles * ceil_div(a.samples * a.channels, Shape::kPlanes));
  const bool vectors = is_aligned(a.out) && epilogue.aligned() && a.x_axis.out % Shape::kColumns == 0;
  launch(tile_kernel<up, down, n_taps, threads_x, threads_y, T, Epilogue>, grid, kStripThreads, a, epilogue, vectors);
}

template <int up, int down, int n_taps, int vec, typename T, class Epilogue, class Launch>
void run_channel_strips(const FilterArguments<T>& a, const Epilogue& epilogue, Launch launch) {
  const int64_t vectors = a.channels / vec;
  // Eight vectors of 16 bytes are a line of the cache; more would leave fewer columns to share inputs.
  const int lanes = vectors % 8 == 0 ? 8 : int(power_of_two_from(vectors, 4));
  const int64_t side_by_side = ceil_div(vectors, lanes) * ceil_div(a.x_axis.out, kStripThreads / lanes * up);
  // The longer a strip, the fewer rows are filtered twice.
  int rows = kLongestStrip / down;
  while (rows > kShortestStrip / down && side_by_side * ceil_div(a.y.out, rows) * a.samples < kStripBlocks) rows /= 2;
  const dim3 grid(side_by_side * ceil_div(a.y.out, rows), 1, a.samples);
  launch(channel_strip_kernel<up, down, n_taps, vec, T, Epilogue>, grid, kStripThreads, a, epilogue, lanes, rows);
}

// True if it ran: a separable filter of few taps.
template <int up, int down, typename T, class Epilogue, class Launch>
bool run_separable(const FilterArguments<T>& a, const Epilogue& epilogue, Launch launch) {
  const int taps = std::max(taps_with_lead(a.y), taps_with_lead(a.x_axis));
  const bool aligned = is_aligned(a.x) && is_aligned(a.out);
  constexpr int kWide = 16 / sizeof(T);
  if (a.channels_last) {
    if (!aligned || a.channels % kWide != 0 || taps > 8) return false;
    if (taps <= 4) {
      run_channel_strips<up, down, 4, kWide>(a, epilogue, launch);
    } else {
      run_channel_strips<up, down, 8, kWide / 2>(a, epilogue, launch);  // else registers run out
    }
    return true;
  }
  if (reinterpret_cast<uintptr_t>(a.x) % 4 != 0 || taps > 16) return false;
  if (taps <= 4 && a.x_axis.in <= 32) {
    run_tiles<up, down, 4, 4, 2>(a, epilogue, launch);
  } else if (taps <= 4) {
    run_tiles<up, down, 4, 16, 8>(a, epilogue, launch);
  } else if (taps <= 8) {
    run_tiles<up, down, 8, 16, 8>(a, epilogue, launch);
  } else if (taps <= 12) {
    run_tiles<up, down, 12, 16, 8>(a, epilogue, launch);
  } else {
    run_tiles<up, down, 16, 16, 8>(a, epilogue, launch);
  }
  return true;
}

template <typename T, class Epilogue, class Launch>
void run_any_filter(const FilterArguments<T>& a, const Epilogue& epilogue, Launch launch) {
  const int64_t total = a.samples * a.channels * a.y.out * a.x_axis.out;
  const dim3 grid(std::min<int64_t>(ceil_div(total, kFilterThreads), 1 << 20));
  if (total <= kIndexLimit) {
    launch(any_filter_kernel<uint32_t, T, Epilogue>, grid, kFilterThreads, a, epilogue);
  } else {
    launch(any_filter_kernel<uint64_t, T, Epilogue>, grid, kFilterThreads, a, epilogue);
  }
}

inline bool is_mode(const FilterAxis& axis, int up, int down) { return axis.up == up && axis.down == down; }

// Which filters have kernels of their own: those that keep the size, also those by two, or none.
enum class Fast { none, blur, resample };

template <Fast fast, typename T, class Epilogue, class Launch>
void run_filter_part(const FilterArguments<T>& a, const Epilogue& epilogue, Launch launch) {
  if constexpr (sizeof(T) <= 4 && fast != Fast::none) {
    if (a.separable) {
      if (is_mode(a.y, 1, 1) && is_mode(a.x_axis, 1, 1) && run_separable<1, 1>(a, epilogue, launch)) return;
      if constexpr (fast == Fast::resample) {
        if (is_mode(a.y, 2, 1) && is_mode(a.x_axis, 2, 1) && run_separable<2, 1>(a, epilogue, launch)) return;
        if (is_mode(a.y, 1, 2) && is_mode(a.x_axis, 1, 2) && run_separable<1, 2>(a, epilogue, launch)) return;
      }
    }
  }
  run_any_filter(a, epilogue, launch);
}

// As many samples go into a launch as 32 bits count the values of; a larger one goes alone.
template <Fast fast, typename T, class Epilogue, class Launch>
void run_filter(FilterArguments<T> a, Epilogue epilogue, Launch launch) {
  const int64_t in = a.channels * a.y.in * a.x_axis.in, out = a.channels * a.y.out * a.x_axis.out;
  const int64_t samples = a.samples, at_once = std::clamp<int64_t>(kIndexLimit / std::max(in, out), 1, kGridLimit);
  for (int64_t done = 0; done < samples; done += at_once) {
    a.samples = std::min(samples - done, at_once);
    run_filter_part<fast>(a, epilogue, launch);
    a.x += a.samples * in;
    a.out += a.samples * out;
    epilogue.skip_samples(a.samples);
  }
}

template <typename T, class Launch>
void run_upfirdn(const FilterArguments<T>& a, Launch launch) {
  run_filter<Fast::resample>(a, NoEpilogue<T>(), launch);
}

// Only what is cheap to compute follows a blur in any network; the rest runs, but not fast.
template <typename T, class Launch>
void run_blur(const FilterArguments<T>& a, const AffineEpilogue<T, false>& epilogue, Launch launch) {
  run_filter<Fast::blur>(a, epilogue, launch);
}
template <typename T, class Launch>
void run_blur(const FilterArguments<T>& a, const AffineEpilogue<T, true>& epilogue, Launch launch) {
  run_filter<Fast::none>(a, epilogue, launch);
}

}  // namespace hrgan
