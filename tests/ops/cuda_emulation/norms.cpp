// pixel_norm, minibatch_stddev and their gradients, and batch_moments, on emulated threads, for ctypes: what the
// .cu files do, without torch.
#include "threads.h"
//
#include <limits>
#include <vector>

#include "moments_kernels.cuh"
#include "normalisation_kernels.cuh"

using namespace hrgan;

namespace {

struct Call {
  int64_t samples, channels, pixels, group, slices;
  int channels_last, aligned, backwards;
  double eps;
};

// output: mean and variance, [2, C].
template <typename T>
int moments(const AffineShape& images, const T* x, compute_t<T>* output, const emulation::Launch& launch) {
  AffineArguments<Distances, T> a = {};
  const AffinePlan plan = plan_moments(images, a);
  const auto unset = std::numeric_limits<compute_t<T>>::quiet_NaN();
  const int64_t slots = plan.shape.samples * plan.tiling.slots;
  std::vector<compute_t<T>> pivots(images.channels, unset), sums(2 * slots * images.channels, unset);
  run_moments(images, plan, a, x, pivots.data(), sums.data(), output, output + images.channels, launch);
  return plan.vectors;
}

template <typename T>
int run(int which, const Call& c, const void* dy_, const void* x_, void* output) {
  int threads = 0;
  const emulation::Launch launch = {c.backwards != 0, &threads};
  const T *x = static_cast<const T*>(x_), *dy = static_cast<const T*>(dy_);
  T* to = static_cast<T*>(output);
  const AffineShape images = {c.samples, c.channels, c.pixels, c.channels_last != 0, c.aligned != 0};
  if (which == 0) {
    const T* const from[] = {x};
    return run_pixel_norm<PixelNorm>(images, from, to, c.eps, launch);
  }
  if (which == 1) {
    const T* const from[] = {x, dy};
    return run_pixel_norm<PixelNormBackward>(images, from, to, c.eps, launch);
  }
  if (which == 4) return moments(images, x, static_cast<compute_t<T>*>(output), launch);
  const StddevShape s = {c.group, c.samples / c.group, c.channels, c.slices, c.pixels, c.channels_last != 0};
  const auto unset = std::numeric_limits<compute_t<T>>::quiet_NaN();  // shows if it is read
  std::vector<compute_t<T>> statistics(s.groups * s.slices, unset);
  if (which == 2) {
    run_stddev(s, x, statistics.data(), to, c.eps, launch);
  } else {
    run_stddev_backward(s, dy, x, statistics.data(), to, c.eps, launch);
  }
  return 0;
}

}  // namespace

// which: 0 pixel_norm, 1 its backward, 2 minibatch_stddev, 3 its backward, 4 batch_moments. type: 0 float, 1 double, 2 bfloat16.
// Returns whether vectors were used.
extern "C" int emulate_norm(int which, int type, const Call* call, const void* dy, const void* x, void* output) {
  if (type == 0) return run<float>(which, *call, dy, x, output);
  if (type == 1) return run<double>(which, *call, dy, x, output);
  return run<__nv_bfloat16>(which, *call, dy, x, output);
}
