// The derivatives of filtered_lrelu. Between two filters stands a function of straight pieces, so each derivative
// of it is the two filters, exchanged, with the slopes of the pieces between them; filters have none.
#include <torch/library.h>

#include "operations.h"

namespace hrgan {
namespace {

using at::IntArrayRef;

int64_t number(const c10::SymInt& size) { return size.guard_int(__FILE__, __LINE__); }

std::tuple<Tensor, Tensor> filtered_lrelu(const Tensor& x, const Tensor& up_filter, const Tensor& down_filter,
                                          const Maybe& bias, int64_t up, int64_t down, IntArrayRef pads, bool flip,
                                          double gain, double slope, double clamp, bool signs) {
  static const auto op =
      operation<std::tuple<Tensor, Tensor>(const Tensor&, const Tensor&, const Tensor&, const Maybe&, int64_t,
                                           int64_t, IntArrayRef, bool, double, double, double, bool)>(
          "hrgan::filtered_lrelu");
  return op.call(x, up_filter, down_filter, bias, up, down, pads, flip, gain, slope, clamp, signs);
}

Tensor filtered_by_signs(const Tensor& x, const Tensor& up_filter, const Tensor& down_filter, const Tensor& signs,
                         int64_t up, int64_t down, IntArrayRef pads, IntArrayRef offset, bool flip, double gain,
                         double slope) {
  static const auto op =
      operation<Tensor(const Tensor&, const Tensor&, const Tensor&, const Tensor&, int64_t, int64_t, IntArrayRef,
                       IntArrayRef, bool, double, double)>("hrgan::filtered_by_signs");
  return op.call(x, up_filter, down_filter, signs, up, down, pads, offset, flip, gain, slope);
}

// The linear map gain * down(m * up(x)) with all that is said of it but filters and signs.
struct Path {
  int64_t up, down;
  std::vector<int64_t> pads, offset;
  bool flip;
  double gain, slope;
  int64_t rows = 0, columns = 0;  // of its input; known in the backward pass

  Path(int64_t up, int64_t down, IntArrayRef pads, IntArrayRef offset, bool flip, double gain, double slope)
      : up(up), down(down), pads(pads.vec()), offset(offset.vec()), flip(flip), gain(gain), slope(slope) {}
  explicit Path(const c10::ivalue::Tuple& packed)
      : flip(packed.elements()[1].toBool()),
        gain(packed.elements()[2].toDouble()),
        slope(packed.elements()[3].toDouble()) {
    auto n = packed.elements()[0].toIntVector();
    up = n[0], down = n[1], rows = n[2], columns = n[3];
    pads.assign(n.begin() + 4, n.begin() + 8), offset.assign(n.begin() + 8, n.end());
  }
  c10::IValue packed(const Tensor& x) const {
    std::vector<int64_t> numbers{up, down, number(x.sym_size(2)), number(x.sym_size(3))};
    numbers.insert(numbers.end(), pads.begin(), pads.end());
    numbers.insert(numbers.end(), offset.begin(), offset.end());
    return c10::ivalue::Tuple::create(numbers, flip, gain, slope);
  }

  // The gradient of its input. Sample j of the exchanged map is sample j + offset of this one: what the first
  // filter reached before the image now crops or pads, and the end is whatever gives back the input's size.
  Tensor adjoint(const Tensor& dy, const Tensor& up_filter, const Tensor& down_filter, const Tensor& signs) const {
    int64_t most_x = up_filter.size(-1) - 1 - pads[0], most_y = up_filter.size(0) - 1 - pads[2];
    int64_t right = columns * up - number(dy.sym_size(3)) * down + pads[0] - up + 1;
    int64_t below = rows * up - number(dy.sym_size(2)) * down + pads[2] - up + 1;
    return filtered_by_signs(dy, down_filter, up_filter, signs, down, up,
                             {most_x + down_filter.size(-1) - 1, right, most_y + down_filter.size(0) - 1, below},
                             {offset[0] - most_y, offset[1] - most_x}, !flip, gain, slope);
  }
};

void keep(AutogradContext* ctx, const Path& path, const Tensor& x, const Tensor& up_filter,
          const Tensor& down_filter, const Tensor& signs, const Tensor& y) {
  ctx->save_for_backward({up_filter, down_filter, signs});
  ctx->saved_data["path"] = path.packed(x);
  ctx->saved_data["layout"] = static_cast<int64_t>(y.suggest_memory_format());
  ctx->set_materialize_grads(false);
}

Tensor adjoint_of(AutogradContext* ctx, const Tensor& given) {
  auto saved = ctx->get_saved_variables();
  Tensor dy = given.contiguous(static_cast<at::MemoryFormat>(ctx->saved_data["layout"].toInt()));
  return Path(ctx->saved_data["path"].toTupleRef()).adjoint(dy, saved[0], saved[1], saved[2]);
}

struct FilteredLrelu : Function<FilteredLrelu> {
  static variable_list forward(AutogradContext* ctx, const Tensor& x, const Tensor& up_filter,
                               const Tensor& down_filter, const Maybe& bias, const Path& path, double gain,
                               double clamp) {
    auto [y, signs] = below(filtered_lrelu, x, up_filter, down_filter, bias, path.up, path.down, path.pads,
                            path.flip, gain, path.slope, clamp, true);
    keep(ctx, path, x, up_filter, down_filter, signs, y);
    ctx->saved_data["bias"] = bias.has_value();
    ctx->mark_non_differentiable({signs});
    return {y, signs};
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    variable_list found(7);
    auto [wants_x, _, unused, wants_bias] = wanted<4>(ctx, {true, true, true, ctx->saved_data["bias"].toBool()});
    if (!grads[0].defined() || !(wants_x || wants_bias)) return found;
    Tensor dx = adjoint_of(ctx, grads[0]);
    if (wants_x) found[0] = dx;
    if (wants_bias) {
      found[3] = std::get<2>(affine_act_backward(dx, std::nullopt, std::nullopt, std::nullopt, Settings(),
                                                 {false, false, true, false}))
                     .sum(0);
    }
    return found;
  }
};

struct FilteredBySigns : Function<FilteredBySigns> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& up_filter, const Tensor& down_filter,
                        const Tensor& signs, const Path& path) {
    Tensor y = below(filtered_by_signs, x, up_filter, down_filter, signs, path.up, path.down, path.pads,
                     path.offset, path.flip, path.gain, path.slope);
    keep(ctx, path, x, up_filter, down_filter, signs, y);
    return y;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    variable_list found(5);
    if (grads[0].defined() && ctx->needs_input_grad(0)) found[0] = adjoint_of(ctx, grads[0]);
    return found;
  }
};

void refuse_filters(const Tensor& up_filter, const Tensor& down_filter) {
  TORCH_CHECK(!tracked(up_filter, down_filter), "filtered_lrelu: its filters have no gradient; detach them");
}

std::tuple<Tensor, Tensor> filtered_lrelu_tracked(const Tensor& x, const Tensor& up_filter,
                                                  const Tensor& down_filter, const Maybe& bias, int64_t up,
                                                  int64_t down, IntArrayRef pads, bool flip, double gain,
                                                  double slope, double clamp, bool signs) {
  refuse_filters(up_filter, down_filter);
  if (tracked(x, bias)) {
    Path path(up, down, pads, {0, 0}, flip, gain * static_cast<double>(up * up), slope);
    variable_list found = FilteredLrelu::apply(x, up_filter, down_filter, bias, path, gain, clamp);
    return {found[0], found[1]};
  }
  return below(filtered_lrelu, x, up_filter, down_filter, bias, up, down, pads, flip, gain, slope, clamp, signs);
}

Tensor filtered_by_signs_tracked(const Tensor& x, const Tensor& up_filter, const Tensor& down_filter,
                                 const Tensor& signs, int64_t up, int64_t down, IntArrayRef pads,
                                 IntArrayRef offset, bool flip, double gain, double slope) {
  refuse_filters(up_filter, down_filter);
  if (tracked(x)) {
    return FilteredBySigns::apply(x, up_filter, down_filter, signs,
                                  Path(up, down, pads, offset, flip, gain, slope));
  }
  return below(filtered_by_signs, x, up_filter, down_filter, signs, up, down, pads, offset, flip, gain, slope);
}

}  // namespace

TORCH_LIBRARY_IMPL(hrgan, Autograd, m) {
  m.impl("filtered_lrelu", filtered_lrelu_tracked);
  m.impl("filtered_by_signs", filtered_by_signs_tracked);
}

}  // namespace hrgan
