// What upfirdn2d and blur_act ask of their tensors.
#pragma once

#include "filter_launch.cuh"
#include "operands.h"

namespace hrgan {

// A filter and how it is applied, checked against images that it fits.
struct Filtering {
  at::Tensor f;
  FilterAxis y, x;
  bool flip;
  double gain;

  Filtering(const Images& images, const at::Tensor& filter, at::IntArrayRef up, at::IntArrayRef down,
            at::IntArrayRef pads, bool flip, double gain)
      : flip(flip), gain(gain) {
    const char* op = images.op;
    TORCH_CHECK(images.like.dim() == 4, op, ": images are [N, C, H, W], not ", images.like.sizes());
    TORCH_CHECK((filter.dim() == 1 || filter.dim() == 2) && filter.numel() > 0, op,
                ": a filter is [w] or [h, w], not ", filter.sizes());
    TORCH_CHECK(up.size() == 2 && down.size() == 2 && pads.size() == 4, op, ": 2 factors up and down, 4 pads");
    f = images.operand(filter, "f");
    y = axis(op, images.like.size(2), up[0], down[0], pads[2], pads[3], f.size(0));
    x = axis(op, images.like.size(3), up[1], down[1], pads[0], pads[1], f.size(f.dim() - 1));
  }

  static FilterAxis axis(const char* op, int64_t in, int64_t up, int64_t down, int64_t before, int64_t after,
                         int64_t n_taps) {
    TORCH_CHECK(up > 0 && down > 0, op, ": factors are at least 1, not ", up, " up and ", down, " down");
    const int64_t padded = in * up + before + after;
    TORCH_CHECK(padded >= n_taps, op, ": padded image of ", padded, " pixels smaller than the filter of ", n_taps);
    TORCH_CHECK(padded < INT32_MAX && std::abs(before) < INT32_MAX && n_taps < INT32_MAX, op, ": too large");
    const int64_t out = (padded - n_taps) / down + 1;
    return {int(in), int(out), int(up), int(down), int(before), int(n_taps)};
  }

  at::Tensor new_image(const Images& images) const {
    return at::empty({images.samples, images.channels, y.out, x.out}, images.like.options(), images.format);
  }

  template <typename T>
  FilterArguments<T> arguments(const Images& images, const at::Tensor& out) const {
    using acc = compute_t<T>;
    const bool last = images.format == at::MemoryFormat::ChannelsLast;
    return {read<T>(images.like), read<acc>(f), write<T>(out), images.samples, images.channels, y, x,
            f.dim() == 1,         flip,         last,          acc(gain)};
  }
};

}  // namespace hrgan
