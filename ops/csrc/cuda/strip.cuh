// A separable filter over a strip of `rows` x `columns` outputs, kept in the registers of one thread.
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

// fetch(r, in): row r of inputs. emit(r, out): row r of outputs. `lanes`: independent values side by side (the
// channels of a vector). Each input row is filtered along x once, and kept as long as outputs need it.
template <int up, int down, int n_taps, int rows, int columns, int lanes, typename acc, class Fetch, class Emit>
__device__ inline void filter_strip(const acc (&taps_y)[n_taps], const acc (&taps_x)[n_taps], Fetch fetch, Emit emit) {
  using A = Axis<up, down, n_taps>;
  constexpr int kInputs = A::inputs(columns), kInputRows = A::inputs(rows);
  acc window[A::kWindow][columns][lanes];
#pragma unroll
  for (int r = 0; r < kInputRows; ++r) {
    acc in[kInputs][lanes];
    fetch(r, in);
#pragma unroll
    for (int o = 0; o < columns; ++o) {
#pragma unroll
      for (int l = 0; l < lanes; ++l) {
        acc sum = 0;
#pragma unroll
        for (int j = 0; j < n_taps; ++j) {
          if (A::meets(o, j)) sum += taps_x[j] * in[A::input(o, j)][l];
        }
        window[r % A::kWindow][o][l] = sum;
      }
    }
#pragma unroll
    for (int y = 0; y < rows; ++y) {
      if (A::last_input(y) != r) continue;
      acc out[columns][lanes];
#pragma unroll
      for (int o = 0; o < columns; ++o) {
#pragma unroll
        for (int l = 0; l < lanes; ++l) {
          acc sum = 0;
#pragma unroll
          for (int j = 0; j < n_taps; ++j) {
            if (A::meets(y, j)) sum += taps_y[j] * window[A::input(y, j) % A::kWindow][o][l];
          }
          out[o][l] = sum;
        }
      }
      emit(y, out);
    }
  }
}

}  // namespace hrgan
