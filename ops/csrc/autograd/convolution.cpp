// Convolutions whose derivatives of any order are convolutions: with y = conv(x, w), the gradient of x is the
// adjoint convolution of dy, that of w an operation of its own, linear in x and in dy, and the three are each
// other's derivatives. ops/convolution.py says why.
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <array>

namespace hrgan {
namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;
using Pair = std::array<int64_t, 2>;

struct Setting {
  int64_t stride, padding, groups;
  bool transposed;
  Pair extra;  // output padding

  std::vector<int64_t> numbers() const { return {stride, padding, groups, transposed, extra[0], extra[1]}; }
  static Setting of(const std::vector<int64_t>& n) { return {n[0], n[1], n[2], n[3] != 0, {n[4], n[5]}}; }
};

Tensor convolve(const Tensor& x, const Tensor& weight, const Setting& s) {
  Pair stride{s.stride, s.stride}, padding{s.padding, s.padding}, dilation{1, 1};
  return at::convolution(x, weight, {}, stride, padding, dilation, s.transposed, s.extra, s.groups);
}

// The gradient of a 3x3 weight between an image and one of half the size (2H + 1 and H): the large image's odd
// and even rows and columns see taps of their own, without a stride.
Tensor weight_gradient_by_phases(const Tensor& large, const Tensor& small) {
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

// True where oneDNN's gradient of a weight with stride 2 falls behind its own with stride 1.
bool splits(const Tensor& large, const Tensor& small, at::IntArrayRef weight, const Setting& s) {
  if (!large.is_cpu() || large.scalar_type() != at::kFloat || weight[2] != 3 || weight[3] != 3 || s.stride != 2 ||
      s.padding != 0 || s.groups != 1 || s.extra != Pair{0, 0}) {
    return false;
  }
  return small.size(2) >= 16 && large.size(2) == 2 * small.size(2) + 1 && large.size(3) == 2 * small.size(3) + 1 &&
         large.is_contiguous(at::MemoryFormat::ChannelsLast);
}

std::pair<Tensor, Tensor> gradients(
    const Tensor& dy, const Tensor& x, const Tensor& weight, const Setting& s, bool needs_x, bool needs_weight) {
  const Tensor &large = s.transposed ? dy : x, &small = s.transposed ? x : dy;
  bool by_phases = needs_weight && splits(large, small, weight.sizes(), s);
  Tensor dx, dw;
  if (needs_x || (needs_weight && !by_phases)) {
    Pair stride{s.stride, s.stride}, padding{s.padding, s.padding}, dilation{1, 1};
    std::tie(dx, dw, std::ignore) = at::convolution_backward(
        dy, x, weight, {}, stride, padding, dilation, s.transposed, s.extra, s.groups,
        {needs_x, needs_weight && !by_phases, false});
  }
  if (by_phases) {
    dw = weight_gradient_by_phases(large, small);
  }
  return {dx, dw};
}

// Only the shape of a weight is looked at when its gradient alone is asked for.
Tensor weight_gradient(const Tensor& x, const Tensor& dy, at::IntArrayRef shape, const Setting& s) {
  return gradients(dy, x, at::empty({1}, x.options()).expand(shape), s, false, true).second;
}

// The convolution that takes dy back to the size of x.
Setting adjoint(const Setting& s, const Tensor& x, at::IntArrayRef weight, const Tensor& dy) {
  if (s.transposed) {
    return {s.stride, s.padding, s.groups, false, {0, 0}};
  }
  auto lacking = [&](int64_t i) { return x.size(i) - ((dy.size(i) - 1) * s.stride - 2 * s.padding + weight[i]); };
  return {s.stride, s.padding, s.groups, true, {lacking(2), lacking(3)}};
}

Tensor differentiable(const Tensor& x, const Tensor& weight, const Setting& s);
Tensor differentiable_weight_gradient(const Tensor& x, const Tensor& dy, at::IntArrayRef shape, const Setting& s);

struct Convolution : Function<Convolution> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& weight, const Setting& s) {
    at::AutoDispatchBelowAutograd below;
    ctx->save_for_backward({x, weight});
    ctx->saved_data["setting"] = s.numbers();
    return convolve(x, weight, s);
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    auto saved = ctx->get_saved_variables();
    const Tensor &dy = grads[0], &x = saved[0], &weight = saved[1];
    Setting s = Setting::of(ctx->saved_data["setting"].toIntVector());
    bool needs_x = ctx->needs_input_grad(0), needs_weight = ctx->needs_input_grad(1);
    if (!at::GradMode::is_enabled()) {
      auto [dx, dw] = gradients(dy, x, weight, s, needs_x, needs_weight);
      return {dx, dw, {}};
    }
    Tensor dx = needs_x ? differentiable(dy, weight, adjoint(s, x, weight.sizes(), dy)) : Tensor();
    Tensor dw = needs_weight ? differentiable_weight_gradient(x, dy, weight.sizes(), s) : Tensor();
    return {dx, dw, {}};
  }
};

struct WeightGradient : Function<WeightGradient> {
  static Tensor forward(
      AutogradContext* ctx, const Tensor& x, const Tensor& dy, at::IntArrayRef shape, const Setting& s) {
    at::AutoDispatchBelowAutograd below;
    ctx->save_for_backward({x, dy});
    ctx->saved_data["shape"] = shape.vec();
    ctx->saved_data["setting"] = s.numbers();
    return weight_gradient(x, dy, shape, s);
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    auto saved = ctx->get_saved_variables();
    const Tensor &ddw = grads[0], &x = saved[0], &dy = saved[1];
    auto shape = ctx->saved_data["shape"].toIntVector();
    Setting s = Setting::of(ctx->saved_data["setting"].toIntVector());
    Tensor dx = ctx->needs_input_grad(0) ? differentiable(dy, ddw, adjoint(s, x, shape, dy)) : Tensor();
    Tensor d_dy = ctx->needs_input_grad(1) ? differentiable(x, ddw, s) : Tensor();
    return {dx, d_dy, {}, {}};
  }
};

bool recorded(const Tensor& a, const Tensor& b) {
  return at::GradMode::is_enabled() && (a.requires_grad() || b.requires_grad());
}

Tensor differentiable(const Tensor& x, const Tensor& weight, const Setting& s) {
  if (recorded(x, weight)) {
    return Convolution::apply(x, weight, s);
  }
  at::AutoDispatchBelowAutograd below;
  return convolve(x, weight, s);
}

Tensor differentiable_weight_gradient(const Tensor& x, const Tensor& dy, at::IntArrayRef shape, const Setting& s) {
  if (recorded(x, dy)) {
    return WeightGradient::apply(x, dy, shape, s);
  }
  at::AutoDispatchBelowAutograd below;
  return weight_gradient(x, dy, shape, s);
}

Tensor conv2d_autograd(
    const Tensor& x, const Tensor& weight, int64_t stride, int64_t padding, int64_t groups, bool transposed) {
  return differentiable(x, weight, {stride, padding, groups, transposed, {0, 0}});
}

Tensor conv2d(
    const Tensor& x, const Tensor& weight, int64_t stride, int64_t padding, int64_t groups, bool transposed) {
  return convolve(x, weight, {stride, padding, groups, transposed, {0, 0}});
}

}  // namespace

// Nothing but ATen's operations below autograd: modes, fakes and compilers see those.
TORCH_LIBRARY_IMPL(hrgan, CompositeExplicitAutograd, m) { m.impl("conv2d", conv2d); }
TORCH_LIBRARY_IMPL(hrgan, Autograd, m) { m.impl("conv2d", conv2d_autograd); }

}  // namespace hrgan
