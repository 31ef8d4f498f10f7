// One-dimensional filtering with resampling: which input pixels an output pixel sees, and rows of them.
#pragma once

#include <algorithm>
#include <vector>

#include "vectors.h"

namespace hrgan {

// Output o sees stuffed pixels o * down + k - before, k in [0, taps); every up-th of those is an input pixel.
struct Axis {
  int64_t in, out, taps, up, down, before;

  // The taps of output o that meet input pixels: k = first, first + up, ... (count of them), from pixel `from` on.
  struct Reach {
    int64_t first, count, from;
  };
  Reach reach(int64_t o) const {
    int64_t start = o * down - before;                              // stuffed position of tap 0
    int64_t first = start >= 0 ? (up - start % up) % up : -start;  // of the first tap at an input pixel
    if (start < 0) {
      first = -start;  // pixel 0; earlier ones are padding
    }
    int64_t from = (start + first) / up;
    int64_t fit = first < taps ? (taps - first + up - 1) / up : 0;
    return {first, std::max<int64_t>(0, std::min(fit, in - from)), from};
  }
};

// to[o][c] (+)= sum_k f[k] row[...][c], pixels of `c` channels.
template <typename T, typename S>
void filter_pixels(const Axis& axis, const S* f, const T* row, int64_t c, S* to, bool add) {
  for (int64_t o = 0; o < axis.out; ++o) {
    auto [first, count, from] = axis.reach(o);
    const T* source = row + from * c;
    steps<S>(c, [&](int64_t j, auto lanes) {
      Vec<S> total = add ? load(to + o * c + j, lanes) : Vec<S>(0);
      for (int64_t i = 0; i < count; ++i) {
        total = at::vec::fmadd(load(source + i * c + j, lanes), Vec<S>(f[first + i * axis.up]), total);
      }
      store(total, to + o * c + j, lanes);
    });
  }
}

// A row of one channel, in the middle of zeros so that vectors may reach over its ends.
template <typename S>
struct PaddedRow {
  int64_t margin;
  std::vector<S> data;

  explicit PaddedRow(const Axis& axis)
      : margin(axis.taps + 2 * Vec<S>::size() + std::abs(axis.before)),
        data(2 * margin + std::max(axis.in, (axis.out * axis.down + axis.up - 1) / axis.up) + 64, S(0)) {}
  S* pixels() { return data.data() + margin; }
};

// to[o] (+)= sum_k f[k] row[...] of one channel; pixels around row are zeros as PaddedRow has them.
template <typename S>
void filter_row(const Axis& axis, const S* f, const S* row, S* to, bool add) {
  using V = Vec<S>;
  constexpr int64_t width = V::size();
  int64_t o = 0;
  if (axis.up == 1 && axis.down == 1) {
    for (; o < axis.out; o += width) {
      int64_t lanes = std::min(width, axis.out - o);
      V total = add ? load(to + o, lanes) : V(0);
      for (int64_t k = 0; k < axis.taps; ++k) {
        total = at::vec::fmadd(V::loadu(row + o + k - axis.before), V(f[k]), total);
      }
      store(total, to + o, lanes);
    }
  } else if (axis.up == 2 && axis.down == 1) {
    for (; o + 2 * width <= axis.out; o += 2 * width) {
      V phase[2] = {V(0), V(0)};
      for (int64_t r = 0; r < 2; ++r) {
        int64_t start = o + r - axis.before, first = start & 1;  // also right for a negative start
        const S* from = row + ((start + first) >> 1);
        for (int64_t k = first; k < axis.taps; k += 2, ++from) {
          phase[r] = at::vec::fmadd(V::loadu(from), V(f[k]), phase[r]);
        }
      }
      auto [low, high] = at::vec::interleave2(phase[0], phase[1]);
      store(add ? low + load(to + o) : low, to + o);
      store(add ? high + load(to + o + width) : high, to + o + width);
    }
  } else if (axis.up == 1 && axis.down == 2) {
    for (; o + width <= axis.out; o += width) {
      V total = add ? load(to + o) : V(0);
      for (int64_t k = 0; k < axis.taps; k += 2) {
        const S* from = row + 2 * o + k - axis.before;
        auto [even, odd] = at::vec::deinterleave2(V::loadu(from), V::loadu(from + width));
        total = at::vec::fmadd(even, V(f[k]), total);
        total = k + 1 < axis.taps ? at::vec::fmadd(odd, V(f[k + 1]), total) : total;
      }
      store(total, to + o);
    }
  }
  for (; o < axis.out; ++o) {
    auto [first, count, from] = axis.reach(o);
    S total = add ? to[o] : S(0);
    for (int64_t i = 0; i < count; ++i) {
      total += f[first + i * axis.up] * row[from + i];
    }
    to[o] = total;
  }
}

}  // namespace hrgan
