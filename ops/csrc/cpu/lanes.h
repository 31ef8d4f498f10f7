// Planes side by side: a vector holds one pixel of as many planes as it has lanes, in either layout of images. So a
// filter along either axis is the same for all lanes, and what is summed lies where vectors begin.
#pragma once

#include <new>
#include <vector>

#include "images.h"
#include "vectors.h"

namespace hrgan {

// Memory that begins where a cache line does: a vector that lies across two takes twice the time to load.
template <typename T>
struct OnLines {
  using value_type = T;
  static constexpr std::align_val_t kLine{64};
  T* allocate(size_t count) { return static_cast<T*>(::operator new(count * sizeof(T), kLine)); }
  void deallocate(T* data, size_t) { ::operator delete(data, kLine); }
  bool operator==(const OnLines&) const = default;
};

template <typename T>
using Buffer = std::vector<T, OnLines<T>>;

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

  // Asks for a row that is to be read or written soon: no machine foresees rows of so many planes. Always inline, as
  // GCC takes a function of this kind for one without effects and drops it.
  template <bool write>
  __attribute__((always_inline)) void fetch(int64_t row, int64_t column, int64_t count) const {
    constexpr int64_t step = 64 / sizeof(T);
    if (row >= rows || count <= 0) return;
    for (int64_t k = 0; last && k < count; ++k) __builtin_prefetch(pixel(row, column + k), write);
    for (int64_t lane = 0; !last && lane < this->count; ++lane) {
      const T* from = line(lane, row) + column;
      for (int64_t k = 0; k < count; k += step) __builtin_prefetch(from + k, write);
      __builtin_prefetch(from + count - 1, write);
    }
  }
};

// Between lines [lanes][pitch] and pixels [count][lanes], in squares, which compilers' own loops are slow at. The last
// square has some of the one before it.
template <bool to_pixels, int64_t lanes, typename S>
inline void transpose(S* lines, int64_t pitch, S* pixels, int64_t count) {
  using at::vec::transpose_mxn;
  auto square = [&](int64_t at) {
    to_pixels ? transpose_mxn<S, lanes, lanes>(lines + at, pitch, pixels + at * lanes, lanes)
              : transpose_mxn<S, lanes, lanes>(pixels + at * lanes, lanes, lines + at, pitch);
  };
  if (count < lanes) {
    to_pixels ? transpose_mxn<S>(lines, pitch, pixels, lanes, lanes, count)
              : transpose_mxn<S>(pixels, lanes, lines, pitch, count, lanes);
    return;
  }
  for (int64_t at = 0; at + lanes <= count; at += lanes) square(at);
  if (count % lanes != 0) square(count - lanes);
}

// Rows of pixels of several planes, read and written.
template <typename S>
struct Exchange {
  static constexpr int64_t kLanes = Vec<S>::size();
  Buffer<S> lines;  // [lanes][pitch]
  int64_t pitch;

  explicit Exchange(int64_t columns) : pitch((columns + kLanes - 1) / kLanes * kLanes) {
    lines.assign(kLanes * pitch, S(0));
  }

  // Columns from `column` on, plus bias [lanes].
  template <typename T>
  void read(const Planes<T>& from, int64_t row, int64_t column, int64_t columns, const S* bias, S* to) {
    from.template fetch<false>(row + 1, column, columns);
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
    transpose<true, kLanes>(lines.data(), pitch, to, columns);
  }

  template <typename T>
  void write(S* from, const Planes<T>& to, int64_t row, int64_t column, int64_t columns) {
    to.template fetch<true>(row + 2, column, columns);
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
    transpose<false, kLanes>(lines.data(), pitch, from, columns);
    for (int64_t lane = 0; lane < to.count; ++lane) {
      T* line = to.line(lane, row) + column;
      steps<S>(columns, [&](int64_t p, auto lanes) {
        hrgan::store(Vec<S>::loadu(lines.data() + lane * pitch + p), line + p, lanes);
      });
    }
  }
};

// Filters that see the same rows, so that a pixel is loaded once for all of them. Filter q begins q * lag rows further
// down and has the taps [height][width] from taps + q * each on; its sums lie from to + q * apart on, with `stride`
// vectors from one to the next:
//   sum[q][o] = sum over r and k of tap[q][r][k] * rows[r + q * lag][o * step + k]
template <typename S>
struct Filters {
  using V = Vec<S>;
  static constexpr int64_t kLanes = V::size();
  const S* taps;
  int64_t height, width, each, lag;
  S* to;
  int64_t apart, stride;

  template <int results, int step>
  void run(const S* const* rows, int64_t count) const {
    // As many sums as hide the time of one, and no more than there are registers for.
    constexpr int block = results == 1 ? 8 : (sizeof(V) == 64 ? 12 : 10) / results;
    int64_t o = 0;
    for (; o + block <= count; o += block) sum<results, step, block>(rows, o);
    if (o < count && count >= block) {  // again what the last block had, and the rest
      sum<results, step, block>(rows, count - block);
      o = count;
    }
    for (; o < count; ++o) sum<results, step, 1>(rows, o);
  }

 private:
  template <int results, int step, int block>
  __attribute__((always_inline)) void sum(const S* const* rows, int64_t o) const {
    V sums[results][block];
    for (int q = 0; q < results; ++q) {
#pragma GCC unroll 16
      for (int b = 0; b < block; ++b) sums[q][b] = V(0);
    }
    // Filters `first` to `last` have taps in these rows.
    auto add = [&](int64_t begin, int64_t end, auto first, auto last) __attribute__((always_inline)) {
      auto pixels = [&](const S* row, const S* tap) __attribute__((always_inline)) {
        V factors[results];
        for (int q = first; q < last; ++q) factors[q] = V(tap[q * (each - lag * width)]);
#pragma GCC unroll 16
        for (int b = 0; b < block; ++b) {
          V pixel = V::loadu(row + b * step * kLanes);
          for (int q = first; q < last; ++q) sums[q][b] = at::vec::fmadd(pixel, factors[q], sums[q][b]);
        }
      };
      int64_t left = o * step * kLanes;
      if (width == 1) {
        for (int64_t r = begin; r < end; ++r) pixels(rows[r] + left, taps + r);
        return;
      }
      for (int64_t r = begin; r < end; ++r) {
        for (int64_t k = 0; k < width; ++k) pixels(rows[r] + left + k * kLanes, taps + r * width + k);
      }
    };
    constexpr std::integral_constant<int, results> all;
    if constexpr (results == 2) {
      add(0, std::min(lag, height), std::integral_constant<int, 0>(), std::integral_constant<int, 1>());
      add(lag, height, std::integral_constant<int, 0>(), all);
      add(std::max(lag, height), height + lag, std::integral_constant<int, 1>(), all);
    } else {
      add(0, height, std::integral_constant<int, 0>(), all);
    }
    for (int q = 0; q < results; ++q) {
      S* at = to + q * apart + o * stride * kLanes;
#pragma GCC unroll 16
      for (int b = 0; b < block; ++b) sums[q][b].store(at + b * stride * kLanes);
    }
  }
};

}  // namespace hrgan
