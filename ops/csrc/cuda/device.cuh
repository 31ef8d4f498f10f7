// What every kernel needs: the types it computes in, vectors in memory, and sums over lanes. The kernel
// headers know no torch, so that a host compiler can run them on emulated threads (HRGAN_EMULATED).
#pragma once

#include <cstdint>
#include <type_traits>

#ifndef HRGAN_EMULATED
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#endif

namespace hrgan {

// Half types are computed in float: their products and sums need more than eleven bits.
template <typename T>
struct Compute {
  using type = float;
};
template <>
struct Compute<double> {
  using type = double;
};
template <typename T>
using compute_t = typename Compute<T>::type;

__host__ __device__ inline float widen(__half value) { return __half2float(value); }
__host__ __device__ inline float widen(__nv_bfloat16 value) { return __bfloat162float(value); }
__host__ __device__ inline float widen(float value) { return value; }
__host__ __device__ inline double widen(double value) { return value; }

template <typename T>
__host__ __device__ inline T narrow(compute_t<T> value) {
  if constexpr (sizeof(T) >= 4) {
    return value;
  } else if constexpr (std::is_same_v<T, __half>) {
    return __float2half(value);
  } else {
    return __float2bfloat16(value);
  }
}

// Elements that one instruction moves, up to 16 bytes of them.
template <typename T, int count>
struct alignas(sizeof(T) * count < 16 ? sizeof(T) * count : 16) Vector {
  T values[count];
};

// The widest vector of a type. Doubles are for gradient checks: their kernels take single elements.
template <typename T>
constexpr int kWidest = sizeof(T) == 8 ? 1 : 16 / int(sizeof(T));

template <int count, typename T>
__device__ inline void load(compute_t<T> (&to)[count], const T* from) {
  const auto vector = *reinterpret_cast<const Vector<T, count>*>(from);
#pragma unroll
  for (int i = 0; i < count; ++i) to[i] = widen(vector.values[i]);
}

template <int count, typename T>
__device__ inline void store(T* to, const compute_t<T> (&from)[count]) {
  Vector<T, count> vector;
#pragma unroll
  for (int i = 0; i < count; ++i) vector.values[i] = narrow<T>(from[i]);
  *reinterpret_cast<Vector<T, count>*>(to) = vector;
}

// The sum over groups of `lanes` neighbouring lanes, a power of two; each lane gets it. All 32 must call.
template <typename T>
__device__ inline T lane_sum(T value, int lanes) {
  for (int offset = lanes / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(0xffffffffu, value, offset);
  return value;
}

__host__ __device__ constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace hrgan
