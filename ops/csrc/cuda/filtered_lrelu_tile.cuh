// filtered_lrelu for any filters within bounds: a block computes a tile, and keeps its samples in shared memory.
#pragma once

#include "filtered_lrelu_arguments.cuh"

namespace hrgan {

constexpr int kTileThreads = 256;
// Enough for 4 x 4 outputs at any rates and filters, in doubles.
template <typename acc>
constexpr int kTileValues = 48000 / int(sizeof(acc));

// How much of each image a block holds.
struct LreluTile {
  int width, height;  // outputs; widths are multiples of 4
  int samples_x, samples_y, pixels_y;
};

// Samples that `outputs` meet, with those after the last output that no output meets.
__host__ __device__ inline int samples_met(const LreluAxis& axis, int outputs) {
  return (outputs - 1) * axis.down + axis.down_taps + axis.down - 1;
}
__host__ __device__ inline int pixels_met(const LreluAxis& axis, int samples) {
  return (samples + axis.up_taps - 2) / axis.up + 2;
}

// The first pixel at or after stuffed place `at`, and how many taps lie before it.
__device__ inline int pixel_from(int at, int up, int& taps_before) {
  const int pixel = (at >= 0 ? at + up - 1 : at) / up;
  taps_before = pixel * up - at;
  return pixel;
}

template <Slope slope, typename T>
struct LreluBlock {
  using acc = compute_t<T>;
  const LreluArguments<T>& a;
  const LreluTile& tile;
  int64_t plane;
  int sx, sy;  // the first sample
  int top;     // the first row of pixels

  __device__ acc pixel(int y, int x) const {
    const acc bias = a.bias ? a.bias[plane % a.channels] : acc(0);
    return widen(a.x[(plane * a.y.in + y) * a.x_axis.in + x]) + bias;
  }

  // Sample `s` along x of a row of pixels, by taps from `f` on.
  __device__ acc raised_row(const acc* f, int y, int s) const {
    const LreluAxis& axis = a.x_axis;
    int j;
    acc sum = 0;
    int x = pixel_from(sx + s - axis.before, axis.up, j);
    for (; j < axis.up_taps && x < axis.in; j += axis.up, ++x) {
      if (x >= 0) sum += f[tap_index(j, axis.up_taps, a.flip)] * pixel(y, x);
    }
    return sum * a.up_gain;
  }

  // `rows`: pixels filtered along x, for separable filters.
  __device__ acc raised(const acc* rows, int sample_y, int sample_x) const {
    const LreluAxis& axis = a.y;
    int j;
    acc sum = 0;
    int y = pixel_from(sy + sample_y - axis.before, axis.up, j);
    for (; j < axis.up_taps && y < axis.in; j += axis.up, ++y) {
      if (y < 0) continue;
      const int tap = tap_index(j, axis.up_taps, a.flip);
      sum += a.up_separable ? a.up_filter[tap] * rows[(y - top) * tile.samples_x + sample_x]
                            : raised_row(a.up_filter + tap * a.x_axis.up_taps, y, sample_x);
    }
    return sum * a.up_gain;
  }

  // The sign of a sample that was kept; 0 where there is none.
  __device__ uint32_t sign_of(int sample_y, int sample_x) const {
    const int y = sample_y + a.y.offset, x = sample_x + a.x_axis.offset;
    if (y < 0 || y >= a.y.signed_samples || x < 0 || x >= a.x_axis.signed_samples) return 0;
    const int64_t row = plane * ceil_div(a.y.signed_samples, kSignRows) + y / kSignRows;
    return a.signs[row * a.x_axis.signed_samples + x] >> (2 * (y % kSignRows)) & 3;
  }

  // Four rows of a column of samples, and the byte of their signs.
  __device__ void column_of_four(const acc* rows, acc* samples, int first, int x, bool last_y, bool last_x) const {
    uint32_t byte = 0;
    for (int y = first; y < min(first + kSignRows, tile.samples_y); ++y) {
      acc u = raised(rows, y, x);
      if constexpr (slope == Slope::of_value) {
        uint32_t sign;
        u = activated(a, u, sign);
        if (sy + y < a.y.samples) byte |= sign << (2 * (y - first));
      } else {
        u = sloped(a, u, sign_of(sy + y, sx + x));
      }
      samples[y * tile.samples_x + x] = u;
    }
    const bool mine = (last_y || first < tile.height * a.y.down) && (last_x || x < tile.width * a.x_axis.down);
    if (slope == Slope::of_sign || !a.kept || !mine || sy + first >= a.y.samples || sx + x >= a.x_axis.samples) return;
    const int64_t row = plane * ceil_div(a.y.samples, kSignRows) + (sy + first) / kSignRows;
    a.kept[row * a.x_axis.samples + sx + x] = uint8_t(byte);
  }

  __device__ acc lowered_row(const acc* f, const acc* samples, int y, int ox) const {
    const int n_taps = a.x_axis.down_taps;
    const acc* from = samples + y * tile.samples_x + ox * a.x_axis.down;
    acc sum = 0;
    for (int j = 0; j < n_taps; ++j) sum += f[tap_index(j, n_taps, a.flip)] * from[j];
    return sum;
  }

  // `rows`: samples filtered along x, for separable filters.
  __device__ acc lowered(const acc* rows, const acc* samples, int oy, int ox) const {
    const int n_taps = a.y.down_taps;
    acc sum = 0;
    for (int j = 0; j < n_taps; ++j) {
      const int tap = tap_index(j, n_taps, a.flip), y = oy * a.y.down + j;
      sum += a.down_separable ? a.down_filter[tap] * rows[y * tile.width + ox]
                              : lowered_row(a.down_filter + tap * a.x_axis.down_taps, samples, y, ox);
    }
    return sum;
  }
};

// Grid: tiles of all planes, side by side first, or as many blocks as go over them.
template <Slope slope, typename T>
__global__ void __launch_bounds__(kTileThreads)
    lrelu_tile_kernel(const LreluArguments<T> a, const LreluTile tile) {
  using acc = compute_t<T>;
  alignas(16) __shared__ acc values[kTileValues<acc>];
  acc* samples = values;
  acc* rows = values + tile.samples_y * tile.samples_x;
  const int64_t tiles_x = ceil_div(a.x_axis.out, tile.width), tiles_y = ceil_div(a.y.out, tile.height);
  for (int64_t at = blockIdx.x; at < a.planes * tiles_y * tiles_x; at += gridDim.x) {
    const int ox = at % tiles_x * tile.width, oy = at / tiles_x % tiles_y * tile.height;
    LreluBlock<slope, T> block = {a, tile, at / tiles_x / tiles_y, ox * a.x_axis.down, oy * a.y.down};
    int unused;
    block.top = pixel_from(block.sy - a.y.before, a.y.up, unused);
    if (a.up_separable) {
      for (int i = threadIdx.x; i < tile.pixels_y * tile.samples_x; i += kTileThreads) {
        const int y = block.top + i / tile.samples_x;
        rows[i] = y >= 0 && y < a.y.in ? block.raised_row(a.up_filter, y, i % tile.samples_x) : acc(0);
      }
      __syncthreads();
    }
    const bool last_y = oy + tile.height >= a.y.out, last_x = ox + tile.width >= a.x_axis.out;
    for (int i = threadIdx.x; i < ceil_div(tile.samples_y, kSignRows) * tile.samples_x; i += kTileThreads) {
      block.column_of_four(rows, samples, i / tile.samples_x * kSignRows, i % tile.samples_x, last_y, last_x);
    }
    __syncthreads();
    if (a.down_separable) {
      for (int i = threadIdx.x; i < tile.samples_y * tile.width; i += kTileThreads) {
        rows[i] = block.lowered_row(a.down_filter, samples, i / tile.width, i % tile.width);
      }
      __syncthreads();
    }
    for (int i = threadIdx.x; i < tile.height * tile.width; i += kTileThreads) {
      const int y = oy + i / tile.width, x = ox + i % tile.width;
      if (y >= a.y.out || x >= a.x_axis.out) continue;
      a.out[(block.plane * a.y.out + y) * a.x_axis.out + x] =
          narrow<T>(block.lowered(rows, samples, i / tile.width, i % tile.width));
    }
    __syncthreads();
  }
}

}  // namespace hrgan
