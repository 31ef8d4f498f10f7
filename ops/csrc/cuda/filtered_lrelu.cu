// hrgan::filtered_lrelu and hrgan::filtered_by_signs on CUDA: checks, results, launches. Kernels know contiguous
// images; what is channels-last is converted on the way in and on the way out.
#include <torch/library.h>

#include "filtered_lrelu_launch.cuh"
#include "operands.h"

namespace hrgan {
namespace {

// Two filters and how they are applied, checked against images that they fit.
struct Sampling {
  const Images images;
  at::Tensor x, up_filter, down_filter;  // contiguous
  LreluAxis y_axis, x_axis;
  bool flip;

  Sampling(const char* op, const at::Tensor& given, const at::Tensor& up_taps, const at::Tensor& down_taps, int64_t up,
           int64_t down, at::IntArrayRef pads, bool flip)
      : images(op, given), flip(flip) {
    TORCH_CHECK(images.like.dim() == 4, op, ": images are [N, C, H, W], not ", images.like.sizes());
    TORCH_CHECK(pads.size() == 4, op, ": 4 pads, not ", pads.size());
    for (int64_t rate : {up, down}) {
      TORCH_CHECK(rate >= 1 && rate <= kMostRate, op, ": rates are 1 to ", kMostRate, ", not ", rate);
    }
    x = images.like.contiguous();
    up_filter = filter(up_taps, "up_filter"), down_filter = filter(down_taps, "down_filter");
    y_axis = axis(2, 0, up, down, pads[2], pads[3]);
    x_axis = axis(3, -1, up, down, pads[0], pads[1]);
  }

  at::Tensor filter(const at::Tensor& taps, const char* name) const {
    const bool fits = (taps.dim() == 1 || taps.dim() == 2) && taps.numel() > 0 && taps.size(0) <= kMostTaps &&
                      taps.size(-1) <= kMostTaps;
    TORCH_CHECK(fits, images.op, ": ", name, " is [w] or [h, w] with up to ", kMostTaps, " taps, not ", taps.sizes());
    return images.operand(taps, name);
  }

  LreluAxis axis(int dim, int side, int64_t up, int64_t down, int64_t before, int64_t after) const {
    const int64_t in = x.size(dim), up_taps = up_filter.size(side), down_taps = down_filter.size(side);
    const int64_t samples = in * up + before + after - up_taps + 1;
    TORCH_CHECK(samples >= down_taps, images.op, ": ", samples, " samples are fewer than ", down_taps, " taps down");
    TORCH_CHECK(samples < INT32_MAX / 2 && in < INT32_MAX / 8 && std::abs(before) < INT32_MAX / 4, images.op,
                ": too large");
    const int64_t out = (samples - down_taps) / down + 1;
    return {int(in), int(samples), int(out), int(up), int(down), int(before), int(up_taps), int(down_taps)};
  }

  at::Tensor new_image() const {
    return at::empty({images.samples, images.channels, y_axis.out, x_axis.out}, x.options());
  }
  at::Tensor new_signs(bool wanted) const {
    if (!wanted) return at::empty({0}, x.options().dtype(at::kByte));
    return at::empty({images.samples, images.channels, ceil_div(y_axis.samples, kSignRows), x_axis.samples},
                     x.options().dtype(at::kByte));
  }
  // A result in the layout of the images.
  at::Tensor arranged(const at::Tensor& result) const {
    return result.dim() == 4 ? result.contiguous(images.format) : result;
  }

  template <typename T>
  LreluArguments<T> arguments(const at::Tensor& out, double gain, double slope) const {
    using acc = compute_t<T>;
    LreluArguments<T> a = {};
    a.x = read<T>(x), a.out = write<T>(out);
    a.up_filter = read<acc>(up_filter), a.down_filter = read<acc>(down_filter);
    a.planes = images.samples * images.channels, a.channels = images.channels;
    a.y = y_axis, a.x_axis = x_axis;
    a.up_separable = up_filter.dim() == 1, a.down_separable = down_filter.dim() == 1, a.flip = flip;
    a.up_gain = acc(1), a.gain = acc(gain), a.falling = acc(gain * slope), a.clamp = acc(INFINITY);
    return a;
  }
};

std::tuple<at::Tensor, at::Tensor> filtered_lrelu(const at::Tensor& x, const at::Tensor& up_filter,
                                                  const at::Tensor& down_filter, const MaybeTensor& bias, int64_t up,
                                                  int64_t down, at::IntArrayRef pads, bool flip, double gain,
                                                  double slope, double clamp, bool signs) {
  const c10::cuda::OptionalCUDAGuard guard(at::device_of(x));
  const Sampling sampling("filtered_lrelu", x, up_filter, down_filter, up, down, pads, flip);
  const at::Tensor y = sampling.new_image(), kept = sampling.new_signs(signs);
  const at::Tensor biases = sampling.images.plane(bias, "bias");
  TORCH_CHECK(!biases.defined() || biases.dim() == 1, "filtered_lrelu: bias is [C], not ", biases.sizes());
  if (y.numel() > 0) {
    HRGAN_DISPATCH(x.scalar_type(), "filtered_lrelu", {
      using acc = compute_t<native_t>;
      auto a = sampling.arguments<native_t>(y, gain, slope);
      a.bias = read<acc>(biases);
      a.kept = signs ? write<uint8_t>(kept) : nullptr;
      a.up_gain = acc(up);
      if (clamp >= 0) a.clamp = acc(clamp);
      run_filtered_lrelu<Slope::of_value>(a, CurrentStream());
    });
  }
  return {sampling.arranged(y), sampling.arranged(kept)};
}

at::Tensor filtered_by_signs(const at::Tensor& x, const at::Tensor& up_filter, const at::Tensor& down_filter,
                             const at::Tensor& signs, int64_t up, int64_t down, at::IntArrayRef pads,
                             at::IntArrayRef offset, bool flip, double gain, double slope) {
  const c10::cuda::OptionalCUDAGuard guard(at::device_of(x));
  const Sampling sampling("filtered_by_signs", x, up_filter, down_filter, up, down, pads, flip);
  TORCH_CHECK(signs.device() == x.device() && signs.scalar_type() == at::kByte && signs.dim() == 4 &&
                  signs.size(0) == x.size(0) && signs.size(1) == x.size(1) && offset.size() == 2,
              "filtered_by_signs: signs ", signs.scalar_type(), " ", signs.sizes(), " on ", signs.device(),
              " do not fit x ", x.sizes(), " on ", x.device());
  const at::Tensor y = sampling.new_image(), marks = signs.contiguous();
  if (y.numel() > 0) {
    HRGAN_DISPATCH(x.scalar_type(), "filtered_by_signs", {
      auto a = sampling.arguments<native_t>(y, gain, slope);
      a.signs = read<uint8_t>(marks);
      // Rows that fill up the last byte have signs of 0, as those have that are none.
      a.y.signed_samples = int(marks.size(2)) * kSignRows, a.y.offset = int(offset[0]);
      a.x_axis.signed_samples = int(marks.size(3)), a.x_axis.offset = int(offset[1]);
      run_filtered_lrelu<Slope::of_sign>(a, CurrentStream());
    });
  }
  return sampling.arranged(y);
}

}  // namespace

TORCH_LIBRARY_IMPL(hrgan, CUDA, m) {
  m.impl("filtered_lrelu", filtered_lrelu);
  m.impl("filtered_by_signs", filtered_by_signs);
}

}  // namespace hrgan
