// hrgan::affine_act_backward on CUDA: checks, results and partial sums, the launches.
#include <torch/library.h>

#include <array>
#include <tuple>

#include "operands.h"

namespace hrgan {
namespace {

constexpr const char* kOp = "affine_act_backward";
using Results = std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor>;

Results affine_act_backward(const at::Tensor& dy, const MaybeTensor& ref, const MaybeTensor& x,
                            const MaybeTensor& scale, std::string_view act, double alpha, double gain,
                            double clamp, std::array<bool, 4> needs) {
  const c10::cuda::OptionalCUDAGuard guard(at::device_of(dy));
  // Results look like x, and so does ref; dy may come in any layout.
  const Images images(kOp, ref && ref->defined() ? *ref : x && x->defined() ? *x : dy);
  const at::Tensor dys = images.image(dy, "dy"), refs = images.image(ref, "ref");
  const at::Tensor xs = needs[1] ? images.image(x, "x") : at::Tensor();
  const at::Tensor scales = images.plane(scale, "scale");
  check_ref(kOp, refs, act, alpha, clamp);
  TORCH_CHECK(!needs[1] || xs.defined(), kOp, ": the gradient of scale needs x");
  const at::Tensor dx = images.new_image(needs[0]);
  const at::Tensor dscale = images.new_sum(needs[1], {images.samples, images.channels});
  const at::Tensor dshift = images.new_sum(needs[2], {images.samples, images.channels});
  const at::Tensor dnoise = images.new_sum(needs[3], images.pixel_sizes());
  act_named(act);
  const bool any = needs[0] || needs[1] || needs[2] || needs[3];
  if (images.empty() || !any) return {dx, dscale, dshift, dnoise};
  HRGAN_DISPATCH(dys.scalar_type(), kOp, {
    using acc = compute_t<native_t>;
    const auto plan = plan_affine<AffineBackward, native_t>(images.shape({dys, refs, xs, dx}));
    const Sum scale_sum(dscale, images.samples, plan.tiling.slots, images.channels);
    const Sum shift_sum(dshift, images.samples, plan.tiling.slots, images.channels);
    const Sum noise_sum(dnoise, images.samples, plan.tiling.groups, images.pixels);
    AffineArguments<AffineBackward, native_t> a = {};
    a.images[0] = read<native_t>(dys);
    a.images[1] = read<native_t>(refs);
    a.images[2] = read<native_t>(xs);
    a.planes[0] = read<acc>(scales);
    a.plane_strides[0] = images.plane_stride(scales);
    a.outputs[0] = write<native_t>(dx);
    a.sums[0] = scale_sum.data<acc>();
    a.sums[1] = shift_sum.data<acc>();
    a.pixel_sum = noise_sum.data<acc>();
    a.channels = images.channels;
    a.n_pixels = images.pixels;
    a.activation = activation_of<native_t>(act, alpha, gain, clamp);
    run_affine(plan, a, CurrentStream());
    scale_sum.finish<acc>();
    shift_sum.finish<acc>();
    noise_sum.finish<acc>();
  });
  return {dx, dscale, dshift, dnoise};
}

}  // namespace

TORCH_LIBRARY_IMPL(hrgan, CUDA, m) { m.impl("affine_act_backward", affine_act_backward); }

}  // namespace hrgan
