// One-dimensional filtering with resampling: which input pixels an output pixel sees, and rows of them.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

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

inline Axis make_axis(int64_t in, int64_t taps, int64_t up, int64_t down, int64_t before, int64_t after) {
  TORCH_CHECK(up >= 1 && down >= 1, "up and down are at least 1, not ", up, " and ", down);
  int64_t room = in * up + before + after - taps;
  TORCH_CHECK(room >= 0, "padded image smaller than the filter");
  return {in, room / down + 1, taps, up, down, before};
}

inline void check_filter(const at::Tensor& f, int64_t most) {
  TORCH_CHECK(f.dim() == 1 || f.dim() == 2, "a filter has shape [w] or [h, w], not ", f.sizes());
  TORCH_CHECK(f.numel() > 0 && f.size(0) <= most, "a filter has 1 to ", most, " taps a side, not ", f.sizes());
}

// The filter as the loops want it: for a correlation, its gain included. Separable: x [taps], y [taps];
// else y is empty and x holds [taps_y, taps_x].
template <typename S>
struct Filter {
  int64_t height, width;
  bool separable;
  std::vector<S> x, y;

  Filter(const at::Tensor& f, bool flip, double gain)
      : height(f.size(0)), width(f.size(f.dim() - 1)), separable(f.dim() == 1) {
    at::Tensor dense = f.to(c10::CppTypeToScalarType<S>::value).contiguous();
    const S* taps = dense.const_data_ptr<S>();
    x.assign(taps, taps + dense.numel());
    if (!flip) {
      std::reverse(x.begin(), x.end());
    }
    y = separable ? x : std::vector<S>();
    for (S& tap : separable ? y : x) {
      tap = static_cast<S>(tap * gain);
    }
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
