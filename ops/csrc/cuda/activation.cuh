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

  // Linear, relu and lrelu, which cost nothing; the others pay for a transcendental function.
  __host__ __device__ bool piecewise() const { return act <= Act::lrelu; }
};

// Comparisons are written so that NaN passes through.
template <typename acc>
__host__ __device__ inline acc clamped(const Activation<acc>& a, acc y) {
  if (a.clamp < 0) return y;
  return y > a.clamp ? a.clamp : (y < -a.clamp ? -a.clamp : y);
}

template <typename acc>
__host__ __device__ inline bool is_clamped(const Activation<acc>& a, acc y) {
  return a.clamp >= 0 && (y >= a.clamp || y <= -a.clamp);
}

template <typename acc>
__host__ __device__ inline acc sigmoid(acc p) {
  // exp of a negative number only: never infinite.
  const acc e = exp(p < 0 ? p : -p);
  return p < 0 ? e / (1 + e) : 1 / (1 + e);
}

// `smooth` false: for piecewise activations only, without the code of the others.
template <bool smooth, typename acc>
__host__ __device__ inline acc activate(const Activation<acc>& a, acc p) {
  acc y = p;
  if (a.act == Act::relu) {
    y = p < 0 ? acc(0) : p;
  } else if (a.act == Act::lrelu) {
    y = p > 0 ? p : p * a.slope;
  } else if constexpr (smooth) {
    if (a.act == Act::tanh) y = tanh(p);
    if (a.act == Act::sigmoid) y = sigmoid(p);
    if (a.act == Act::softplus) y = p > 20 ? p : log1p(exp(p));
    if (a.act == Act::swish) y = p * sigmoid(p);
  }
  return clamped(a, y * a.gain);
}

template <typename acc>
struct Derivatives {
  acc first;  // c'(p)
  acc second;  // its derivative by ref
};

// ref: y, for swish p, for linear without clamp anything.
template <bool smooth, typename acc>
__host__ __device__ inline Derivatives<acc> derivatives(const Activation<acc>& a, acc ref) {
  if (a.act != Act::swish && is_clamped(a, ref)) return {0, 0};
  const acc u = ref * a.inverse_gain;  // act(p)
  if (a.act == Act::linear) return {a.gain, 0};
  if (a.act == Act::relu) return {u > 0 ? a.gain : acc(0), 0};
  if (a.act == Act::lrelu) return {u > 0 ? a.gain : a.gain * a.slope, 0};
  if constexpr (smooth) {
    if (a.act == Act::tanh) return {a.gain * (1 - u * u), -2 * u};
    if (a.act == Act::sigmoid) return {a.gain * u * (1 - u), 1 - 2 * u};
    if (a.act == Act::softplus) {
      if (u > 20) return {a.gain, 0};
      return {-a.gain * expm1(-u), exp(-u)};
    }
    const acc s = sigmoid(ref);
    if (is_clamped(a, a.gain * ref * s)) return {0, 0};
    return {a.gain * s * (1 + ref * (1 - s)), a.gain * s * (1 - s) * (2 + ref * (1 - 2 * s))};
  }
  return {0, 0};
}

}  // namespace hrgan
