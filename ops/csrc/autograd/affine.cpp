// The first derivative of affine_act, and that one's. A third raises.
#include <torch/library.h>

#include "operations.h"

namespace hrgan {
namespace {

Four affine_act_backward_backward(const Tensor& dy, const Maybe& ref, const Maybe& x, const Maybe& scale,
                                  const Maybe& ddx, const Maybe& ddscale, const Maybe& ddshift,
                                  const Maybe& ddnoise, const Settings& s, const Needs& needs) {
  static const auto op =
      operation<Four(const Tensor&, const Maybe&, const Maybe&, const Maybe&, const Maybe&, const Maybe&,
                     const Maybe&, const Maybe&, std::string_view, double, double, double, Needs)>(
          "hrgan::affine_act_backward_backward");
  return op.call(dy, ref, x, scale, ddx, ddscale, ddshift, ddnoise, s.act, s.alpha, s.gain, s.clamp, needs);
}

// [N, C] as one image [1, C, N, 1], and the way back: sums over the rows then come at once.
Tensor as_image(const Tensor& x) {
  return x.defined() ? x.unsqueeze(0).unsqueeze(2).permute({0, 3, 1, 2}) : x;
}
Tensor as_rows(const Tensor& image) { return image.permute({0, 2, 3, 1}).squeeze(2).squeeze(0); }

variable_list listed(const Four& four) {
  return {std::get<0>(four), std::get<1>(four), std::get<2>(four), std::get<3>(four)};
}
Four counted(const variable_list& list) { return {list[0], list[1], list[2], list[3]}; }

struct AffineAct : Function<AffineAct> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Maybe& scale, const Maybe& shift,
                        const Maybe& noise, const Settings& s) {
    Tensor y = below(affine_act, x, scale, shift, noise, s), none;
    bool swish = s.swish(), slopes = scale.has_value() && scale->requires_grad();
    // y rather than x: the next layer keeps y anyway, and its sign tells the slope, for gain and slope are
    // positive (act_settings in ops/activation.py refuses others). x is kept only for what needs its values.
    ctx->save_for_backward({s.has_ref() && !swish ? y : none, slopes || swish ? x : none, scale.value_or(none),
                            swish ? shift.value_or(none) : none, swish ? noise.value_or(none) : none});
    ctx->saved_data["settings"] = s.packed();
    ctx->saved_data["operands"] = Operands(scale, shift, noise).packed();
    ctx->saved_data["layout"] = static_cast<int64_t>(y.suggest_memory_format());
    // A gradient that nobody asks for stays undefined; zeros in its place would cost passes over memory, and in
    // the second derivative make terms of 0 that keep whole images alive.
    ctx->set_materialize_grads(false);
    return y;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    if (!grads[0].defined()) return variable_list(5);
    auto saved = ctx->get_saved_variables();
    const Tensor &y = saved[0], &x = saved[1], &scale = saved[2], &shift = saved[3], &noise = saved[4];
    Settings s(ctx->saved_data["settings"].toTupleRef());
    Operands operands(ctx->saved_data["operands"]);
    // Whatever the layout of dy, gradients keep the image's: the convolutions they reach want it.
    Tensor dy = grads[0].contiguous(static_cast<at::MemoryFormat>(ctx->saved_data["layout"].toInt()));
    // The derivative of swish cannot be read off y.
    Tensor ref = s.swish() ? affine_act(x, maybe(scale), maybe(shift), maybe(noise), Settings()) : y;
    Needs needs = wanted<4>(ctx, {true, operands.given(0), operands.given(1), operands.given(2)});
    bool rows = dy.dim() == 2 && operands.flat();
    auto seen = [rows](const Tensor& t) { return maybe(rows ? as_image(t) : t); };
    auto found = listed(affine_act_backward(*seen(dy), seen(ref), needs[1] ? seen(x) : std::nullopt, maybe(scale),
                                            s, needs));
    if (rows && needs[0]) found[0] = as_rows(found[0]);
    for (int i = 0; i < 4; ++i) {
      found[i] = !needs[i] ? Tensor() : i ? operands.fitted(i - 1, found[i]) : found[i];
    }
    found.emplace_back();
    return found;
  }
};

struct AffineActSecond : Function<AffineActSecond> {
  static variable_list forward(AutogradContext*, const Tensor& dy, const Maybe& ref, const Maybe& x,
                               const Maybe& scale, const Maybe& ddx, const Maybe& ddscale, const Maybe& ddshift,
                               const Maybe& ddnoise, const Settings& s, const Needs& needs) {
    return listed(
        below(affine_act_backward_backward, dy, ref, x, scale, ddx, ddscale, ddshift, ddnoise, s, needs));
  }

  static variable_list backward(AutogradContext*, const variable_list&) {
    // Without this node a third derivative would come out as zero, silently.
    TORCH_CHECK(false,
                "compiled operations are differentiable twice, those of ops.backend=reference any number of times");
  }
};

struct AffineActBackward : Function<AffineActBackward> {
  static variable_list forward(AutogradContext* ctx, const Tensor& dy, const Maybe& ref, const Maybe& x,
                               const Maybe& scale, const Settings& s, const Needs& needs) {
    Tensor none;
    ctx->save_for_backward({dy, ref.value_or(none), x.value_or(none), scale.value_or(none)});
    ctx->saved_data["settings"] = s.packed();
    ctx->set_materialize_grads(false);
    return listed(below(affine_act_backward, dy, ref, x, scale, s, needs));
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    variable_list found(6);
    const Tensor &ddx = grads[0], &ddscale = grads[1], &ddshift = grads[2], &ddnoise = grads[3];
    if (!ddx.defined() && !ddscale.defined() && !ddshift.defined() && !ddnoise.defined()) return found;
    auto saved = ctx->get_saved_variables();
    const Tensor &dy = saved[0], &ref = saved[1], &x = saved[2], &scale = saved[3];
    Settings s(ctx->saved_data["settings"].toTupleRef());
    Needs needs = wanted<4>(ctx, {true, ref.defined(), x.defined(), scale.defined()});
    // Of piecewise linear activations the second derivative by where it is taken is 0, except at the kink, where
    // there is none; scale meets ddx and x meets ddscale alone.
    needs = {needs[0], needs[1] && s.curved(), needs[2] && ddscale.defined(), needs[3] && ddx.defined()};
    auto second = listed(affine_act_backward_backward(dy, maybe(ref), maybe(x), maybe(scale), maybe(ddx),
                                                      maybe(ddscale), maybe(ddshift), maybe(ddnoise), s, needs));
    for (int i = 0; i < 4; ++i) {
      if (needs[i]) found[i] = i == 3 && scale.dim() == 1 ? second[i].sum(0) : second[i];
    }
    return found;
  }
};

Tensor affine_act_tracked(const Tensor& x, const Maybe& scale, const Maybe& shift, const Maybe& noise,
                          std::string_view act, double alpha, double gain, double clamp) {
  Settings s(act, alpha, gain, clamp);
  if (tracked(x, scale, shift, noise)) return AffineAct::apply(x, scale, shift, noise, s);
  return below(affine_act, x, scale, shift, noise, s);
}

Four affine_act_backward_tracked(const Tensor& dy, const Maybe& ref, const Maybe& x, const Maybe& scale,
                                 std::string_view act, double alpha, double gain, double clamp, Needs needs) {
  Settings s(act, alpha, gain, clamp);
  if (tracked(dy, ref, x, scale)) return counted(AffineActBackward::apply(dy, ref, x, scale, s, needs));
  return below(affine_act_backward, dy, ref, x, scale, s, needs);
}

Four affine_act_backward_backward_tracked(const Tensor& dy, const Maybe& ref, const Maybe& x, const Maybe& scale,
                                          const Maybe& ddx, const Maybe& ddscale, const Maybe& ddshift,
                                          const Maybe& ddnoise, std::string_view act, double alpha, double gain,
                                          double clamp, Needs needs) {
  Settings s(act, alpha, gain, clamp);
  if (tracked(dy, ref, x, scale, ddx, ddscale, ddshift, ddnoise)) {
    return counted(AffineActSecond::apply(dy, ref, x, scale, ddx, ddscale, ddshift, ddnoise, s, needs));
  }
  return below(affine_act_backward_backward, dy, ref, x, scale, ddx, ddscale, ddshift, ddnoise, s, needs);
}

}  // namespace

TORCH_LIBRARY_IMPL(hrgan, Autograd, m) {
  m.impl("affine_act", affine_act_tracked);
  m.impl("affine_act_backward", affine_act_backward_tracked);
  m.impl("affine_act_backward_backward", affine_act_backward_backward_tracked);
}

}  // namespace hrgan
