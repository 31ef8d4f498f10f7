// affine_act and its gradients on emulated threads, for ctypes: what the .cu files do, without torch.
#include <vector>

#include "threads.h"
//
#include "affine_launch.cuh"

using namespace hrgan;

namespace {

struct Call {
  int64_t samples, channels, pixels;
  int channels_last, aligned, backwards;
  int act;
  double alpha, gain, clamp;
};

template <typename T>
Activation<compute_t<T>> activation(const Call& c) {
  using acc = compute_t<T>;
  const acc clamp = c.clamp < 0 ? acc(-1) : widen(narrow<T>(acc(c.clamp)));
  return Activation<acc>(Act(c.act), acc(c.alpha), acc(c.gain), clamp);
}

AffineShape shape(const Call& c) {
  return {c.samples, c.channels, c.pixels, c.channels_last != 0, c.aligned != 0};
}

// images, outputs: [N, C, P] or [N, P, C]. planes: [N or 1, C] by their strides. sums: [N, C]; pixel_sum: [N, P].
template <class Op, typename T>
int run(const Call& c, void** images, void** planes, const int64_t* plane_strides, void* pixels, int64_t pixel_stride,
        void** outputs, void** sums, void* pixel_sum) {
  using acc = compute_t<T>;
  AffineArguments<Op, T> a = {};
  for (int j = 0; j < Op::kImages; ++j) a.images[j] = static_cast<const T*>(images[j]);
  for (int j = 0; j < Op::kPlanes; ++j) {
    a.planes[j] = static_cast<const acc*>(planes[j]);
    a.plane_strides[j] = uint32_t(plane_strides[j]);
  }
  a.pixels = static_cast<const acc*>(pixels);
  a.pixel_stride = uint32_t(pixel_stride);
  for (int j = 0; j < Op::kOutputs; ++j) a.outputs[j] = static_cast<T*>(outputs[j]);
  a.channels = uint32_t(c.channels);
  a.n_pixels = uint32_t(c.pixels);
  a.activation = activation<T>(c);
  int threads;
  const emulation::Launch launch = {c.backwards != 0, &threads};
  const AffineShape s = Op::kSums == 0 ? as_one_sample(shape(c), a) : shape(c);
  const AffinePlan plan = plan_affine<Op, T>(s);
  const int64_t slots = plan.tiling.slots, groups = plan.tiling.groups;
  std::vector<acc> partial[Op::kSums + 1], partial_pixels;
  const acc unset = acc(NAN);
  for (int j = 0; j < Op::kSums; ++j) {
    if (!sums[j]) continue;
    partial[j].assign(s.samples * slots * s.channels, unset);
    a.sums[j] = slots > 1 ? partial[j].data() : static_cast<acc*>(sums[j]);
  }
  if (pixel_sum) {
    partial_pixels.assign(s.samples * groups * s.pixels, unset);
    a.pixel_sum = groups > 1 ? partial_pixels.data() : static_cast<acc*>(pixel_sum);
  }
  run_affine(plan, a, launch);
  for (int j = 0; j < Op::kSums; ++j) {
    if (sums[j] && slots > 1) {
      run_sum_slots<acc>(partial[j].data(), static_cast<acc*>(sums[j]), s.samples, slots, s.channels, launch);
    }
  }
  if (pixel_sum && groups > 1) {
    run_sum_slots<acc>(partial_pixels.data(), static_cast<acc*>(pixel_sum), s.samples, groups, s.pixels, launch);
  }
  return plan.vectors;
}

template <class Op, typename... Arguments>
int dispatch(int type, Arguments... arguments) {
  if (type == 0) return run<Op, float>(arguments...);
  if (type == 1) return run<Op, double>(arguments...);
  return run<Op, __nv_bfloat16>(arguments...);
}

}  // namespace

// which: 0 forward, 1 backward, 2 backward of backward. type: 0 float, 1 double, 2 bfloat16. Returns whether
// vectors were used.
extern "C" int emulate_affine(int which, int type, const Call* call, void** images, void** planes,
                              const int64_t* plane_strides, void* pixels, int64_t pixel_stride, void** outputs,
                              void** sums, void* pixel_sum) {
  const auto go = [&](auto op) {
    return dispatch<decltype(op)>(type, *call, images, planes, plane_strides, pixels, pixel_stride, outputs, sums,
                                  pixel_sum);
  };
  if (which == 0) return go(AffineForward());
  if (which == 1) return go(AffineBackward());
  return go(AffineBackwardBackward());
}
