// Where each place of a warped image comes from, in one pass. Products are rounded before they are added, so
// that the result is the plain definition's to the bit.
#ifdef __clang__
#pragma clang fp contract(off)
#else
#pragma GCC optimize("fp-contract=off")
#endif

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <c10/util/Exception.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace hrgan {
namespace {

using at::Tensor;

template <typename S>
struct Grid {
  int64_t places;
  S half, seen;  // pixels from the middle to the last pixel, and to the end of the margin
  S share, shift;
  std::vector<S> centred;  // [places], in pixels

  Grid(int64_t side, int64_t taps, int64_t margin, double centre, double share, double shift)
      : places(2 * side - 2 + taps),
        half((side - 1) / 2.0),
        seen((side - 1) / 2.0 + static_cast<double>(margin)),
        share(share),
        shift(shift),
        centred(places) {
    for (int64_t i = 0; i < places; ++i) centred[i] = (static_cast<S>(i) - static_cast<S>(centre)) / S(2) - half;
  }

  S folded(S x) const {
    S period = S(4) * half, rest = std::fmod(x + half, period);
    if (rest < 0) rest += period;
    return half - std::abs(rest - S(2) * half);
  }

  // to [places, 2]; linear [2, 2], offset [2].
  void row(int64_t y, const S* linear, const S* offset, S* to) const {
    S down[2] = {linear[1] * centred[y] + offset[0], linear[3] * centred[y] + offset[1]};
    S furthest = 0;
    for (int64_t x = 0; x < places; ++x) {
      for (int k = 0; k < 2; ++k) {
        S source = linear[2 * k] * centred[x] + down[k];
        to[2 * x + k] = source;
        furthest = std::max(furthest, std::abs(source));
      }
    }
    bool inside = furthest <= seen;
    for (int64_t i = 0; i < 2 * places; ++i) {
      S source = to[i];
      if (!inside && !(std::abs(source) <= seen)) source = folded(source);
      to[i] = source * share + shift;
    }
  }
};

Tensor warp_grid(const Tensor& linear_, const Tensor& offset_, int64_t side, int64_t taps, int64_t margin,
                 double centre, double share, double shift) {
  int64_t n = linear_.size(0);
  TORCH_CHECK(linear_.sizes() == at::IntArrayRef({n, 2, 2}) && offset_.sizes() == at::IntArrayRef({n, 2}),
              "warp_grid: linear is [N, 2, 2] and offset [N, 2], not ", linear_.sizes(), " and ", offset_.sizes());
  TORCH_CHECK(linear_.scalar_type() == offset_.scalar_type(), "warp_grid: linear is ", linear_.scalar_type(),
              ", offset ", offset_.scalar_type());
  TORCH_CHECK(side > 0 && taps > 0, "warp_grid: no image of ", side, " pixels, or no filter of ", taps, " taps");
  Tensor linear = linear_.contiguous(), offset = offset_.contiguous();
  int64_t places = 2 * side - 2 + taps;
  Tensor grid = at::empty({n, places, places, 2}, linear.options());
  AT_DISPATCH_FLOATING_TYPES(linear.scalar_type(), "warp_grid", [&] {
    const Grid<scalar_t> of(side, taps, margin, centre, share, shift);
    const scalar_t *matrices = linear.const_data_ptr<scalar_t>(), *offsets = offset.const_data_ptr<scalar_t>();
    scalar_t* to = grid.mutable_data_ptr<scalar_t>();
    int64_t grain = std::max<int64_t>(1, 16384 / places);
    at::parallel_for(0, n * places, grain, [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) {
        int64_t image = task / places, y = task % places;
        of.row(y, matrices + 4 * image, offsets + 2 * image, to + task * places * 2);
      }
    });
  });
  return grid;
}

}  // namespace

TORCH_LIBRARY_IMPL(hrgan, CPU, m) {
  m.impl("warp_grid", warp_grid);
}

}  // namespace hrgan
