// What every kernel needs: the types it computes in, vectors in memory, and sums over lanes. The kernel
// headers know no torch, so that a host compiler can run them on emulated threads (HRGAN_EMULATED).
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
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

// The smaller or the larger of two, in one instruction where there is one. NaN in x passes through.
template <typename acc>
__host__ __device__ inline acc at_most(acc x, acc bound) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  if constexpr (std::is_same_v<acc, float>) {
    asm("min.NaN.f32 %0, %0, %1;" : "+f"(x) : "f"(bound));
    return x;
  }
#endif
  return x > bound ? bound : x;
}
template <typename acc>
__host__ __device__ inline acc at_least(acc x, acc bound) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  if constexpr (std::is_same_v<acc, float>) {
    asm("max.NaN.f32 %0, %0, %1;" : "+f"(x) : "f"(bound));
    return x;
  }
#endif
  return x < bound ? bound : x;
}

// Elements that one instruction moves, up to 16 bytes of them.
template <typename T, int count>
struct alignas(sizeof(T) * count < 16 ? sizeof(T) * count : 16) Vector {
  T values[count];
};

// The widest vector of a type. Doubles are for gradient checks: their kernels take single elements.
template <typename T>
constexpr int kWidest = sizeof(T) == 8 ? 1 : 16 / int(sizeof(T));

// Elements as they lie in memory, in whole registers: elements of two bytes that meet after a branch would be
// taken apart and put together again.
template <typename T, int count>
struct alignas(sizeof(T) * count < 16 ? sizeof(T) * count : 16) Packed {
  static_assert(sizeof(T) * count % 4 == 0);
  uint32_t words[sizeof(T) * count / 4];
};

template <typename To, typename From>
__host__ __device__ inline To as_bits(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  memcpy(&to, &from, sizeof(to));
  return to;
}

// By the types that the compiler moves in one instruction; of a struct it may load the members one by one.
template <int count, typename T>
__device__ inline Packed<T, count> packed_at(const T* from) {
  using P = Packed<T, count>;
  if constexpr (sizeof(P) == 16) {
    return as_bits<P>(*reinterpret_cast<const uint4*>(from));
  } else if constexpr (sizeof(P) == 8) {
    return as_bits<P>(*reinterpret_cast<const uint2*>(from));
  } else {
    return *reinterpret_cast<const P*>(from);
  }
}

template <int count, typename T>
__device__ inline void unpack(compute_t<T> (&to)[count], const Packed<T, count>& packed) {
#pragma unroll
  for (int i = 0; i < count; ++i) {
    if constexpr (sizeof(T) == 4) {
      to[i] = as_bits<T>(packed.words[i]);
    } else if constexpr (std::is_same_v<T, __nv_bfloat16>) {
      // The upper half of a float, each: one instruction, where a conversion would first cut it out.
      to[i] = as_bits<float>(i % 2 == 0 ? packed.words[i / 2] << 16 : packed.words[i / 2] & 0xffff0000u);
    } else {
      to[i] = widen(as_bits<T>(uint16_t(packed.words[i / 2] >> (i % 2 * 16))));
    }
  }
}

template <int count, typename T>
__device__ inline void unpack(compute_t<T> (&to)[count], const Vector<T, count>& vector) {
#pragma unroll
  for (int i = 0; i < count; ++i) to[i] = widen(vector.values[i]);
}

// What a load brings before anything waits for it.
template <typename T, int count>
using Raw = std::conditional_t<(sizeof(T) < 8 && sizeof(T) * count % 4 == 0), Packed<T, count>, Vector<T, count>>;

template <int count, typename T>
__device__ inline Raw<T, count> raw_at(const T* from) {
  if constexpr (std::is_same_v<Raw<T, count>, Packed<T, count>>) {
    return packed_at<count>(from);
  } else {
    return *reinterpret_cast<const Vector<T, count>*>(from);
  }
}

template <int count, typename T>
__device__ inline void load(compute_t<T> (&to)[count], const T* from) {
  unpack(to, raw_at<count>(from));
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
