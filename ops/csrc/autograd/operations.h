// What derivatives are made of: the operations as the dispatcher knows them, so that each derivative has its own.
#pragma once

#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/csrc/autograd/functions/utils.h>

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

namespace hrgan {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;
using Maybe = std::optional<Tensor>;
using Four = std::tuple<Tensor, Tensor, Tensor, Tensor>;
using Needs = std::array<bool, 4>;

inline Maybe maybe(const Tensor& tensor, bool wanted = true) {
  return wanted && tensor.defined() ? Maybe(tensor) : std::nullopt;
}

// True if autograd must know of an operation on these tensors, be it to refuse forward mode.
template <typename... Tensors>
bool tracked(const Tensors&... tensors) {
  auto dual = [](const Maybe& t) { return t.has_value() && t->defined() && t->_fw_grad(/*level=*/0).defined(); };
  return torch::autograd::compute_requires_grad(tensors...) || (dual(tensors) || ...);
}

// The operation alone, below autograd.
template <typename Operation, typename... Inputs>
auto below(const Operation& operation, const Inputs&... inputs) {
  at::AutoDispatchBelowADInplaceOrView guard;
  return operation(inputs...);
}

// Which of the inputs want a gradient now. Autograd numbers those that were given.
template <size_t n>
std::array<bool, n> wanted(const AutogradContext* ctx, const std::array<bool, n>& given) {
  std::array<bool, n> found{};
  for (size_t i = 0, number = 0; i < n; ++i) {
    found[i] = given[i] && ctx->needs_input_grad(number++);
  }
  return found;
}

// How the argument of an activation becomes its result.
struct Settings {
  std::string act;
  double alpha, gain, clamp;

  explicit Settings(std::string_view act = "linear", double alpha = 0, double gain = 1, double clamp = -1)
      : act(act), alpha(alpha), gain(gain), clamp(clamp) {}
  explicit Settings(const c10::ivalue::Tuple& packed)
      : act(packed.elements()[0].toStringRef()),
        alpha(packed.elements()[1].toDouble()),
        gain(packed.elements()[2].toDouble()),
        clamp(packed.elements()[3].toDouble()) {}
  c10::IValue packed() const { return c10::ivalue::Tuple::create(act, alpha, gain, clamp); }

  bool swish() const { return act == "swish"; }
  bool curved() const { return act != "linear" && act != "relu" && act != "lrelu"; }
  // True if the derivative depends on where it is taken.
  bool has_ref() const { return act != "linear" || clamp >= 0; }
};

template <typename Signature>
auto operation(const char* name) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, "").typed<Signature>();
}

inline Tensor affine_act(const Tensor& x, const Maybe& scale, const Maybe& shift, const Maybe& noise,
                         const Settings& s) {
  static const auto op = operation<Tensor(const Tensor&, const Maybe&, const Maybe&, const Maybe&,
                                          std::string_view, double, double, double)>("hrgan::affine_act");
  return op.call(x, scale, shift, noise, s.act, s.alpha, s.gain, s.clamp);
}

inline Four affine_act_backward(const Tensor& dy, const Maybe& ref, const Maybe& x, const Maybe& scale,
                                const Settings& s, const Needs& needs) {
  static const auto op =
      operation<Four(const Tensor&, const Maybe&, const Maybe&, const Maybe&, std::string_view, double, double,
                     double, Needs)>("hrgan::affine_act_backward");
  return op.call(dy, ref, x, scale, s.act, s.alpha, s.gain, s.clamp, needs);
}

inline Tensor upfirdn2d(const Tensor& x, const Tensor& f, at::IntArrayRef up, at::IntArrayRef down,
                        at::IntArrayRef pads, bool flip, double gain) {
  static const auto op = operation<Tensor(const Tensor&, const Tensor&, at::IntArrayRef, at::IntArrayRef,
                                          at::IntArrayRef, bool, double)>("hrgan::upfirdn2d");
  return op.call(x, f, up, down, pads, flip, gain);
}

// The operands of affine_act beside x, by how the sums of each image become their gradients.
class Operands {
 public:
  Operands(const Maybe& scale, const Maybe& shift, const Maybe& noise)
      : fits_{fit(scale), fit(shift), fit(noise)} {}
  explicit Operands(const c10::IValue& packed) {
    for (int64_t rest = packed.toInt(); auto& one : fits_) {
      one = rest % 4;
      rest /= 4;
    }
  }
  c10::IValue packed() const { return fits_[0] + 4 * fits_[1] + 16 * fits_[2]; }

  bool given(int i) const { return fits_[i] != kMissing; }
  // True if none differs between images.
  bool flat() const {
    return std::all_of(fits_.begin(), fits_.end(), [](int64_t fit) { return fit == kMissing || fit == kFlat; });
  }

  // The gradient of operand i from sums of each image, in its shape.
  Tensor fitted(int i, const Tensor& sums) const {
    bool of_all = fits_[i] == kFlat || (fits_[i] == kOne && sums.sym_size(0) != 1);
    return of_all ? sums.sum(0, /*keepdim=*/fits_[i] == kOne) : sums;
  }

 private:
  // Not there; [N, ...]; [1, ...] for all images; [C] for all images.
  static constexpr int64_t kMissing = 0, kEach = 1, kOne = 2, kFlat = 3;

  static int64_t fit(const Maybe& operand) {
    if (!operand.has_value()) return kMissing;
    return operand->dim() == 1 ? kFlat : operand->sym_size(0) == 1 ? kOne : kEach;
  }

  std::array<int64_t, 3> fits_;
};

}  // namespace hrgan
