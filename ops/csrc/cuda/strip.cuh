// A separable filter down a strip of outputs, kept in the registers of one thread.
#pragma once

#include "device.cuh"

namespace hrgan {

// Output o of an axis is the sum over j of taps[j] * in[(o * down + j) / up] where that division leaves no rest:
// the other products are with stuffed zeros. Whoever calls picks `in` so that output 0 starts at input 0.
template <int up, int down, int n_taps>
struct Axis {
  __host__ __device__ static constexpr bool meets(int o, int j) { return (o * down + j) % up == 0; }
  __host__ __device__ static constexpr int input(int o, int j) { return (o * down + j) / up; }
  __host__ __device__ static constexpr int inputs(int outputs) { return input(outputs - 1, n_taps - 1) + 1; }
  __host__ __device__ static constexpr int last_input(int o) { return input(o, n_taps - 1); }
  static constexpr int kWindow = (n_taps + up - 1) / up;  // input rows that one output row needs
};

// The first `count` outputs of a row; `lanes`: independent values side by side (the channels of a vector).
template <int up, int down, int n_taps, int inputs, int count, int lanes, typename acc>
__device__ inline void filter_row(const acc (&taps)[n_taps], const acc (&in)[inputs][lanes],
                                  acc (&out)[count][lanes]) {
  using A = Axis<up, down, n_taps>;
#pragma unroll
  for (int o = 0; o < count; ++o) {
#pragma unroll
    for (int l = 0; l < lanes; ++l) {
      acc sum = 0;
#pragma unroll
      for (int j = 0; j < n_taps; ++j) {
        if (A::meets(o, j)) sum += taps[j] * in[A::input(o, j)][l];
      }
      out[o][l] = sum;
    }
  }
}

// Output row y of rows that were filtered along x; input row r lies in window[r % kWindow].
template <int up, int down, int n_taps, int window_rows, int columns, int lanes, typename acc>
__device__ inline void filter_column(const acc (&taps)[n_taps], const acc (&window)[window_rows][columns][lanes],
                                     int y, acc (&out)[columns][lanes]) {
  using A = Axis<up, down, n_taps>;
#pragma unroll
  for (int o = 0; o < columns; ++o) {
#pragma unroll
    for (int l = 0; l < lanes; ++l) {
      acc sum = 0;
#pragma unroll
      for (int j = 0; j < n_taps; ++j) {
        if (A::meets(y, j)) sum += taps[j] * window[A::input(y, j) % A::kWindow][o][l];
      }
      out[o][l] = sum;
    }
  }
}

// `rows` x `columns` outputs. fetch(r, in): row r of inputs. emit(y, out): row y of outputs. Each input row is
// filtered along x once, and kept as long as outputs need it.
template <int up, int down, int n_taps, int rows, int columns, int lanes, typename acc, class Fetch, class Emit>
__device__ inline void filter_strip(const acc (&taps_y)[n_taps], const acc (&taps_x)[n_taps], Fetch fetch, Emit emit) {
  using A = Axis<up, down, n_taps>;
  constexpr int kInputs = A::inputs(columns), kInputRows = A::inputs(rows);
  acc window[A::kWindow][columns][lanes];
#pragma unroll
  for (int r = 0; r < kInputRows; ++r) {
    acc in[kInputs][lanes];
    fetch(r, in);
    filter_row<up, down>(taps_x, in, window[r % A::kWindow]);
#pragma unroll
    for (int y = 0; y < rows; ++y) {
      if (A::last_input(y) != r) continue;
      acc out[columns][lanes];
      filter_column<up, down>(taps_y, window, y, out);
      emit(y, out);
    }
  }
}

// The same down a strip of any length, each row fetched while the one before it is filtered. fetch(row): the
// next input row as it lies in memory. values(row, in): its values. emit(y, out, row): row y of outputs, which
// ends with this input row.
template <int up, int down, int n_taps, int columns, int lanes, class Row, typename acc, class Fetch, class Values,
          class Emit>
__device__ inline void filter_down(const acc (&taps_y)[n_taps], const acc (&taps_x)[n_taps], int rows, Fetch fetch,
                                   Values values, Emit emit) {
  using A = Axis<up, down, n_taps>;
  constexpr int kPeriod = A::kWindow * up / down;  // outputs, after which the window is where it was
  static_assert(A::kWindow % down == 0 && n_taps % up == 0);
  acc window[A::kWindow][columns][lanes];
  Row row, next;
  fetch(next);
  const auto advance = [&](acc (&to)[columns][lanes]) {
    row = next;
    fetch(next);
    acc in[A::inputs(columns)][lanes];
    values(row, in);
    filter_row<up, down>(taps_x, in, to);
  };
#pragma unroll
  for (int r = 0; r < A::kWindow - 1; ++r) advance(window[r]);
  for (int done = 0;; done += kPeriod) {
#pragma unroll
    for (int i = 0; i < A::kWindow; ++i) {
      const int last = i * up / down, first = last - (up - 1);  // of the outputs that end with this row
      if (done + first >= rows) return;
      advance(window[(A::kWindow - 1 + i) % A::kWindow]);
      if (i % down != 0) continue;
#pragma unroll
      for (int y = first; y <= last; ++y) {
        if (up > 1 && (done + y < 0 || done + y >= rows)) continue;
        acc out[columns][lanes];
        filter_column<up, down>(taps_y, window, y + kPeriod, out);
        emit(done + y, out, row);
      }
    }
  }
}

}  // namespace hrgan
