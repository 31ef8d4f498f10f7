// The derivatives of the normalisations, of any order: from the second on they are PyTorch's operations.
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/zeros_like.h>
#include <torch/library.h>

#include "operations.h"

namespace hrgan {
namespace {

using c10::SymInt;

Tensor pixel_norm(const Tensor& x, double eps) {
  static const auto op = operation<Tensor(const Tensor&, double)>("hrgan::pixel_norm");
  return op.call(x, eps);
}

Tensor pixel_norm_backward(const Tensor& dy, const Tensor& x, double eps) {
  static const auto op = operation<Tensor(const Tensor&, const Tensor&, double)>("hrgan::pixel_norm_backward");
  return op.call(dy, x, eps);
}

Tensor minibatch_stddev(const Tensor& x, int64_t group, int64_t channels, double eps) {
  static const auto op = operation<Tensor(const Tensor&, int64_t, int64_t, double)>("hrgan::minibatch_stddev");
  return op.call(x, group, channels, eps);
}

Tensor minibatch_stddev_backward(const Tensor& dy, const Tensor& x, int64_t group, int64_t channels, double eps) {
  static const auto op = operation<Tensor(const Tensor&, const Tensor&, int64_t, int64_t, double)>(
      "hrgan::minibatch_stddev_backward");
  return op.call(dy, x, group, channels, eps);
}

std::tuple<Tensor, Tensor> batch_moments(const Tensor& x) {
  static const auto op = operation<std::tuple<Tensor, Tensor>(const Tensor&)>("hrgan::batch_moments");
  return op.call(x);
}

// Sums over a group or over channels lose small gradients in eight bits of mantissa.
Tensor widened(const Tensor& x) {
  bool narrow = x.scalar_type() == at::kHalf || x.scalar_type() == at::kBFloat16;
  return narrow ? x.to(at::kFloat) : x;
}

struct PixelNorm : Function<PixelNorm> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x, double eps) {
    ctx->save_for_backward({x});
    ctx->saved_data["eps"] = eps;
    ctx->set_materialize_grads(false);
    return below(pixel_norm, x, eps);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    if (!grads[0].defined()) return variable_list(2);
    return {pixel_norm_backward(grads[0], ctx->get_saved_variables()[0], ctx->saved_data["eps"].toDouble()), {}};
  }
};

struct PixelNormBackward : Function<PixelNormBackward> {
  static Tensor forward(AutogradContext* ctx, const Tensor& dy, const Tensor& x, double eps) {
    ctx->save_for_backward({dy, x});
    ctx->saved_data["eps"] = eps;
    ctx->set_materialize_grads(false);
    return below(pixel_norm_backward, dy, x, eps);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    variable_list found(3);
    const Tensor& ddx = grads[0];
    if (!ddx.defined()) return found;
    auto saved = ctx->get_saved_variables();
    double eps = ctx->saved_data["eps"].toDouble();
    if (ctx->needs_input_grad(0)) found[0] = pixel_norm_backward(ddx, saved[1], eps);
    if (ctx->needs_input_grad(1)) {
      Tensor dx = of_x(widened(saved[0]), widened(saved[1]), widened(ddx), eps);
      found[1] = dx.to(saved[1].scalar_type());
    }
    return found;
  }

  // With r = 1 / rms and means over channels of products of g = dy, v = x, q = ddx:
  // r^3 * ((3 * r^2 * gv * qv - gq) * v - qv * g - gv * q).
  static Tensor of_x(const Tensor& g, const Tensor& v, const Tensor& q, double eps) {
    auto mean = [](const Tensor& t) { return t.mean(1, /*keepdim=*/true); };
    Tensor r = (mean(v.square()) + eps).rsqrt();
    Tensor gv = mean(g * v), qv = mean(q * v), gq = mean(g * q);
    return r.pow(3) * ((3 * r.square() * gv * qv - gq) * v - qv * g - gv * q);
  }
};

struct MinibatchStddev : Function<MinibatchStddev> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x, int64_t group, int64_t channels, double eps) {
    ctx->save_for_backward({x});
    ctx->saved_data["how"] = c10::ivalue::Tuple::create(group, channels, eps);
    ctx->set_materialize_grads(false);
    return below(minibatch_stddev, x, group, channels, eps);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    variable_list found(4);
    if (!grads[0].defined()) return found;
    const auto& how = ctx->saved_data["how"].toTupleRef().elements();
    found[0] = minibatch_stddev_backward(grads[0], ctx->get_saved_variables()[0], how[0].toInt(), how[1].toInt(),
                                         how[2].toDouble());
    return found;
  }
};

struct MinibatchStddevBackward : Function<MinibatchStddevBackward> {
  static Tensor forward(AutogradContext* ctx, const Tensor& dy, const Tensor& x, int64_t group, int64_t channels,
                        double eps) {
    ctx->save_for_backward({dy, x});
    ctx->saved_data["how"] = c10::ivalue::Tuple::create(group, channels, eps);
    ctx->set_materialize_grads(false);
    return below(minibatch_stddev_backward, dy, x, group, channels, eps);
  }

  // With d = x - mean and s = sqrt(var + eps) over a group, dx = dy + k * d / s, where k is the mean over all
  // that a map stands for of its gradient; derived by dy and x.
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    variable_list found(5);
    const Tensor& ddx = grads[0];
    if (!ddx.defined()) return found;
    auto saved = ctx->get_saved_variables();
    const Tensor &dy = saved[0], &x = saved[1];
    const auto& how = ctx->saved_data["how"].toTupleRef().elements();
    SymInt group = how[0].toInt(), channels = how[1].toInt();
    SymInt n = x.sym_size(0), c = x.sym_size(1), h = x.sym_size(2), w = x.sym_size(3), of_each = c / channels;
    SymInt sizes[] = {group, n / group, channels, of_each, h, w};
    Tensor v = widened(x).reshape_symint(sizes), q = widened(ddx).reshape_symint(sizes);
    Tensor d = v - v.mean(0), s = (d.square().mean(0) + how[2].toDouble()).sqrt();
    Tensor along = (q * d).mean(0) / s;
    if (ctx->needs_input_grad(0)) {
      Tensor maps = along.mean(at::IntArrayRef{2, 3, 4}).repeat_symint({group, 1}).unsqueeze(-1).unsqueeze(-1);
      found[0] = at::cat({ddx, maps.expand_symint({-1, -1, h, w}).to(x.scalar_type())}, 1);
    }
    if (ctx->needs_input_grad(1)) {
      Tensor maps = widened(dy).slice_symint(1, c).reshape_symint({group, n / group, channels, h * w});
      Tensor k = maps.sum(at::IntArrayRef{0, 3}).unsqueeze(-1).unsqueeze(-1).unsqueeze(-1) / at::Scalar(of_each * h * w);
      Tensor dx = k / at::Scalar(group) * ((q - q.mean(0)) - along * d / s) / s;
      found[1] = dx.reshape_symint(x.sym_sizes()).to(x.scalar_type());
    }
    return found;
  }
};

struct BatchMoments : Function<BatchMoments> {
  static variable_list forward(AutogradContext* ctx, const Tensor& x) {
    auto [mean, var] = below(batch_moments, x);
    ctx->save_for_backward({x, mean});
    ctx->set_materialize_grads(false);
    return {mean, var};
  }

  // dx = (dmean + 2 * dvar * (x - mean)) / count: scale and shift of each channel. That d mean / d x enters var
  // as well changes nothing, for the deviations sum to 0.
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    if (!grads[0].defined() && !grads[1].defined()) return variable_list(1);
    auto saved = ctx->get_saved_variables();
    const Tensor &x = saved[0], &mean = saved[1];
    Tensor dmean = grads[0].defined() ? grads[0] : at::zeros_like(mean);
    Tensor dvar = grads[1].defined() ? grads[1] : at::zeros_like(mean);
    at::Scalar count(x.sym_numel() / x.sym_size(1).max(1));
    Tensor scale = 2 * dvar / count;
    return {affine_act(x, scale, dmean / count - mean * scale, std::nullopt, Settings())};
  }
};

Tensor pixel_norm_tracked(const Tensor& x, double eps) {
  if (tracked(x)) return PixelNorm::apply(x, eps);
  return below(pixel_norm, x, eps);
}

Tensor pixel_norm_backward_tracked(const Tensor& dy, const Tensor& x, double eps) {
  if (tracked(dy, x)) return PixelNormBackward::apply(dy, x, eps);
  return below(pixel_norm_backward, dy, x, eps);
}

Tensor minibatch_stddev_tracked(const Tensor& x, int64_t group, int64_t channels, double eps) {
  if (tracked(x)) return MinibatchStddev::apply(x, group, channels, eps);
  return below(minibatch_stddev, x, group, channels, eps);
}

Tensor minibatch_stddev_backward_tracked(const Tensor& dy, const Tensor& x, int64_t group, int64_t channels,
                                         double eps) {
  if (tracked(dy, x)) return MinibatchStddevBackward::apply(dy, x, group, channels, eps);
  return below(minibatch_stddev_backward, dy, x, group, channels, eps);
}

std::tuple<Tensor, Tensor> batch_moments_tracked(const Tensor& x) {
  if (tracked(x)) {
    auto both = BatchMoments::apply(x);
    return {both[0], both[1]};
  }
  return below(batch_moments, x);
}

}  // namespace

TORCH_LIBRARY_IMPL(hrgan, Autograd, m) {
  m.impl("pixel_norm", pixel_norm_tracked);
  m.impl("pixel_norm_backward", pixel_norm_backward_tracked);
  m.impl("minibatch_stddev", minibatch_stddev_tracked);
  m.impl("minibatch_stddev_backward", minibatch_stddev_backward_tracked);
  m.impl("batch_moments", batch_moments_tracked);
}

}  // namespace hrgan
