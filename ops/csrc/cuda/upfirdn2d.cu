// hrgan::upfirdn2d on CUDA: checks, the result, the launch.
#include <torch/library.h>

#include "filter_operands.h"

namespace hrgan {
namespace {

at::Tensor upfirdn2d(const at::Tensor& x, const at::Tensor& f, at::IntArrayRef up, at::IntArrayRef down,
                     at::IntArrayRef pads, bool flip, double gain) {
  const c10::cuda::OptionalCUDAGuard guard(at::device_of(x));
  const Images images("upfirdn2d", x);
  const Filtering filtering(images, f, up, down, pads, flip, gain);
  const at::Tensor y = filtering.new_image(images);
  if (y.numel() == 0) return y;
  HRGAN_DISPATCH(x.scalar_type(), "upfirdn2d", {
    run_upfirdn(filtering.arguments<native_t>(images, y), CurrentStream());
  });
  return y;
}

}  // namespace

TORCH_LIBRARY_IMPL(hrgan, CUDA, m) { m.impl("upfirdn2d", upfirdn2d); }

}  // namespace hrgan
