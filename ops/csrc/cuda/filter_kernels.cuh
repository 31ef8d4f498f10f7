// upfirdn2d in three forms: one for everything, and two for separable filters of few taps.
#pragma once

#include "filter_arguments.cuh"
#include "strip.cuh"

namespace hrgan {

constexpr int kFilterThreads = 256;  // of any_filter_kernel
constexpr int kStripThreads = 128;   // of the other two, whose threads hold many outputs

// Any filter, factors and layout: a thread an output, in the order of memory. Index counts all outputs.
template <typename Index, typename T, class Epilogue>
__global__ void __launch_bounds__(kFilterThreads)
    any_filter_kernel(const FilterArguments<T> a, const Epilogue epilogue) {
  using acc = compute_t<T>;
  const Index height = a.y.out, width = a.x_axis.out, channels = a.channels;
  const Index total = Index(a.samples) * channels * height * width;
  const Index stride = gridDim.x * blockDim.x;
  for (Index at = blockIdx.x * blockDim.x + threadIdx.x; at < total; at += stride) {
    Index rest = at;
    const Index c_fast = a.channels_last ? rest % channels : 0;
    rest = a.channels_last ? rest / channels : rest;
    const int ox = rest % width;
    rest /= width;
    const int oy = rest % height;
    rest /= height;
    const Index c = a.channels_last ? c_fast : rest % channels;
    const int64_t n = a.channels_last ? rest : rest / channels;
    const int64_t step = a.channels_last ? channels : 1;
    const T* image = a.x + n * channels * a.y.in * a.x_axis.in +
                     (a.channels_last ? int64_t(c) : int64_t(c) * a.y.in * a.x_axis.in);
    // Only taps that meet a pixel: the first one at or after the border, then every up-th.
    const int base_y = oy * a.y.down - a.y.before, base_x = ox * a.x_axis.down - a.x_axis.before;
    const int before_y = max(base_y, 0) % a.y.up, before_x = max(base_x, 0) % a.x_axis.up;
    const int first_y = max(-base_y, 0) + (before_y ? a.y.up - before_y : 0);
    const int first_x = max(-base_x, 0) + (before_x ? a.x_axis.up - before_x : 0);
    acc sum = 0;
    for (int j = first_y, iy = (base_y + first_y) / a.y.up; j < a.y.n_taps && iy < a.y.in; j += a.y.up, ++iy) {
      const T* line = image + int64_t(iy) * a.x_axis.in * step;
      const int row = tap_index(j, a.y.n_taps, a.flip);
      const acc* taps = a.separable ? a.f : a.f + row * a.x_axis.n_taps;
      acc line_sum = 0;
      for (int k = first_x, ix = (base_x + first_x) / a.x_axis.up; k < a.x_axis.n_taps && ix < a.x_axis.in;
           k += a.x_axis.up, ++ix) {
        line_sum += taps[tap_index(k, a.x_axis.n_taps, a.flip)] * widen(line[ix * step]);
      }
      sum += a.separable ? a.f[row] * line_sum : line_sum;
    }
    const acc value = epilogue.apply(epilogue.channel(n, c), epilogue.pixel(n, int64_t(oy) * width + ox), sum * a.gain);
    a.out[at] = narrow<T>(value);
  }
}

// The taps of one axis in registers. Zeros before them make the first output of a strip meet a pixel and not
// a stuffed zero; zeros after them fill the template's count.
template <int n, typename T>
__device__ inline void load_taps(const FilterArguments<T>& a, const FilterAxis& axis, compute_t<T> gain,
                                 compute_t<T> (&taps)[n]) {
  const int lead = axis.before % axis.up == 0 ? 0 : 1;
#pragma unroll
  for (int j = 0; j < n; ++j) {
    const int tap = j - lead;
    taps[j] = tap >= 0 && tap < axis.n_taps ? gain * a.f[tap_index(tap, axis.n_taps, a.flip)] : compute_t<T>(0);
  }
}

// The input that output `o` of an axis, a multiple of up, starts at. Exact after load_taps' leading zero.
__device__ inline int first_input(const FilterAxis& axis, int o) {
  const int lead = axis.before % axis.up == 0 ? 0 : 1;
  return (o * axis.down - axis.before - lead) / axis.up;
}

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

// Rows of a plane from (top, left) on, zeros outside the image. Two-byte pixels are read in pairs that are
// aligned in memory, since rows of odd width are not.
template <int height, int pitch, typename T>
__device__ inline void load_tile(const T* x, int64_t plane, const FilterAxis& y, const FilterAxis& x_axis, int top,
                                 int left, int thread, int threads, compute_t<T> (&tile)[height][pitch]) {
  using acc = compute_t<T>;
  constexpr int kGroup = sizeof(T) == 2 ? 2 : 1, kGroups = pitch / kGroup + kGroup - 1, kBatch = 4;
  const int64_t origin = plane * y.in * x_axis.in;
  for (int first = thread; first < height * kGroups; first += threads * kBatch) {
    acc values[kBatch][kGroup];
    int columns[kBatch];
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      const int i = first + b * threads, row = top + i / kGroups;
      const int64_t line = origin + int64_t(row) * x_axis.in;
      const int odd = kGroup == 2 ? int((line + left) & 1) : 0;
      const int column = columns[b] = i % kGroups * kGroup - odd;
      const bool live = i < height * kGroups && row >= 0 && row < y.in;
      const int ix = left + column;
#pragma unroll
      for (int g = 0; g < kGroup; ++g) values[b][g] = 0;
      if (live && ix >= 0 && ix + kGroup <= x_axis.in) {
        load<kGroup>(values[b], x + line + ix);
      } else if (live) {
#pragma unroll
        for (int g = 0; g < kGroup; ++g) {
          if (ix + g >= 0 && ix + g < x_axis.in) values[b][g] = widen(x[line + ix + g]);
        }
      }
    }
#pragma unroll
    for (int b = 0; b < kBatch; ++b) {
      const int i = first + b * threads;
      if (i >= height * kGroups) continue;
#pragma unroll
      for (int g = 0; g < kGroup; ++g) {
        const int column = columns[b] + g;
        if (column >= 0 && column < pitch) tile[i / kGroups][column] = values[b][g];
      }
    }
  }
}

// Contiguous images; a block computes a tile of one plane, or of several if they are small. Grid: tiles of a
// plane times groups of planes.
template <int up, int down, int n_taps, int threads_x, int threads_y, typename T, class Epilogue>
__global__ void __launch_bounds__(kStripThreads)
    tile_kernel(const FilterArguments<T> a, const Epilogue epilogue, const bool vector_stores) {
  using acc = compute_t<T>;
  using Shape = Tile<up, down, n_taps, threads_x, threads_y>;
  alignas(16) __shared__ acc tiles[Shape::kPlanes][Shape::kHeight][Shape::kPitch];
  const uint32_t tiles_x = (a.x_axis.out + Shape::kOutWidth - 1) / Shape::kOutWidth;
  const uint32_t tiles_y = (a.y.out + Shape::kOutHeight - 1) / Shape::kOutHeight;
  const int tile_x = blockIdx.x % tiles_x * Shape::kOutWidth;
  const int tile_y = blockIdx.x / tiles_x % tiles_y * Shape::kOutHeight;
  const int thread = threadIdx.x % (threads_x * threads_y), in_block = threadIdx.x / (threads_x * threads_y);
  const int64_t plane = int64_t(blockIdx.x / (tiles_x * tiles_y)) * Shape::kPlanes + in_block;
  const bool live = plane < a.samples * a.channels;
  if (live) {
    load_tile(a.x, plane, a.y, a.x_axis, first_input(a.y, tile_y), first_input(a.x_axis, tile_x), thread,
              threads_x * threads_y, tiles[in_block]);
  }
  __syncthreads();
  const int column = thread % threads_x, strip = thread / threads_x;
  const int ox = tile_x + column * Shape::kColumns, oy = tile_y + strip * Shape::kRows;
  if (!live || ox >= a.x_axis.out || oy >= a.y.out) return;

  acc taps_y[n_taps], taps_x[n_taps];
  load_taps(a, a.y, acc(1), taps_y);
  load_taps(a, a.x_axis, a.gain, taps_x);
  const int64_t n = plane / a.channels;
  const auto channel = epilogue.channel(n, plane % a.channels);
  filter_strip<up, down, n_taps, Shape::kRows, Shape::kColumns, 1>(
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
        const int64_t pixel = int64_t(oy + r) * a.x_axis.out + ox;
        T* to = a.out + plane * a.y.out * a.x_axis.out + pixel;
        acc values[Shape::kColumns];
#pragma unroll
        for (int i = 0; i < Shape::kColumns; ++i) {
          const acc noise = ox + i < a.x_axis.out ? epilogue.pixel(n, pixel + i) : acc(0);
          values[i] = epilogue.apply(channel, noise, out[i][0]);
        }
        if (vector_stores && ox + Shape::kColumns <= a.x_axis.out) {
          store<Shape::kColumns>(to, values);
        } else {
#pragma unroll
          for (int i = 0; i < Shape::kColumns; ++i) {
            if (ox + i < a.x_axis.out) to[i] = narrow<T>(values[i]);
          }
        }
      });
}

// Channels-last images: a thread owns a vector of channels and a strip of outputs, down which it reuses rows.
// `lanes` vectors lie side by side in a block. Grid (chunks of channels, columns and strips as one, 1, N).
template <int up, int down, int n_taps, int vec, typename T, class Epilogue>
__global__ void __launch_bounds__(kStripThreads)
    channel_strip_kernel(const FilterArguments<T> a, const Epilogue epilogue, const int lanes) {
  using acc = compute_t<T>;
  constexpr int kColumns = up, kRows = down == 2 ? 4 : 8;
  const int per_block = kStripThreads / lanes * kColumns;
  const uint32_t chunks = (a.channels / vec + lanes - 1) / lanes;
  const uint32_t blocks_x = (a.x_axis.out + per_block - 1) / per_block;
  const int64_t c = int64_t(blockIdx.x % chunks * lanes + threadIdx.x % lanes) * vec;
  const int ox = blockIdx.x / chunks % blocks_x * per_block + threadIdx.x / lanes * kColumns;
  const int oy = blockIdx.x / (chunks * blocks_x) * kRows;
  const int64_t n = blockIdx.z;
  if (c >= a.channels || ox >= a.x_axis.out) return;

  acc taps_y[n_taps], taps_x[n_taps];
  load_taps(a, a.y, acc(1), taps_y);
  load_taps(a, a.x_axis, a.gain, taps_x);
  typename Epilogue::Channel channel[vec];
#pragma unroll
  for (int i = 0; i < vec; ++i) channel[i] = epilogue.channel(n, c + i);
  const int top = first_input(a.y, oy), left = first_input(a.x_axis, ox);
  const T* image = a.x + n * a.y.in * a.x_axis.in * a.channels + c;
  T* out_image = a.out + n * a.y.out * a.x_axis.out * a.channels + c;
  filter_strip<up, down, n_taps, kRows, kColumns, vec>(
      taps_y, taps_x,
      [&](int r, auto& in) {
        constexpr int kNeeded = sizeof(in) / sizeof(in[0]);
        const int iy = top + r;
#pragma unroll
        for (int k = 0; k < kNeeded; ++k) {
          const int ix = left + k;
          if (iy >= 0 && iy < a.y.in && ix >= 0 && ix < a.x_axis.in) {
            load<vec>(in[k], image + (int64_t(iy) * a.x_axis.in + ix) * a.channels);
          } else {
#pragma unroll
            for (int i = 0; i < vec; ++i) in[k][i] = 0;
          }
        }
      },
      [&](int r, auto& out) {
        if (oy + r >= a.y.out) return;
#pragma unroll
        for (int o = 0; o < kColumns; ++o) {
          if (ox + o >= a.x_axis.out) continue;
          const int64_t pixel = int64_t(oy + r) * a.x_axis.out + ox + o;
          const acc noise = epilogue.pixel(n, pixel);
          acc values[vec];
#pragma unroll
          for (int i = 0; i < vec; ++i) values[i] = epilogue.apply(channel[i], noise, out[o][i]);
          store<vec>(out_image + pixel * a.channels, values);
        }
      });
}

}  // namespace hrgan
