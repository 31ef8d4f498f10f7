// upfirdn2d and blur_act on emulated threads, for ctypes: what the .cu files do, without torch.
#include "threads.h"
//
#include "filter_launch.cuh"

using namespace hrgan;

namespace {

struct Call {
  int64_t samples, channels;
  FilterAxis y, x;
  int separable, flip, channels_last, backwards;
  double filter_gain;
  int blur, act;
  double alpha, gain, clamp;
  int64_t scale_stride, shift_stride, noise_stride;
};

template <typename T>
int run(const Call& c, const void* x, const void* f, void* out, const void* scale, const void* shift,
        const void* noise) {
  using acc = compute_t<T>;
  int threads = 0;
  const emulation::Launch launch = {c.backwards != 0, &threads};
  const FilterArguments<T> a = {static_cast<const T*>(x), static_cast<const acc*>(f), static_cast<T*>(out),
                                c.samples, c.channels, c.y, c.x, c.separable != 0, c.flip != 0,
                                c.channels_last != 0, acc(c.filter_gain)};
  const auto blur = [&](auto epilogue) {
    const acc clamp = c.clamp < 0 ? acc(-1) : widen(narrow<T>(acc(c.clamp)));
    epilogue = {static_cast<const acc*>(scale), static_cast<const acc*>(shift), static_cast<const acc*>(noise),
                c.scale_stride, c.shift_stride, c.noise_stride,
                Activation<acc>(Act(c.act), acc(c.alpha), acc(c.gain), clamp)};
    run_blur(a, epilogue, launch);
  };
  if (!c.blur) {
    run_upfirdn(a, launch);
  } else if (Act(c.act) <= Act::lrelu) {
    blur(AffineEpilogue<T, false>());
  } else {
    blur(AffineEpilogue<T, true>());
  }
  return threads == kStripThreads;
}

}  // namespace

// type: 0 float, 1 double, 2 bfloat16. Returns whether a fast kernel ran.
extern "C" int emulate_filter(int type, const Call* call, const void* x, const void* f, void* out, const void* scale,
                              const void* shift, const void* noise) {
  if (type == 0) return run<float>(*call, x, f, out, scale, shift, noise);
  if (type == 1) return run<double>(*call, x, f, out, scale, shift, noise);
  return run<__nv_bfloat16>(*call, x, f, out, scale, shift, noise);
}
