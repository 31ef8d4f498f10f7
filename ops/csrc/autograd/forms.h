// The forms that a convolution and its gradients are computed in, chosen by device, type, layout and shape.
// Nothing here is differentiable; it calls ATen's operations and `winograd` alone.
#pragma once

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>

#include <array>
#include <utility>

namespace hrgan {

using at::Tensor;
using Pair = std::array<int64_t, 2>;

struct Setting {
  int64_t stride, padding, groups;
  bool transposed;
  Pair extra;  // output padding
};

inline bool is_plain(const Tensor& image, at::IntArrayRef weight, const Setting& s, int64_t stride, int64_t padding) {
  return image.is_cpu() && image.scalar_type() == at::kFloat && image.dim() == 4 && weight[2] == 3 && weight[3] == 3 &&
         s.stride == stride && s.padding == padding && s.groups == 1 && s.extra == Pair{0, 0} &&
         image.is_contiguous(at::MemoryFormat::ChannelsLast);
}

// From where on `winograd` is faster than oneDNN: pixels of the batch, and inputs times outputs. oneDNN has no
// fast gradient of weights without AVX-512.
struct Least {
  int64_t pixels, channels;
};
constexpr Least kImage{512, 64 * 32};
#ifdef CPU_CAPABILITY_AVX512
constexpr Least kWeight{128, 64 * 32};
constexpr int64_t kProducts = 256 * 256;  // inputs times outputs from which on products beat phases
#else
constexpr Least kWeight{128, 32 * 32};
constexpr int64_t kProducts = 0;
#endif

inline bool winograd_pays(const Tensor& image, at::IntArrayRef weight, const Setting& s, const Least& least) {
#if defined(CPU_CAPABILITY_AVX512) || defined(CPU_CAPABILITY_AVX2)
  return (is_plain(image, weight, s, 1, 1) || is_plain(image, weight, s, 1, 2)) &&
         std::min(weight[0], weight[1]) >= 32 && weight[0] * weight[1] >= least.channels &&
         image.sym_size(0) * image.sym_size(2) * image.sym_size(3) >= least.pixels;
#else
  return false;
#endif
}

using Product = Tensor(const Tensor&, const Tensor&);

// Winograd's form takes whole vectors of channels: how many are missing.
inline int64_t missing(int64_t channels) { return (16 - channels % 16) % 16; }

// An image with a border of zeros and, after its channels, those that are missing.
inline Tensor filled(const Tensor& x, int64_t border) {
  int64_t more = missing(x.size(1));
  return border == 0 && more == 0 ? x : at::constant_pad_nd(x, {border, border, border, border, 0, more});
}

// What lies inside a border, of the channels that were there.
inline Tensor inside(const Tensor& x, int64_t channels, int64_t border) {
  int64_t rows = x.size(2) - 2 * border, columns = x.size(3) - 2 * border;
  Tensor part = x.narrow(1, 0, channels).narrow(2, border, rows).narrow(3, border, columns);
  return part.contiguous(at::MemoryFormat::ChannelsLast);
}

// A convolution that keeps the size.
inline Tensor winograd(const Tensor& x, const Tensor& weight) {
  static auto op = c10::Dispatcher::singleton().findSchemaOrThrow("hrgan::winograd", "").typed<Product>();
  int64_t outputs = missing(weight.size(0)), inputs = missing(weight.size(1));
  return op.call(x, outputs + inputs == 0 ? weight : at::constant_pad_nd(weight, {0, 0, 0, 0, 0, inputs, 0, outputs}));
}

// With a padding of 1 or 2; the latter adds a border whose results stay.
inline Tensor winograd(const Tensor& x, const Tensor& weight, int64_t padding) {
  return inside(winograd(filled(x, padding - 1), weight), weight.size(0), 0);
}

// The weight of the adjoint of a convolution that keeps the size.
inline Tensor mirrored(const Tensor& weight) { return weight.flip({2, 3}).transpose(0, 1); }

inline Tensor winograd_adjoint(const Tensor& y, const Tensor& weight, int64_t padding) {
  return inside(winograd(filled(y, 0), mirrored(weight)), weight.size(1), padding - 1);
}

inline Tensor winograd_weight(const Tensor& x, const Tensor& dy, int64_t padding) {
  static auto op = c10::Dispatcher::singleton().findSchemaOrThrow("hrgan::winograd_weight", "").typed<Product>();
  Tensor dw = op.call(filled(x, padding - 1), filled(dy, 0));
  return dw.narrow(0, 0, dy.size(1)).narrow(1, 0, x.size(1)).contiguous();
}

inline Tensor convolve(const Tensor& x, const Tensor& weight, const Setting& s) {
  if (winograd_pays(x, weight.sizes(), s, kImage)) {
    return s.transposed ? winograd_adjoint(x, weight, s.padding) : winograd(x, weight, s.padding);
  }
  Pair stride{s.stride, s.stride}, padding{s.padding, s.padding}, dilation{1, 1};
  return at::convolution(x, weight, {}, stride, padding, dilation, s.transposed, s.extra, s.groups);
}

// The gradient of a 3x3 weight between an image and one of half the size (2H + 1 and H): the large image's odd
// and even rows and columns see taps of their own, without a stride.
inline Tensor weight_gradient_by_phases(const Tensor& large, const Tensor& small) {
  int64_t outputs = small.size(1), inputs = large.size(1);
  Tensor dw = at::empty({outputs, inputs, 3, 3}, small.options());
  Pair one{1, 1}, none{0, 0};
  for (int64_t y : {0, 1}) {
    for (int64_t x : {0, 1}) {
      Tensor part = large.slice(2, y, {}, 2).slice(3, x, {}, 2).contiguous(at::MemoryFormat::ChannelsLast);
      Tensor like = at::empty({1}, small.options()).expand({outputs, inputs, 2 - y, 2 - x});
      Tensor taps = std::get<1>(
          at::convolution_backward(small, part, like, {}, one, none, one, false, none, 1, {false, true, false}));
      dw.slice(2, y, {}, 2).slice(3, x, {}, 2).copy_(taps);
    }
  }
  return dw;
}

// The same by products of matrices, one a tap, pixels summed over. The small image is padded by zeros to the
// phase's size, so that a tap is a shift of the whole batch.
inline Tensor weight_gradient_by_products(const Tensor& large, const Tensor& small) {
  int64_t outputs = small.size(1), inputs = large.size(1);
  Tensor dw = at::empty({3, 3, outputs, inputs}, small.options().memory_format(at::MemoryFormat::Contiguous));
  Tensor pixels = large.permute({0, 2, 3, 1}), gradients = small.permute({0, 2, 3, 1});
  for (int64_t y : {0, 1}) {
    for (int64_t x : {0, 1}) {
      Tensor part = pixels.slice(1, y, {}, 2).slice(2, x, {}, 2).reshape({-1, inputs});
      Tensor padded = at::constant_pad_nd(gradients, {0, 0, 0, 1 - x, 0, 1 - y}).reshape({-1, outputs});
      for (int64_t ky = y; ky < 3; ky += 2) {
        for (int64_t kx = x; kx < 3; kx += 2) {
          int64_t shift = ky / 2 * (small.size(3) + 1 - x) + kx / 2, count = part.size(0) - shift;
          dw.select(0, ky).select(0, kx).copy_(
              at::mm(padded.narrow(0, 0, count).t(), part.narrow(0, shift, count)));
        }
      }
    }
  }
  return dw.permute({2, 3, 0, 1}).contiguous();
}

// True where oneDNN's gradient of a weight with stride 2 falls behind.
inline bool splits(const Tensor& large, const Tensor& small, at::IntArrayRef weight, const Setting& s) {
  return is_plain(large, weight, s, 2, 0) && small.size(2) >= 16 && large.size(2) == 2 * small.size(2) + 1 &&
         large.size(3) == 2 * small.size(3) + 1;
}

// The gradient of the weight in a form of our own, undefined where ATen's is taken.
inline Tensor own_weight_gradient(const Tensor& dy, const Tensor& x, at::IntArrayRef weight, const Setting& s) {
  const Tensor &large = s.transposed ? dy : x, &small = s.transposed ? x : dy;
  if (winograd_pays(large, weight, s, kWeight)) {
    return winograd_weight(large, small, s.padding);
  }
  if (!splits(large, small, weight, s)) {
    return {};
  }
  bool products = weight[0] * weight[1] >= kProducts;
  return products ? weight_gradient_by_products(large, small) : weight_gradient_by_phases(large, small);
}

// The gradients of x and of the weight, as far as they are needed. Of the weight, where its gradient alone is
// asked for, only the shape is looked at.
inline std::pair<Tensor, Tensor> gradients(
    const Tensor& dy, const Tensor& x, const Tensor& weight, const Setting& s, bool needs_x, bool needs_weight) {
  Tensor dx, dw;
  if (needs_x && winograd_pays(x, weight.sizes(), s, kImage)) {
    dx = s.transposed ? winograd(dy, weight, s.padding) : winograd_adjoint(dy, weight, s.padding);
  }
  if (needs_weight) {
    dw = own_weight_gradient(dy, x, weight.sizes(), s);
  }
  bool lacks_x = needs_x && !dx.defined(), lacks_weight = needs_weight && !dw.defined();
  if (lacks_x || lacks_weight) {
    Pair stride{s.stride, s.stride}, padding{s.padding, s.padding}, dilation{1, 1};
    auto [by_x, by_weight, none] = at::convolution_backward(
        dy, x, weight, {}, stride, padding, dilation, s.transposed, s.extra, s.groups, {lacks_x, lacks_weight, false});
    dx = lacks_x ? by_x : dx;
    dw = lacks_weight ? by_weight : dw;
  }
  return {dx, dw};
}

inline Tensor weight_gradient(const Tensor& x, const Tensor& dy, at::IntArrayRef shape, const Setting& s) {
  return gradients(dy, x, at::empty({1}, x.options()).expand(shape), s, false, true).second;
}

}  // namespace hrgan
