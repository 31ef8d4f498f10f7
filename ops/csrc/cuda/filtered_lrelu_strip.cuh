// filtered_lrelu for filters that meet six pixels along an axis: a warp goes down a strip of a plane, a lane
// holds what it needs of four columns of samples, and no image of samples is ever written.
#pragma once

#include "filtered_lrelu_arguments.cuh"
#include "strip.cuh"

namespace hrgan {

constexpr int kReach = 6;  // pixels that a sample meets along an axis, and samples an output, divided by `down`
constexpr int kLanes = 32, kLreluWarps = 4;
constexpr int kColumns = 4, kWidth = kLanes * kColumns;  // samples of a lane, of a warp

template <int up, int down>
struct LreluShape {
  static_assert((up == 2 || down == 2) && up % 2 == 0 && down % 2 == 0 && up <= 4 && down <= 4);
  static constexpr int kUpTaps = kReach * up, kDownTaps = kReach * down;
  // Zeros before the taps make the first sample of a row meet a pixel with its first tap, and the first output
  // of a strip begin with the first sample that a pixel completes.
  static constexpr int kUpRow = kUpTaps + up - 1, kDownColumn = kDownTaps + 1;
  using Row = Axis<up, 1, kUpRow>;
  static constexpr int kPixels = Row::inputs(kWidth), kLoads = (kPixels + kLanes - 1) / kLanes;  // of a warp
  static constexpr int kPixelsEach = Row::inputs(kColumns);
  static constexpr int kEach = kColumns / down;  // outputs of a lane
  // Outputs of a warp, so that tiles begin on four samples; the last one has samples that no output meets.
  static constexpr int kOutWidth = (kWidth - kDownTaps + 1) / kColumns * kEach;
  static constexpr int kSamplesEach = ((kEach - 1) * down + kDownTaps + 3) / 4 * 4;  // that they meet, in vectors
  static constexpr int kPitch = kWidth - kColumns + kSamplesEach;
  // Outputs that begin while the window goes round once: the sums have gone round then, or half.
  static constexpr int kBegun = kReach * up / down;
};

// Where strips begin, the same for all of them.
struct LreluPlan {
  int rows, strips, tiles;   // outputs down a strip; strips down a plane, tiles across
  int lead_x;                // zeros before a row's taps
  int lead_y;                // samples that a strip begins before its first output does
  int lead_down, skipped;    // the same in samples and whole outputs
};

// In shared memory. The gain of sampling up is in them.
template <int up, int down, bool radial_up, bool radial_down>
struct LreluTaps {
  using S = LreluShape<up, down>;
  static constexpr int kUpRows = radial_up ? S::kUpTaps : 1, kDownRows = radial_down ? S::kDownColumn : 1;
  alignas(16) float up_x[kUpRows][(S::kUpRow + 3) / 4 * 4];
  alignas(16) float down_x[kDownRows][S::kDownTaps];
  // Every up-th or down-th tap side by side, since a row of samples meets those.
  alignas(16) float up_y[up][8], down_y[down][8];
};

__device__ inline float tap_or_zero(const float* f, int j, int n_taps, bool flip) {
  return j >= 0 && j < n_taps ? f[tap_index(j, n_taps, flip)] : 0.0f;
}

template <bool radial, int rows, int columns>
__device__ inline void fill_taps(float (&to)[rows][columns], const float* f, int taps_y, int taps_x, int lead_y,
                                 int lead_x, bool flip, float gain) {
  for (int at = threadIdx.x; at < rows * columns; at += kLreluWarps * kLanes) {
    const int y = at / columns - lead_y, x = at % columns - lead_x;
    const bool there = !radial || (y >= 0 && y < taps_y);
    const float* line = radial && there ? f + tap_index(y, taps_y, flip) * taps_x : f;
    to[at / columns][at % columns] = there ? gain * tap_or_zero(line, x, taps_x, flip) : 0.0f;
  }
}

template <int up, int down, bool radial_up, bool radial_down, typename T>
__device__ inline void fill_taps(LreluTaps<up, down, radial_up, radial_down>& to, const LreluArguments<T>& a,
                                 const LreluPlan& plan) {
  const float gain = radial_up ? a.up_gain * a.up_gain : a.up_gain;
  fill_taps<radial_up>(to.up_x, a.up_filter, a.y.up_taps, a.x_axis.up_taps, 0, plan.lead_x, a.flip, gain);
  fill_taps<radial_down>(to.down_x, a.down_filter, a.y.down_taps, a.x_axis.down_taps, plan.lead_down, 0, a.flip, 1);
  const int at = threadIdx.x;
  if (at < 8 * up) {
    to.up_y[at / 8][at % 8] = a.up_gain * tap_or_zero(a.up_filter, at % 8 * up + at / 8, a.y.up_taps, a.flip);
  }
  if (at < 8 * down) {
    const int j = at % 8 * down + at / 8 - plan.lead_down;
    to.down_y[at / 8][at % 8] = tap_or_zero(a.down_filter, j, a.y.down_taps, a.flip);
  }
}

// Vectors of four from shared memory.
template <int count>
__device__ inline void load_fours(float (&to)[count], const float* from) {
#pragma unroll
  for (int i = 0; i < count; i += 4) {
    const auto four = *reinterpret_cast<const Vector<float, 4>*>(from + i);
#pragma unroll
    for (int k = 0; k < 4 && i + k < count; ++k) to[i + k] = four.values[k];
  }
}

// Adds a filtered row to `out`.
template <int up, int down, int n_taps, int inputs, int count>
__device__ inline void add_row(const float* shared_taps, const float (&in)[inputs], float (&out)[count]) {
  using A = Axis<up, down, n_taps>;
  static_assert(A::inputs(count) <= inputs);
  float taps[n_taps];
  load_fours(taps, shared_taps);
#pragma unroll
  for (int o = 0; o < count; ++o) {
#pragma unroll
    for (int j = 0; j < n_taps; ++j) {
      if (A::meets(o, j)) out[o] += taps[j] * in[A::input(o, j)];
    }
  }
}

// What a warp is doing. Its lanes meet at each row of pixels, and of samples or outputs that they exchange; of
// each row in shared memory there are two, taken in turn, so that none is written before all have read it.
template <int up, int down, bool radial_up, bool radial_down, Slope slope, typename T>
struct LreluWarp {
  using S = LreluShape<up, down>;
  using Taps = LreluTaps<up, down, radial_up, radial_down>;
  const LreluArguments<T>& a;
  const Taps& taps;
  float (&pixels)[2][S::kLoads * kLanes];
  float (&exchanged)[2][S::kPitch];
  int lane;

  const T* line;  // of the next row of pixels, where this lane begins
  int y;          // its number
  bool inside[S::kLoads];
  float bias;
  T next[S::kLoads];
  bool next_inside;

  float window[kReach][radial_up ? S::kPixelsEach : kColumns];
  float sums[kReach][radial_down ? S::kEach : kColumns];

  int row;              // of samples, from the first that this strip's outputs meet
  int column;           // of this lane's first sample
  int rows_kept, columns_kept;  // of samples whose signs this warp writes, this lane
  uint8_t* kept;        // of the next four rows
  const uint8_t* signs; // of the four rows after those in next_marks
  int signed_row;       // row 0 among those that have signs
  uint32_t marks, next_marks;  // signs of four rows: a column a byte

  T* out;  // of the next row
  int rows_out, columns_out;  // of this warp, from this lane on
  bool pairs;  // two outputs may be stored as one

  __device__ __forceinline__ void fetch() {
    next_inside = unsigned(y) < unsigned(a.y.in);
#pragma unroll
    for (int l = 0; l < S::kLoads; ++l) next[l] = next_inside && inside[l] ? line[l * kLanes] : T();
    line += a.x_axis.in;
    ++y;
  }

  // The fetched row, as samples of each column need it.
  __device__ __forceinline__ void advance(int slot, int turn) {
#pragma unroll
    for (int l = 0; l < S::kLoads; ++l) {
      pixels[turn][lane + l * kLanes] = next_inside && inside[l] ? widen(next[l]) + bias : 0.0f;
    }
    fetch();
    __syncwarp();
    float in[S::kPixelsEach];
#pragma unroll
    for (int i = 0; i < S::kPixelsEach; i += kColumns / up) {
      float some[kColumns / up];
      load<kColumns / up>(some, &pixels[turn][lane * (kColumns / up) + i]);
#pragma unroll
      for (int k = 0; k < kColumns / up; ++k) in[i + k] = some[k];
    }
    if constexpr (radial_up) {
#pragma unroll
      for (int i = 0; i < S::kPixelsEach; ++i) window[slot][i] = in[i];
    } else {
#pragma unroll
      for (int c = 0; c < kColumns; ++c) window[slot][c] = 0;
      add_row<up, 1, S::kUpRow>(taps.up_x[0], in, window[slot]);
    }
  }

  // Of the `up` rows of samples that meet the window's six rows of pixels, the one with this number.
  __device__ __forceinline__ void sample(int first, int number, float (&u)[kColumns]) const {
#pragma unroll
    for (int c = 0; c < kColumns; ++c) u[c] = 0;
    float along_y[kReach];
    if (!radial_up) load_fours(along_y, taps.up_y[up - 1 - number]);
#pragma unroll
    for (int w = 0; w < kReach; ++w) {
      if constexpr (radial_up) {
        add_row<up, 1, S::kUpRow>(taps.up_x[up - 1 - number + up * w], window[(first + w) % kReach], u);
      } else {
#pragma unroll
        for (int c = 0; c < kColumns; ++c) u[c] += along_y[w] * window[(first + w) % kReach][c];
      }
    }
  }

  __device__ __forceinline__ void activate(float (&u)[kColumns]) {
    if constexpr (slope == Slope::of_value) {
      uint32_t word = 0;
#pragma unroll
      for (int c = 0; c < kColumns; ++c) {
        uint32_t sign;
        u[c] = activated(a, u[c], sign);
        word |= sign << (8 * c);
      }
      if (unsigned(row) < unsigned(rows_kept)) keep(word);
    } else {
      const int at = signed_row + row;
      if (at % kSignRows == 0) {
        marks = next_marks;
        fetch_marks(at + kSignRows);
      }
      const uint32_t word = marks >> (2 * (at & 3));
#pragma unroll
      for (int c = 0; c < kColumns; ++c) u[c] = sloped(a, u[c], word >> (8 * c));
    }
    ++row;
  }

  // Signs of a row; four rows are written at once.
  __device__ __forceinline__ void keep(uint32_t word) {
    const int in_byte = row & 3;
    marks = in_byte == 0 ? word : marks | word << (2 * in_byte);
    if (in_byte != 3 && row != rows_kept - 1) return;
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      if (c < columns_kept) kept[c] = uint8_t(marks >> (8 * c));
    }
    kept += a.x_axis.samples;
  }

  // Signs of the four rows from `at` on; 0 where there are none.
  __device__ __forceinline__ void fetch_marks(int at) {
    const int first = column + a.x_axis.offset;
    next_marks = 0;
    if (unsigned(at) < unsigned(a.y.signed_samples)) {
#pragma unroll
      for (int c = 0; c < kColumns; ++c) {
        if (unsigned(first + c) < unsigned(a.x_axis.signed_samples)) next_marks |= uint32_t(signs[c]) << (8 * c);
      }
    }
    signs += a.x_axis.signed_samples;
  }

  // Row `t` of samples, counted from where the window went round, joins the outputs that meet it; `ended`: that
  // of the output which ends with it, if one does.
  __device__ __forceinline__ void lower(int t, int ended, const float (&u)[kColumns]) {
    float met[radial_down ? S::kSamplesEach : kColumns];
    if constexpr (radial_down) {
      exchange(t % 2, u, met);
    } else {
#pragma unroll
      for (int c = 0; c < kColumns; ++c) met[c] = u[c];
    }
    float along_y[kReach + 1];
    if (!radial_down) load_fours(along_y, taps.down_y[t % down]);
    const auto add = [&](int m, auto& sum) {
      if constexpr (radial_down) {
        add_row<1, down, S::kDownTaps>(taps.down_x[t % down + down * m], met, sum);
      } else {
#pragma unroll
        for (int c = 0; c < kColumns; ++c) sum[c] += along_y[m] * met[c];
      }
    };
    if (t % down == 0) {
      auto& sum = sums[t / down % kReach];
      add(kReach, sum);
      if (unsigned(ended) < unsigned(rows_out)) emit(t / down % 2, sum);
#pragma unroll
      for (auto& value : sum) value = 0;
    }
#pragma unroll
    for (int m = 0; m < kReach; ++m) add(m, sums[(t / down + kReach - m) % kReach]);
  }

  // After half a round, so that sums are where code without indices looks for them.
  __device__ __forceinline__ void turn_sums() {
#pragma unroll
    for (int k = 0; k < kReach / 2; ++k) {
#pragma unroll
      for (int i = 0; i < int(sizeof(sums[k]) / sizeof(float)); ++i) {
        const float value = sums[k][i];
        sums[k][i] = sums[k + kReach / 2][i];
        sums[k + kReach / 2][i] = value;
      }
    }
  }

  // Each lane gives its columns, and gets those that its outputs meet.
  template <int count>
  __device__ __forceinline__ void exchange(int turn, const float (&given)[kColumns], float (&met)[count]) {
    store<kColumns>(&exchanged[turn][lane * kColumns], given);
    __syncwarp();
    load_fours(met, &exchanged[turn][lane * kColumns]);
  }

  template <int count>
  __device__ __forceinline__ void emit(int turn, const float (&sum)[count]) {
    float values[S::kEach] = {};
    if constexpr (radial_down) {
#pragma unroll
      for (int i = 0; i < S::kEach; ++i) values[i] = sum[i];
    } else {
      float met[S::kSamplesEach];
      exchange(turn, sum, met);
      add_row<1, down, S::kDownTaps>(taps.down_x[0], met, values);
    }
    if (pairs && S::kEach <= columns_out) {
      store<S::kEach>(out, values);
    } else {
#pragma unroll
      for (int i = 0; i < S::kEach; ++i) {
        if (i < columns_out) out[i] = narrow<T>(values[i]);
      }
    }
    out += a.x_axis.out;
  }
};

// Grid: all strips, four a block, side by side first. `pairs`: rows of outputs start on whole vectors.
template <int up, int down, bool radial_up, bool radial_down, Slope slope, typename T>
__global__ void __launch_bounds__(kLreluWarps* kLanes, radial_up ? 3 : 4)
    lrelu_strip_kernel(const LreluArguments<T> a, const LreluPlan plan, const bool pairs) {
  using S = LreluShape<up, down>;
  using Warp = LreluWarp<up, down, radial_up, radial_down, slope, T>;
  __shared__ typename Warp::Taps taps;
  alignas(16) __shared__ float pixels[kLreluWarps][2][S::kLoads * kLanes];
  alignas(16) __shared__ float exchanged[kLreluWarps][2][S::kPitch];
  fill_taps(taps, a, plan);
  __syncthreads();
  const int warp = threadIdx.x / kLanes, lane = threadIdx.x % kLanes;
  const int64_t strip = int64_t(blockIdx.x) * kLreluWarps + warp;
  const int64_t plane = strip / plan.tiles / plan.strips;
  if (plane >= a.planes) return;
  const int tile = strip % plan.tiles, ox = tile * S::kOutWidth, oy = strip / plan.tiles % plan.strips * plan.rows;

  Warp w = {a, taps, pixels[warp], exchanged[warp], lane};  // the rest, sums too, is 0
  const int first_pixel = (ox * down - a.x_axis.before - plan.lead_x) / up + lane;
  w.y = (oy * down - plan.lead_y - a.y.before - 1) / up + 1;
#pragma unroll
  for (int l = 0; l < S::kLoads; ++l) {
    w.inside[l] = unsigned(first_pixel + l * kLanes) < unsigned(a.x_axis.in);
  }
  w.line = a.x + (plane * a.y.in + w.y) * a.x_axis.in + first_pixel;
  w.bias = a.bias ? a.bias[plane % a.channels] : 0.0f;
  w.row = -plan.lead_y;
  w.column = ox * down + lane * kColumns;
  w.rows_out = min(plan.rows, a.y.out - oy);
  w.columns_out = min(a.x_axis.out - ox, S::kOutWidth) - lane * S::kEach;
  w.out = a.out + (plane * a.y.out + oy) * a.x_axis.out + ox + lane * S::kEach;
  w.pairs = pairs;
  int rows = down * (w.rows_out - 1 + plan.skipped) + S::kDownTaps + 1;  // of samples
  if constexpr (slope == Slope::of_value) {
    // The last strip and tile have those that no output meets, too.
    if (a.kept) w.rows_kept = oy + plan.rows >= a.y.out ? a.y.samples - oy * down : plan.rows * down;
    const int columns = tile == plan.tiles - 1 ? a.x_axis.samples - ox * down : S::kOutWidth * down;
    w.columns_kept = columns - lane * kColumns;
    const int64_t row = plane * ceil_div(a.y.samples, kSignRows) + oy * down / kSignRows;
    w.kept = a.kept + row * a.x_axis.samples + w.column;
    rows = max(rows, w.rows_kept + plan.lead_y);
  } else {
    w.signed_row = oy * down + a.y.offset;
    const int at = w.signed_row + w.row, rest = at & 3;
    const int64_t row = plane * ceil_div(a.y.signed_samples, kSignRows) + (at - rest) / kSignRows;
    w.signs = a.signs + row * a.x_axis.signed_samples + w.column + a.x_axis.offset;
    w.fetch_marks(at - rest);
    w.marks = w.next_marks;
    if (rest != 0) w.fetch_marks(at - rest + kSignRows);
  }

  w.fetch();
#pragma unroll
  for (int r = 0; r < kReach - 1; ++r) w.advance(r, r % 2);
  for (int done = 0;; done += kReach) {
#pragma unroll
    for (int i = 0; i < kReach; ++i) {
      if ((done + i) * up >= rows) return;
      w.advance((i + kReach - 1) % kReach, (i + 1) % 2);
#pragma unroll
      for (int g = 0; g < up; ++g) {
        float u[kColumns];
        w.sample(i % kReach, g, u);
        w.activate(u);
        const int t = i * up + g;
        w.lower(t, (done * up + t) / down - kReach - plan.skipped, u);
      }
    }
    if constexpr (S::kBegun % kReach != 0) w.turn_sums();
  }
}

}  // namespace hrgan
