// What the kernels of filtered_lrelu are told, and its activation, by values or by signs.
#pragma once

#include "filter_arguments.cuh"

namespace hrgan {

constexpr int kMostTaps = 32, kMostRate = 4;  // along an axis
constexpr int kSignRows = 4;                  // rows of samples whose signs a byte holds, two bits each

// Along one axis, sample[s] = sum over j of up_tap(j) * stuffed[s + j - before], and
// out[o] = sum over j of down_tap(j) * c(sample[o * down + j]).
struct LreluAxis {
  int in, samples, out;
  int up, down, before, up_taps, down_taps;
  int signed_samples, offset;  // samples that have signs; sample s has those of s + offset
};

template <typename T>
struct LreluArguments {
  using acc = compute_t<T>;
  const T* x;
  const acc *bias, *up_filter, *down_filter;  // bias: null for none; filters as in FilterArguments
  T* out;
  uint8_t* kept;          // signs that are written; null: none
  const uint8_t* signs;   // signs that stand for the activation
  int64_t planes, channels;
  LreluAxis y, x_axis;
  bool up_separable, down_separable, flip;
  acc up_gain;            // along each axis
  acc gain, falling;      // of the activation where it rises, and below zero
  acc clamp;              // infinite: none
};

// Which of two ways a sample goes: by its value, or by a sign that was kept.
enum class Slope { of_value, of_sign };

// c(u). sign: 0, clamped, which NaN is too; 1, above zero; 2, not above.
template <typename T>
__device__ inline compute_t<T> activated(const LreluArguments<T>& a, compute_t<T> u, uint32_t& sign) {
  using acc = compute_t<T>;
  const bool rises = u > 0;
  const acc c = u * (rises ? a.gain : a.falling);
  sign = fabs(c) <= a.clamp ? (rises ? 1u : 2u) : 0u;
  return at_most(at_least(c, -a.clamp), a.clamp);
}

template <typename T>
__device__ inline compute_t<T> sloped(const LreluArguments<T>& a, compute_t<T> u, uint32_t sign) {
  using acc = compute_t<T>;
  return u * (sign & 1 ? a.gain : sign & 2 ? a.falling : acc(0));
}

}  // namespace hrgan
