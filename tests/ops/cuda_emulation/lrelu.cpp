// filtered_lrelu, by values or by signs, on emulated threads, for ctypes: what the .cu file does, without torch.
#include "threads.h"
//
#include "filtered_lrelu_launch.cuh"

using namespace hrgan;

namespace {

struct Call {
  int64_t planes, channels;
  LreluAxis y, x;
  int up_separable, down_separable, flip, backwards;
  double up_gain, gain, falling, clamp;
};

template <typename T>
int run(const Call& c, const void* x, const void* bias, const void* up_filter, const void* down_filter, void* out,
        void* kept, const void* signs) {
  using acc = compute_t<T>;
  int threads = 0;
  const emulation::Launch launch = {c.backwards != 0, &threads};
  const LreluArguments<T> a = {static_cast<const T*>(x), static_cast<const acc*>(bias),
                               static_cast<const acc*>(up_filter), static_cast<const acc*>(down_filter),
                               static_cast<T*>(out), static_cast<uint8_t*>(kept), static_cast<const uint8_t*>(signs),
                               c.planes, c.channels, c.y, c.x, c.up_separable != 0, c.down_separable != 0,
                               c.flip != 0, acc(c.up_gain), acc(c.gain), acc(c.falling), acc(c.clamp)};
  if (signs) {
    run_filtered_lrelu<Slope::of_sign>(a, launch);
  } else {
    run_filtered_lrelu<Slope::of_value>(a, launch);
  }
  return threads == kLreluWarps * kLanes;
}

}  // namespace

// type: 0 float, 1 double, 2 bfloat16. Returns whether a fast kernel ran.
extern "C" int emulate_lrelu(int type, const Call* call, const void* x, const void* bias, const void* up_filter,
                             const void* down_filter, void* out, void* kept, const void* signs) {
  if (type == 0) return run<float>(*call, x, bias, up_filter, down_filter, out, kept, signs);
  if (type == 1) return run<double>(*call, x, bias, up_filter, down_filter, out, kept, signs);
  return run<__nv_bfloat16>(*call, x, bias, up_filter, down_filter, out, kept, signs);
}
