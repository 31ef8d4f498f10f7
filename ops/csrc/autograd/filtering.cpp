// The derivatives of upfirdn2d and blur_act. A filter is linear in the image, so its derivative is itself with
// the roles of up and down exchanged; what a filter is made of has none.
#include <torch/library.h>

#include "operations.h"

namespace hrgan {
namespace {

using at::IntArrayRef;

int64_t number(const c10::SymInt& size) { return size.guard_int(__FILE__, __LINE__); }

// A filter with all that is said of it.
struct Filtering {
  std::vector<int64_t> up, down, pads;
  bool flip;
  double gain;
  int64_t rows = 0, columns = 0;  // of the image; known in the backward pass

  Filtering(IntArrayRef up, IntArrayRef down, IntArrayRef pads, bool flip, double gain)
      : up(up.vec()), down(down.vec()), pads(pads.vec()), flip(flip), gain(gain) {}
  explicit Filtering(const c10::ivalue::Tuple& packed)
      : flip(packed.elements()[1].toBool()), gain(packed.elements()[2].toDouble()) {
    auto numbers = packed.elements()[0].toIntVector();
    auto part = [&](int first, int last) { return std::vector(numbers.begin() + first, numbers.begin() + last); };
    up = part(0, 2), down = part(2, 4), pads = part(4, 8);
    rows = numbers[8], columns = numbers[9];
  }
  c10::IValue packed(const Tensor& x) const {
    std::vector<int64_t> numbers;
    for (const auto& part : {up, down, pads}) numbers.insert(numbers.end(), part.begin(), part.end());
    numbers.push_back(number(x.sym_size(2)));
    numbers.push_back(number(x.sym_size(3)));
    return c10::ivalue::Tuple::create(numbers, flip, gain);
  }

  Tensor operator()(const Tensor& x, const Tensor& f) const { return upfirdn2d(x, f, up, down, pads, flip, gain); }

  // The gradient of the image. Padding that gives back its size: what the filter overlapped before becomes
  // what follows. It may be negative, which crops; rows that `down` left over at the end, and only those, are
  // why the image's size has to be known: several sizes have the same result.
  Tensor adjoint(const Tensor& dy, const Tensor& f) const {
    int64_t height = number(f.sym_size(0)), width = number(f.sym_size(f.dim() - 1));
    int64_t below = rows * up[0] - number(dy.sym_size(2)) * down[0] + pads[2] - up[0] + 1;
    int64_t right = columns * up[1] - number(dy.sym_size(3)) * down[1] + pads[0] - up[1] + 1;
    return upfirdn2d(dy, f, down, up, {width - 1 - pads[0], right, height - 1 - pads[2], below}, !flip, gain);
  }
};

struct Upfirdn2d : Function<Upfirdn2d> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& f, const Filtering& how) {
    Tensor y = below(how, x, f);
    // Of a linear map the image is not needed again; its size is in `how`.
    ctx->save_for_backward({f});
    ctx->saved_data["how"] = how.packed(x);
    ctx->saved_data["layout"] = static_cast<int64_t>(y.suggest_memory_format());
    ctx->set_materialize_grads(false);
    return y;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    variable_list found(3);
    if (!grads[0].defined() || !ctx->needs_input_grad(0)) return found;
    Tensor f = ctx->get_saved_variables()[0];
    Tensor dy = grads[0].contiguous(static_cast<at::MemoryFormat>(ctx->saved_data["layout"].toInt()));
    found[0] = Filtering(ctx->saved_data["how"].toTupleRef()).adjoint(dy, f);
    return found;
  }
};

Tensor blur_act(const Tensor& x, const Tensor& f, const Filtering& how, const Maybe& scale, const Maybe& shift,
                const Maybe& noise, const Settings& s) {
  static const auto op =
      operation<Tensor(const Tensor&, const Tensor&, IntArrayRef, bool, double, const Maybe&, const Maybe&,
                       const Maybe&, std::string_view, double, double, double)>("hrgan::blur_act");
  return op.call(x, f, how.pads, how.flip, how.gain, scale, shift, noise, s.act, s.alpha, s.gain, s.clamp);
}

struct BlurAct : Function<BlurAct> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& f, const Maybe& scale,
                        const Maybe& shift, const Maybe& noise, const Filtering& how, const Settings& s) {
    Tensor y = below(blur_act, x, f, how, scale, shift, noise, s), none;
    bool swish = s.swish(), slopes = scale.has_value() && scale->requires_grad();
    ctx->save_for_backward({s.has_ref() && !swish ? y : none, slopes || swish ? x : none, f,
                            scale.value_or(none), swish ? shift.value_or(none) : none,
                            swish ? noise.value_or(none) : none});
    ctx->saved_data["how"] = how.packed(x);
    ctx->saved_data["settings"] = s.packed();
    ctx->saved_data["operands"] = Operands(scale, shift, noise).packed();
    ctx->saved_data["layout"] = static_cast<int64_t>(y.suggest_memory_format());
    ctx->set_materialize_grads(false);
    return y;
  }

  // The scale, one number a plane, commutes with the filter: its gradient is taken before it, from x. So the
  // filtered image, which the fused forward does not keep, is not needed for it.
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    variable_list found(7);
    if (!grads[0].defined()) return found;
    auto saved = ctx->get_saved_variables();
    const Tensor &y = saved[0], &x = saved[1], &f = saved[2], &scale = saved[3];
    Filtering how(ctx->saved_data["how"].toTupleRef());
    Settings s(ctx->saved_data["settings"].toTupleRef());
    Operands operands(ctx->saved_data["operands"]);
    Tensor g = grads[0].contiguous(static_cast<at::MemoryFormat>(ctx->saved_data["layout"].toInt()));
    Tensor ref = s.swish() ? affine_act(how(x, f), maybe(scale), maybe(saved[4]), maybe(saved[5]), Settings()) : y;
    auto [wants_x, _, wants_scale, wants_shift, wants_noise] =
        wanted<5>(ctx, {true, true, operands.given(0), operands.given(1), operands.given(2)});
    bool wants_image = wants_x || wants_scale;
    if (s.has_ref() || s.gain != 1 || wants_shift || wants_noise) {
      auto [dx, unused, dshift, dnoise] = affine_act_backward(
          g, maybe(ref), std::nullopt, std::nullopt, s, {wants_image, false, wants_shift, wants_noise});
      g = dx;
      if (wants_shift) found[3] = operands.fitted(1, dshift);
      if (wants_noise) found[4] = operands.fitted(2, dnoise);
    }
    if (!wants_image) return found;
    Tensor dx = how.adjoint(g, f);
    if (scale.defined()) {
      auto [scaled, dscale, unused, also] = affine_act_backward(dx, std::nullopt, maybe(x, wants_scale), scale,
                                                               Settings(), {wants_x, wants_scale, false, false});
      dx = scaled;
      if (wants_scale) found[2] = operands.fitted(0, dscale);
    }
    if (wants_x) found[0] = dx;
    return found;
  }
};

Tensor upfirdn2d_tracked(const Tensor& x, const Tensor& f, IntArrayRef up, IntArrayRef down, IntArrayRef pads,
                         bool flip, double gain) {
  if (tracked(x, f)) return Upfirdn2d::apply(x, f, Filtering(up, down, pads, flip, gain));
  return below(upfirdn2d, x, f, up, down, pads, flip, gain);
}

Tensor blur_act_tracked(const Tensor& x, const Tensor& f, IntArrayRef pads, bool flip, double filter_gain,
                        const Maybe& scale, const Maybe& shift, const Maybe& noise, std::string_view act,
                        double alpha, double gain, double clamp) {
  Filtering how({1, 1}, {1, 1}, pads, flip, filter_gain);
  Settings s(act, alpha, gain, clamp);
  if (tracked(x, f, scale, shift, noise)) return BlurAct::apply(x, f, scale, shift, noise, how, s);
  return below(blur_act, x, f, how, scale, shift, noise, s);
}

}  // namespace

TORCH_LIBRARY_IMPL(hrgan, Autograd, m) {
  m.impl("upfirdn2d", upfirdn2d_tracked);
  m.impl("blur_act", blur_act_tracked);
}

}  // namespace hrgan
