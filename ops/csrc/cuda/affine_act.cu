// hrgan::affine_act on CUDA: checks, the result, the launch.
#include <torch/library.h>

#include "operands.h"

namespace hrgan {
namespace {

at::Tensor affine_act(const at::Tensor& x, const MaybeTensor& scale, const MaybeTensor& shift,
                      const MaybeTensor& noise, std::string_view act, double alpha, double gain, double clamp) {
  const c10::cuda::OptionalCUDAGuard guard(at::device_of(x));
  const Images images("affine_act", x);
  const at::Tensor scales = images.plane(scale, "scale"), shifts = images.plane(shift, "shift");
  const at::Tensor noises = images.pixel(noise, "noise");
  const at::Tensor y = images.new_image();
  act_named(act);
  if (images.empty()) return y;
  HRGAN_DISPATCH(x.scalar_type(), "affine_act", {
    using acc = compute_t<native_t>;
    AffineArguments<AffineForward, native_t> a = {};
    a.images[0] = read<native_t>(images.like);
    a.planes[0] = read<acc>(scales);
    a.planes[1] = read<acc>(shifts);
    a.plane_strides[0] = images.plane_stride(scales);
    a.plane_strides[1] = images.plane_stride(shifts);
    a.pixels = read<acc>(noises);
    a.pixel_stride = images.pixel_stride(noises);
    a.outputs[0] = write<native_t>(y);
    a.channels = images.channels;
    a.n_pixels = images.pixels;
    a.activation = activation_of<native_t>(act, alpha, gain, clamp);
    const AffineShape shape = as_one_sample(images.shape({images.like, y}), a);
    run_affine(plan_affine<AffineForward, native_t>(shape), a, CurrentStream());
  });
  return y;
}

}  // namespace

TORCH_LIBRARY_IMPL(hrgan, CUDA, m) { m.impl("affine_act", affine_act); }

}  // namespace hrgan
