// hrgan::blur_act on CUDA: checks, the result, the launch.
#include <torch/library.h>

#include "filter_operands.h"

namespace hrgan {
namespace {

at::Tensor blur_act(const at::Tensor& x, const at::Tensor& f, at::IntArrayRef pads, bool flip, double filter_gain,
                    const MaybeTensor& scale, const MaybeTensor& shift, const MaybeTensor& noise,
                    std::string_view act, double alpha, double gain, double clamp) {
  const c10::cuda::OptionalCUDAGuard guard(at::device_of(x));
  const Images images("blur_act", x);
  const Filtering filtering(images, f, {1, 1}, {1, 1}, pads, flip, filter_gain);
  const at::Tensor y = filtering.new_image(images);
  const Images filtered("blur_act", y);  // what the operands are to fit
  const at::Tensor scales = filtered.plane(scale, "scale"), shifts = filtered.plane(shift, "shift");
  const at::Tensor noises = filtered.pixel(noise, "noise");
  act_named(act);
  if (y.numel() == 0) return y;
  HRGAN_DISPATCH(x.scalar_type(), "blur_act", {
    using acc = compute_t<native_t>;
    const auto activation = activation_of<native_t>(act, alpha, gain, clamp);
    const auto run = [&](auto epilogue) {
      epilogue.scale = read<acc>(scales);
      epilogue.shift = read<acc>(shifts);
      epilogue.noise = read<acc>(noises);
      epilogue.scale_stride = filtered.plane_stride(scales);
      epilogue.shift_stride = filtered.plane_stride(shifts);
      epilogue.noise_stride = filtered.pixel_stride(noises);
      epilogue.activation = activation;
      run_blur(filtering.arguments<native_t>(images, y), epilogue, CurrentStream());
    };
    if (activation.piecewise()) {
      run(AffineEpilogue<native_t, false>());
    } else {
      run(AffineEpilogue<native_t, true>());
    }
  });
  return y;
}

}  // namespace

TORCH_LIBRARY_IMPL(hrgan, CUDA, m) { m.impl("blur_act", blur_act); }

}  // namespace hrgan
