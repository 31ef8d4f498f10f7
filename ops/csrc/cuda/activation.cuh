// c(p) = clamp(gain * act(p)) with its first two derivatives, computed from what the forward pass keeps.
#pragma once

#include "device.cuh"

namespace hrgan {

enum class Act : int { linear, relu, lrelu, tanh, sigmoid, softplus, swish };

template <typename acc>
struct Activation {
  Act act;
  acc slope;  // of lrelu
  acc gain;
  acc inverse_gain;  // 0 if gain is: the derivative is 0 then, not NaN
  acc clamp;  // as images can hold it, so that a clamped value equals it; negative: none
  acc falling;  // c'(p) of piecewise ones for p < 0
  acc below;  // what p < 0 is multiplied by; not 0 for relu, whose 0 is a bound: -inf * 0 is NaN
  acc low, high;  // what c(p) is kept between; relu's zero is one of them
  acc held;  // |c(p)| from which on c' is 0; NaN, with which no comparison holds: none

  // clamp: rounded as images round it.
  __host__ __device__ Activation(Act act, acc slope, acc gain, acc clamp)
      : act(act), slope(slope), gain(gain), inverse_gain(gain == 0 ? acc(0) : 1 / gain), clamp(clamp) {
    const acc most = clamp < 0 ? acc(INFINITY) : clamp;
    falling = act == Act::lrelu ? gain * slope : act == Act::relu ? acc(0) : gain;
    below = act == Act::relu ? gain : falling;
    low = act == Act::relu && gain >= 0 ? acc(0) : -most;
    high = act == Act::relu && gain < 0 ? acc(0) : most;
    held = clamp < 0 ? acc(NAN) : clamp;
  }
  Activation() = default;

  // Linear, relu and lrelu, which cost nothing; the others pay for a transcendental function.
  __host__ __device__ bool piecewise() const { return act <= Act::lrelu; }
};

template <typename acc>
__host__ __device__ inline acc bounded(const Activation<acc>& a, acc y) {
  return at_most(at_least(y, a.low), a.high);
}

template <typename acc>
__host__ __device__ inline bool is_clamped(const Activation<acc>& a, acc y) {
  return fabs(y) >= a.held;
}

template <typename acc>
__host__ __device__ inline acc sigmoid(acc p) {
  // exp of a negative number only: never infinite.
  const acc e = exp(p < 0 ? p : -p);
  return p < 0 ? e / (1 + e) : 1 / (1 + e);
}

// `smooth` false: for piecewise activations only, without branches.
template <bool smooth, typename acc>
__host__ __device__ inline acc activate(const Activation<acc>& a, acc p) {
  if constexpr (smooth) {
    if (a.act == Act::tanh) return bounded(a, a.gain * tanh(p));
    if (a.act == Act::sigmoid) return bounded(a, a.gain * sigmoid(p));
    if (a.act == Act::softplus) return bounded(a, a.gain * (p > 20 ? p : log1p(exp(p))));
    if (a.act == Act::swish) return bounded(a, a.gain * p * sigmoid(p));
  }
  return bounded(a, p * (p > 0 ? a.gain : a.below));
}

template <typename acc>
struct Derivatives {
  acc first;  // c'(p)
  acc second;  // its derivative by ref
};

// ref: y, for swish p, for linear without clamp anything.
template <bool smooth, typename acc>
__host__ __device__ inline Derivatives<acc> derivatives(const Activation<acc>& a, acc ref) {
  const acc u = ref * a.inverse_gain;  // act(p)
  if constexpr (smooth) {
    if (a.act == Act::swish) {
      const acc s = sigmoid(ref);
      if (is_clamped(a, a.gain * ref * s)) return {0, 0};
      return {a.gain * s * (1 + ref * (1 - s)), a.gain * s * (1 - s) * (2 + ref * (1 - 2 * s))};
    }
    if (is_clamped(a, ref)) return {0, 0};
    if (a.act == Act::tanh) return {a.gain * (1 - u * u), -2 * u};
    if (a.act == Act::sigmoid) return {a.gain * u * (1 - u), 1 - 2 * u};
    if (a.act == Act::softplus) {
      if (u > 20) return {a.gain, 0};
      return {-a.gain * expm1(-u), exp(-u)};
    }
  }
  const acc slope = u > 0 ? a.gain : a.falling;
  return {is_clamped(a, ref) ? acc(0) : slope, 0};
}

}  // namespace hrgan
