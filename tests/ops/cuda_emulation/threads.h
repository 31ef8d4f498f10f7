// CUDA's threads on one thread of the host: what kernel headers take from CUDA, for g++ -DHRGAN_EMULATED.
//
// Each thread of a block is a fiber. Between two meetings (__syncthreads, a shuffle) fibers run one after the
// other, forwards or backwards: what depends on a missing meeting differs between the two. A meeting that some
// threads never come to ends the process with a message.
#pragma once

#include <math.h>
#include <stdint.h>
#include <string.h>

#include <algorithm>
#include <functional>

#define __host__
#define __device__
#define __global__
#define __shared__ static
#define __launch_bounds__(...)
#define __forceinline__ inline

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
extern dim3 threadIdx, blockIdx, blockDim, gridDim;
using std::max;
using std::min;

struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};

struct __half {  // never computed with here
  uint16_t bits;
};
float __half2float(__half);
__half __float2half(float);

struct __nv_bfloat16 {
  uint16_t bits;
};
inline float __bfloat162float(__nv_bfloat16 value) {
  const uint32_t bits = uint32_t(value.bits) << 16;
  float result;
  memcpy(&result, &bits, 4);
  return result;
}
inline __nv_bfloat16 __float2bfloat16(float value) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  if (value != value) return {0x7fff};
  return {uint16_t((bits + 0x7fff + ((bits >> 16) & 1)) >> 16)};  // to nearest, ties to even
}

namespace emulation {

// Runs a kernel on a grid; `backwards` is the order of threads between meetings.
void run(dim3 grid, int threads, bool backwards, const std::function<void()>& kernel);
// Leaves a value for the lane `offset` away, and takes that lane's.
uint64_t exchange(uint64_t bits, int offset);
void meet();

// What the launch functions of ops/csrc/cuda are given; remembers the last block's size, which tells which
// kernel a choice fell on.
struct Launch {
  bool backwards;
  int* threads;
  template <typename... Parameters, typename... Arguments>
  void operator()(void (*kernel)(Parameters...), dim3 grid, int count, Arguments... arguments) const {
    *threads = count;
    run(grid, count, backwards, [&] { kernel(arguments...); });
  }
};

}  // namespace emulation

inline void __syncthreads() { emulation::meet(); }
inline void __syncwarp() { emulation::exchange(0, 0); }

template <typename T>
T __shfl_xor_sync(unsigned, T value, int offset) {
  uint64_t bits = 0;
  memcpy(&bits, &value, sizeof(T));
  bits = emulation::exchange(bits, offset);
  memcpy(&value, &bits, sizeof(T));
  return value;
}
