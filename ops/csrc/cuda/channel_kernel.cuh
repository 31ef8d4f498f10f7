// Separable filters of few taps over channels-last images: a thread goes down a strip of them.
#pragma once

#include "filter_kernels.cuh"
#include "strip.cuh"

namespace hrgan {

// The input rows under a strip, one after the other: `columns` pixels from `left` on, a vector of channels each.
template <int columns, int vec, typename T>
struct ChannelRows {
  const T* line;  // of the next row; may lie outside the image, and is not read there
  int row, end;   // the next row; the first one that lies below the image or is not needed
  int left, width;
  uint32_t step;  // elements between pixels
  bool inside;    // all columns

  __device__ ChannelRows(const T* image, int top, int end, int left, int width, uint32_t step)
      : line(image + (int64_t(top) * width + left) * step), row(top), end(end), left(left), width(width), step(step),
        inside(left >= 0 && left + columns <= width) {}

  __device__ Packed<T, vec> at(int k) const { return packed_at<vec>(line + k * step); }

  __device__ void fetch(Packed<T, vec> (&to)[columns]) {
    const bool live = row >= 0 && row < end;
    if (live && inside) {
#pragma unroll
      for (int k = 0; k < columns; ++k) to[k] = at(k);
    } else {
#pragma unroll
      for (int k = 0; k < columns; ++k) {
        to[k] = {};
        if (live && left + k >= 0 && left + k < width) to[k] = at(k);
      }
    }
    ++row;
    line += int64_t(width) * step;
  }
};

// `lanes` vectors of channels lie side by side in a block, which covers strips of `rows` outputs, a multiple of
// up. Grid (chunks of channels, columns and strips as one, 1, N).
template <int up, int down, int n_taps, int vec, typename T, class Epilogue>
__global__ void __launch_bounds__(kStripThreads, n_taps <= 4 ? 4 : 3)
    channel_strip_kernel(const FilterArguments<T> a, const Epilogue epilogue, const int lanes, const int strip) {
  using acc = compute_t<T>;
  using A = Axis<up, down, n_taps>;
  constexpr int kColumns = up, kInputs = A::inputs(kColumns);
  struct Row {
    Packed<T, vec> pixels[kInputs];
    acc noise;
  };
  const int per_block = kStripThreads / lanes * kColumns;
  const uint32_t chunks = (a.channels / vec + lanes - 1) / lanes;
  const uint32_t blocks_x = (a.x_axis.out + per_block - 1) / per_block;
  const int64_t c = int64_t(blockIdx.x % chunks * lanes + threadIdx.x % lanes) * vec;
  const int ox = blockIdx.x / chunks % blocks_x * per_block + threadIdx.x / lanes * kColumns;
  const int oy = blockIdx.x / (chunks * blocks_x) * strip, rows = min(strip, a.y.out - oy);
  const int64_t n = blockIdx.z;
  if (c >= a.channels || ox >= a.x_axis.out) return;

  acc taps_y[n_taps], taps_x[n_taps];
  load_taps(a, a.y, acc(1), taps_y);
  load_taps(a, a.x_axis, a.gain, taps_x);
  typename Epilogue::Channel channel[vec];
#pragma unroll
  for (int i = 0; i < vec; ++i) channel[i] = epilogue.channel(n, c + i);
  const int top = first_input(a.y, oy), needed = ((rows - 1) * down + n_taps - 1) / up + 1;
  ChannelRows<kInputs, vec, T> in_rows(a.x + n * a.y.in * a.x_axis.in * a.channels + c, top,
                                       min(a.y.in, top + needed), first_input(a.x_axis, ox), a.x_axis.in,
                                       uint32_t(a.channels));
  const int64_t first = int64_t(oy) * a.x_axis.out + ox;
  T* line = a.out + (n * a.y.out * a.x_axis.out + first) * a.channels + c;
  int y = 1 - A::kWindow;  // the output row that ends with the next input row, of a blur
  filter_down<up, down, n_taps, kColumns, vec, Row>(
      taps_y, taps_x, rows,
      [&](Row& row) {
        in_rows.fetch(row.pixels);
        row.noise = 0;
        if constexpr (Epilogue::kPixels) {
          static_assert(up == 1 && down == 1);
          if (y >= 0 && y < rows) row.noise = epilogue.pixel(n, first + int64_t(y) * a.x_axis.out);
          ++y;
        }
      },
      [&](const Row& row, auto& in) {
#pragma unroll
        for (int k = 0; k < kInputs; ++k) unpack(in[k], row.pixels[k]);
      },
      [&](int, auto& sums, const Row& row) {
#pragma unroll
        for (int o = 0; o < kColumns; ++o) {
          if (kColumns > 1 && ox + o >= a.x_axis.out) continue;
          acc values[vec];
#pragma unroll
          for (int i = 0; i < vec; ++i) values[i] = epilogue.apply(channel[i], row.noise, sums[o][i]);
          store<vec>(line + o * a.channels, values);
        }
        line += a.x_axis.out * a.channels;
      });
}

}  // namespace hrgan
