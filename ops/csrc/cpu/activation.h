// c(p) = clamp(gain * act(p)) on vectors, with its first derivative and that one's derivative.
#pragma once

#include <c10/util/Exception.h>

#include <limits>
#include <string_view>

#include "vectors.h"

namespace hrgan {

enum class Act { linear, relu, lrelu, tanh, sigmoid, softplus, swish };

inline Act parse_act(std::string_view name) {
  constexpr std::string_view names[] = {"linear", "relu", "lrelu", "tanh", "sigmoid", "softplus", "swish"};
  for (int i = 0; i < 7; ++i) {
    if (names[i] == name) {
      return static_cast<Act>(i);
    }
  }
  TORCH_CHECK(false, "unknown activation ", name);
}

// What is decided when a kernel is compiled; the curved ones are told apart at run time.
enum class Kind { linear, leaky, curved };

inline Kind kind_of(Act act) {
  return act == Act::linear ? Kind::linear : act <= Act::lrelu ? Kind::leaky : Kind::curved;
}

template <typename S, Kind kind>
struct Activation {
  using V = Vec<S>;
  Act act;
  V alpha, gain, low, high;
  bool clamped;

  Activation(Act act, double alpha, double gain, double clamp)
      : act(act),
        alpha(static_cast<S>(act == Act::relu ? 0 : alpha)),
        gain(static_cast<S>(gain)),
        low(static_cast<S>(-clamp)),
        high(static_cast<S>(clamp)),
        clamped(clamp >= 0) {}

  V forward(V p) const {
    V y = value(p) * gain;
    return clamped ? at::vec::minimum(at::vec::maximum(y, low), high) : y;
  }

  // c'; ref is y, for swish p.
  V slope(V ref) const {
    if constexpr (kind == Kind::linear) {
      return within(gain, ref);
    } else if constexpr (kind == Kind::leaky) {
      return within(V::blendv(gain * alpha, gain, ref > V(0)), ref);
    } else {
      return within(gain * curved_slope(ref), act == Act::swish ? ref * sigmoid(ref) * gain : ref);
    }
  }

  // dc'/dref.
  V curvature(V ref) const {
    if constexpr (kind != Kind::curved) {
      return V(0);
    } else if (act == Act::swish) {
      V s = sigmoid(ref), t = s * (V(1) - s);
      return within(gain * t * (V(2) + ref * (V(1) - V(2) * s)), ref * s * gain);
    } else {
      V y = ref / gain;
      V bend = act == Act::tanh ? V(-2) * y : act == Act::sigmoid ? V(1) - V(2) * y : y.neg().exp();
      return within(bend, ref);
    }
  }

 private:
  static V sigmoid(V p) { return V(1) / (V(1) + p.neg().exp()); }

  // 0 where the clamp holds y.
  V within(V value, V y) const {
    return clamped ? V::blendv(V(0), value, (y > low) & (y < high)) : value;
  }

  V value(V p) const {
    if constexpr (kind == Kind::linear) {
      return p;
    } else if constexpr (kind == Kind::leaky) {
      // So that a NaN stays one, and relu of -inf is 0.
      V negative = act == Act::relu ? V(0) : p * alpha;
      return V::blendv(p, negative, p <= V(0));
    } else {
      switch (act) {
        case Act::tanh:
          return p.tanh();
        case Act::sigmoid:
          return sigmoid(p);
        case Act::softplus:
          return at::vec::maximum(p, V(0)) + p.abs().neg().exp().log1p();
        default:
          return p * sigmoid(p);
      }
    }
  }

  V curved_slope(V ref) const {
    if (act == Act::swish) {
      V s = sigmoid(ref);
      return s * (V(1) + ref * (V(1) - s));
    }
    V y = ref / gain;
    if (act == Act::tanh) {
      return V(1) - y * y;
    }
    return act == Act::sigmoid ? y * (V(1) - y) : V(0) - y.neg().expm1();
  }
};

}  // namespace hrgan
