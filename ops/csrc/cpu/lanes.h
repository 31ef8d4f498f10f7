// Planes side by side: a vector holds one pixel of as many planes as it has lanes, in either layout of images. So a
// filter along either axis is the same for all lanes, and what is summed lies where vectors begin.
#pragma once

#include <cstring>

#include "images.h"
#include "vectors.h"

namespace hrgan {

// Some planes of a tensor [N, C, rows, columns]: `count` channels of an image, or, contiguous, planes of any.
template <typename T>
struct Planes {
  T* data;
  int64_t channels, rows, columns;
  bool last;             // channels innermost
  int64_t first, count;  // of N * C planes

  // Of `lanes` planes or fewer; groups are numbered.
  static int64_t groups(const Images& im, int64_t lanes) {
    return im.last ? im.n * ((im.c + lanes - 1) / lanes) : (im.n * im.c + lanes - 1) / lanes;
  }
  Planes(T* data, const at::Tensor& x, bool last, int64_t group, int64_t lanes)
      : data(data), channels(x.size(1)), rows(x.size(2)), columns(x.size(3)), last(last) {
    int64_t each = (channels + lanes - 1) / lanes;
    first = last ? group / each * channels + group % each * lanes : group * lanes;
    count = std::min(lanes, last ? channels - group % each * lanes : x.size(0) * channels - first);
  }

  // Channels last: the channels of a pixel.
  T* pixel(int64_t row, int64_t column) const {
    int64_t image = first / channels;
    return data + ((image * rows + row) * columns + column) * channels + first % channels;
  }
  // Contiguous: a row of one plane.
  T* line(int64_t lane, int64_t row) const { return data + ((first + lane) * rows + row) * columns; }
};

// Rows of pixels of several planes, read and written.
template <typename S>
struct Exchange {
  static constexpr int64_t kLanes = Vec<S>::size();
  std::vector<S> lines;  // [lanes][pitch]
  int64_t pitch;

  explicit Exchange(int64_t columns) : pitch((columns + kLanes - 1) / kLanes * kLanes) {
    lines.assign(kLanes * pitch, S(0));
  }

  // Columns from `column` on, plus bias [lanes].
  template <typename T>
  void read(const Planes<T>& from, int64_t row, int64_t column, int64_t columns, const S* bias, S* to) {
    Vec<S> shift = Vec<S>::loadu(bias);
    if (from.last) {
      const T* pixel = from.pixel(row, column);
      auto all = [&](auto lanes) {
        for (int64_t p = 0; p < columns; ++p) {
          (load(pixel + p * from.channels, lanes) + shift).store(to + p * kLanes);
        }
      };
      from.count == kLanes ? all(std::integral_constant<int64_t, kLanes>{}) : all(from.count);
      return;
    }
    for (int64_t lane = 0; lane < from.count; ++lane) {
      const T* line = from.line(lane, row) + column;
      Vec<S> lifted(bias[lane]);
      steps<S>(columns, [&](int64_t p, auto lanes) {
        store(load(line + p, lanes) + lifted, lines.data() + lane * pitch + p, lanes);
      });
    }
    at::vec::transpose_mxn<S>(lines.data(), pitch, to, kLanes, kLanes, columns);
  }

  template <typename T>
  void write(const S* from, const Planes<T>& to, int64_t row, int64_t column, int64_t columns) {
    if (to.last) {
      T* pixel = to.pixel(row, column);
      auto all = [&](auto lanes) {
        for (int64_t p = 0; p < columns; ++p) {
          hrgan::store(Vec<S>::loadu(from + p * kLanes), pixel + p * to.channels, lanes);
        }
      };
      to.count == kLanes ? all(std::integral_constant<int64_t, kLanes>{}) : all(to.count);
      return;
    }
    at::vec::transpose_mxn<S>(from, kLanes, lines.data(), pitch, columns, kLanes);
    for (int64_t lane = 0; lane < to.count; ++lane) {
      T* line = to.line(lane, row) + column;
      steps<S>(columns, [&](int64_t p, auto lanes) {
        hrgan::store(Vec<S>::loadu(lines.data() + lane * pitch + p), line + p, lanes);
      });
    }
  }
};

// to[o * stride] = sum over rows r and columns k of taps[r][k] * rows[r][from + o * step + k], o < count.
template <int step, int block, typename S>
inline void fir_block(const S* const* rows, int64_t height, const S* taps, int64_t width, int64_t from, S* to,
                      int64_t stride) {
  using V = Vec<S>;
  constexpr int64_t lanes = V::size();
  V sums[block];
#pragma GCC unroll 8
  for (int b = 0; b < block; ++b) sums[b] = V(0);
  for (int64_t r = 0; r < height; ++r) {
    const S* row = rows[r] + from * lanes;
    for (int64_t k = 0; k < width; ++k, row += lanes) {
      V tap(taps[r * width + k]);
#pragma GCC unroll 8
      for (int b = 0; b < block; ++b) sums[b] = at::vec::fmadd(V::loadu(row + b * step * lanes), tap, sums[b]);
    }
  }
#pragma GCC unroll 8
  for (int b = 0; b < block; ++b) sums[b].store(to + b * stride * lanes);
}

template <int step, typename S>
void fir_step(const S* const* rows, int64_t height, const S* taps, int64_t width, int64_t from, S* to,
              int64_t stride, int64_t count) {
  constexpr int64_t block = 8, lanes = Vec<S>::size();
  int64_t o = 0;
  auto blocks = [&](auto size) {
    for (; o + size <= count; o += size) {
      fir_block<step, size>(rows, height, taps, width, from + o * step, to + o * stride * lanes, stride);
    }
  };
  blocks(std::integral_constant<int, block>{});
  if (o < count && count >= block) {  // again what the last block had, and the rest
    o = count - block;
    blocks(std::integral_constant<int, block>{});
  }
  blocks(std::integral_constant<int, 1>{});
}

template <typename S>
void fir(const S* const* rows, int64_t height, const S* taps, int64_t width, int64_t from, int64_t step, S* to,
         int64_t stride, int64_t count) {
  auto run = step == 1 ? fir_step<1, S> : step == 2 ? fir_step<2, S> : step == 3 ? fir_step<3, S> : fir_step<4, S>;
  run(rows, height, taps, width, from, to, stride, count);
}

}  // namespace hrgan
