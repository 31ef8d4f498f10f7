// Convolutions whose derivatives of any order are convolutions: with y = conv(x, w), the gradient of x is the
// adjoint convolution of dy, that of w an operation of its own, linear in x and in dy, and the three are each
// other's derivatives. ops/convolution.py says why.
#include <torch/csrc/autograd/custom_function.h>
#include <torch/library.h>

#include <vector>

#include "forms.h"

namespace hrgan {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

std::vector<int64_t> numbers(const Setting& s) {
  return {s.stride, s.padding, s.groups, s.transposed, s.extra[0], s.extra[1]};
}

Setting setting_of(AutogradContext* ctx) {
  auto n = ctx->saved_data["setting"].toIntVector();
  return {n[0], n[1], n[2], n[3] != 0, {n[4], n[5]}};
}

// The convolution that takes dy back to the size of x.
Setting adjoint(const Setting& s, const Tensor& x, at::IntArrayRef weight, const Tensor& dy) {
  if (s.transposed) {
    return {s.stride, s.padding, s.groups, false, {0, 0}};
  }
  // A stride may leave rows at the end that no output saw: several sizes of x give the same size of dy.
  auto lacking = [&](int64_t i) { return x.size(i) - ((dy.size(i) - 1) * s.stride - 2 * s.padding + weight[i]); };
  return {s.stride, s.padding, s.groups, true, {lacking(2), lacking(3)}};
}

Tensor differentiable(const Tensor& x, const Tensor& weight, const Setting& s);
Tensor differentiable_weight_gradient(const Tensor& x, const Tensor& dy, at::IntArrayRef shape, const Setting& s);

struct Convolution : Function<Convolution> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& weight, const Setting& s) {
    at::AutoDispatchBelowAutograd below;
    ctx->save_for_backward({x, weight});
    ctx->saved_data["setting"] = numbers(s);
    return convolve(x, weight, s);
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    auto saved = ctx->get_saved_variables();
    const Tensor &dy = grads[0], &x = saved[0], &weight = saved[1];
    Setting s = setting_of(ctx);
    bool needs_x = ctx->needs_input_grad(0), needs_weight = ctx->needs_input_grad(1);
    // Both at once share ATen's preparation, but are nodes that a second derivative would differentiate in ATen's
    // own, slow way: so only where none is recorded.
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
    ctx->saved_data["setting"] = numbers(s);
    return weight_gradient(x, dy, shape, s);
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    auto saved = ctx->get_saved_variables();
    const Tensor &ddw = grads[0], &x = saved[0], &dy = saved[1];
    auto shape = ctx->saved_data["shape"].toIntVector();
    Setting s = setting_of(ctx);
    Tensor dx = ctx->needs_input_grad(0) ? differentiable(dy, ddw, adjoint(s, x, shape, dy)) : Tensor();
    Tensor d_dy = ctx->needs_input_grad(1) ? differentiable(x, ddw, s) : Tensor();
    return {dx, d_dy, {}, {}};
  }
};

// Below autograd unless somebody records: a node of a function of ours would keep x and dy for nothing.
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
