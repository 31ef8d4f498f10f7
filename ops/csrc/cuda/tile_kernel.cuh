// Separable filters of few taps over contiguous images: a block computes a tile in shared memory.
#pragma once

#include "filter_kernels.cuh"
#include "strip.cuh"

namespace hrgan {

// How outputs are shared out in tile_kernel: each thread starts four inputs after its neighbour.
template <int up, int down, int n_taps, int threads_x, int threads_y>
struct Tile {
  using A = Axis<up, down, n_taps>;
  static constexpr int kColumns = 4 * up / down, kRows = down == 2 ? 4 : 8;  // outputs a thread
  static constexpr int kOutWidth = threads_x * kColumns, kOutHeight = threads_y * kRows;
  static constexpr int kInputs = (A::inputs(kColumns) + 3) / 4 * 4;  // a thread's row, in vectors of four
  static constexpr int kPitch = 4 * (threads_x - 1) + kInputs;
  static constexpr int kInputRows = kRows * down / up;  // from one strip to the next
  static constexpr int kHeight = kInputRows * (threads_y - 1) + A::inputs(kRows);
  static constexpr int kPlanes = kStripThreads / (threads_x * threads_y);  // small images: several a block
};

// Rows of a plane from (top, left) on, zeros outside the image: a row a warp, so that what a lane needs of a
// column is worked out once. Two-byte pixels are read in pairs that are aligned in memory, since rows of odd
// width are not. Wider reads would be stored with lanes that many words apart, in the same banks.
template <int threads, int height, int pitch, typename T>
__device__ inline void load_tile(const T* plane, const FilterAxis& y, const FilterAxis& x, int top, int left,
                                 int thread, compute_t<T> (&tile)[height][pitch]) {
  using acc = compute_t<T>;
  constexpr int kGroup = sizeof(T) == 2 ? 2 : 1, kGroups = pitch / kGroup + kGroup - 1, kBatch = 4;
  constexpr int kLanes = threads < 32 ? threads : 32, kWarps = threads / kLanes;
  constexpr int kSteps = (kGroups + kLanes - 1) / kLanes;
  const int lane = thread % kLanes;
  for (int first = thread / kLanes; first < height; first += kWarps * kBatch) {
    acc values[kBatch][kSteps][kGroup];
    int odd[kBatch];
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      const int row = first + b * kWarps, iy = top + row;
      const T* line = plane + int64_t(iy) * x.in + left;
      odd[b] = kGroup == 2 ? int(reinterpret_cast<uintptr_t>(line) / sizeof(T) & 1) : 0;
      const bool live = row < height && iy >= 0 && iy < y.in;
#pragma unroll
      for (int k = 0; k < kSteps; ++k) {
        const int column = (lane + k * kLanes) * kGroup - odd[b], ix = left + column;
#pragma unroll
        for (int g = 0; g < kGroup; ++g) values[b][k][g] = 0;
        if (!live || column >= pitch) continue;
        if (ix >= 0 && ix + kGroup <= x.in) {
          load<kGroup>(values[b][k], line + column);
        } else if (kGroup > 1) {
#pragma unroll
          for (int g = 0; g < kGroup; ++g) {
            if (ix + g >= 0 && ix + g < x.in) values[b][k][g] = widen(line[column + g]);
          }
        }
      }
    }
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      const int row = first + b * kWarps;
      if (row >= height) break;
#pragma unroll
      for (int k = 0; k < kSteps; ++k) {
#pragma unroll
        for (int g = 0; g < kGroup; ++g) {
          const int column = (lane + k * kLanes) * kGroup - odd[b] + g;
          if (column >= 0 && column < pitch) tile[row][column] = values[b][k][g];
        }
      }
    }
  }
}

// Contiguous images; a block computes a tile of one plane, or of several if they are small. Grid: tiles of a
// plane times groups of planes. `vectors`: rows of outputs and of noise start on 16 bytes.
template <int up, int down, int n_taps, int threads_x, int threads_y, typename T, class Epilogue>
__global__ void __launch_bounds__(kStripThreads)
    tile_kernel(const FilterArguments<T> a, const Epilogue epilogue, const bool vectors) {
  using acc = compute_t<T>;
  using Shape = Tile<up, down, n_taps, threads_x, threads_y>;
  constexpr int kThreads = threads_x * threads_y, kColumns = Shape::kColumns;
  alignas(16) __shared__ acc tiles[Shape::kPlanes][Shape::kHeight][Shape::kPitch];
  const uint32_t tiles_x = (a.x_axis.out + Shape::kOutWidth - 1) / Shape::kOutWidth;
  const uint32_t tiles_y = (a.y.out + Shape::kOutHeight - 1) / Shape::kOutHeight;
  const int tile_x = blockIdx.x % tiles_x * Shape::kOutWidth;
  const int tile_y = blockIdx.x / tiles_x % tiles_y * Shape::kOutHeight;
  const int thread = threadIdx.x % kThreads, in_block = threadIdx.x / kThreads;
  const int64_t plane = int64_t(blockIdx.x / (tiles_x * tiles_y)) * Shape::kPlanes + in_block;
  const bool live = plane < a.samples * a.channels;
  if (live) {
    const T* image = a.x + plane * a.y.in * a.x_axis.in;
    const int top = first_input(a.y, tile_y), left = first_input(a.x_axis, tile_x);
    load_tile<kThreads>(image, a.y, a.x_axis, top, left, thread, tiles[in_block]);
  }
  __syncthreads();
  const int column = thread % threads_x, strip = thread / threads_x;
  const int ox = tile_x + column * kColumns, oy = tile_y + strip * Shape::kRows;
  if (!live || ox >= a.x_axis.out || oy >= a.y.out) return;

  acc taps_y[n_taps], taps_x[n_taps], noise[kColumns];
  load_taps(a, a.y, acc(1), taps_y);
  load_taps(a, a.x_axis, a.gain, taps_x);
  const int64_t n = plane / a.channels, first = int64_t(oy) * a.x_axis.out + ox;
  const auto channel = epilogue.channel(n, plane % a.channels);
  T* out_image = a.out + plane * a.y.out * a.x_axis.out + first;
  const bool whole = vectors && ox + kColumns <= a.x_axis.out;
  filter_strip<up, down, n_taps, Shape::kRows, kColumns, 1>(
      taps_y, taps_x,
      [&](int r, auto& in) {
        const acc* line = &tiles[in_block][strip * Shape::kInputRows + r][4 * column];
        constexpr int kNeeded = sizeof(in) / sizeof(in[0]);
#pragma unroll
        for (int v = 0; v < Shape::kInputs; v += 4) {
          const auto four = *reinterpret_cast<const Vector<acc, 4>*>(line + v);
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            if (v + i < kNeeded) in[v + i][0] = four.values[i];
          }
        }
      },
      [&](int r, auto& out) {
        if (oy + r >= a.y.out) return;
        epilogue.pixels(n, first + int64_t(r) * a.x_axis.out, whole, a.x_axis.out - ox, noise);
        T* to = out_image + int64_t(r) * a.x_axis.out;
        acc values[kColumns];
#pragma unroll
        for (int i = 0; i < kColumns; ++i) values[i] = epilogue.apply(channel, noise[i], out[i][0]);
        if (whole) {
          store<kColumns>(to, values);
        } else {
#pragma unroll
          for (int i = 0; i < kColumns; ++i) {
            if (ox + i < a.x_axis.out) to[i] = narrow<T>(values[i]);
          }
        }
      });
}

}  // namespace hrgan
