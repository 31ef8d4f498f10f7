// hrgan::affine_act_backward_backward on CUDA: checks, results and partial sums, the launches.
#include <torch/library.h>

#include <array>
#include <tuple>

#include "operands.h"

namespace hrgan {
namespace {

constexpr const char* kOp = "affine_act_backward_backward";
using Results = std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor>;

Results affine_act_backward_backward(const at::Tensor& dy, const MaybeTensor& ref, const MaybeTensor& x,
                                     const MaybeTensor& scale, const MaybeTensor& ddx,
                                     const MaybeTensor& ddscale, const MaybeTensor& ddshift,
                                     const MaybeTensor& ddnoise, std::string_view act, double alpha,
                                     double gain, double clamp, std::array<bool, 4> needs) {
  const c10::cuda::OptionalCUDAGuard guard(at::device_of(dy));
  const Images images(kOp, ref && ref->defined() ? *ref : x && x->defined() ? *x : dy);
  const at::Tensor dys = images.image(dy, "dy"), refs = images.image(ref, "ref");
  const at::Tensor scales = images.plane(scale, "scale"), ddxs = images.image(ddx, "ddx");
  const at::Tensor ddscales = images.plane(ddscale, "ddscale"), ddshifts = images.plane(ddshift, "ddshift");
  const at::Tensor ddnoises = images.pixel(ddnoise, "ddnoise");
  // x counts only times ddscale.
  const at::Tensor xs = ddscales.defined() ? images.image(x, "x") : at::Tensor();
  check_ref(kOp, refs, act, alpha, clamp);
  TORCH_CHECK(!ddscales.defined() || xs.defined() || !(needs[0] || needs[1]), kOp, ": ddscale without x");
  const at::Tensor d_dy = images.new_image(needs[0]), d_ref = images.new_image(needs[1]);
  const at::Tensor d_x = images.new_image(needs[2]);
  const at::Tensor d_scale = images.new_sum(needs[3], {images.samples, images.channels});
  act_named(act);
  const bool any = needs[0] || needs[1] || needs[2] || needs[3];
  if (images.empty() || !any) return {d_dy, d_ref, d_x, d_scale};
  HRGAN_DISPATCH(dys.scalar_type(), kOp, {
    using acc = compute_t<native_t>;
    const AffineShape shape = images.shape({dys, refs, xs, ddxs, d_dy, d_ref, d_x});
    const auto plan = plan_affine<AffineBackwardBackward, native_t>(shape);
    const Sum scale_sum(d_scale, images.samples, plan.tiling.slots, images.channels);
    AffineArguments<AffineBackwardBackward, native_t> a = {};
    a.images[0] = read<native_t>(dys);
    a.images[1] = read<native_t>(refs);
    a.images[2] = read<native_t>(xs);
    a.images[3] = read<native_t>(ddxs);
    a.planes[0] = read<acc>(scales);
    a.planes[1] = read<acc>(ddscales);
    a.planes[2] = read<acc>(ddshifts);
    a.plane_strides[0] = images.plane_stride(scales);
    a.plane_strides[1] = images.plane_stride(ddscales);
    a.plane_strides[2] = images.plane_stride(ddshifts);
    a.pixels = read<acc>(ddnoises);
    a.pixel_stride = images.pixel_stride(ddnoises);
    a.outputs[0] = write<native_t>(d_dy);
    a.outputs[1] = write<native_t>(d_ref);
    a.outputs[2] = write<native_t>(d_x);
    a.sums[0] = scale_sum.data<acc>();
    a.channels = images.channels;
    a.n_pixels = images.pixels;
    a.activation = activation_of<native_t>(act, alpha, gain, clamp);
    run_affine(plan, a, CurrentStream());
    scale_sum.finish<acc>();
  });
  return {d_dy, d_ref, d_x, d_scale};
}

}  // namespace

TORCH_LIBRARY_IMPL(hrgan, CUDA, m) { m.impl("affine_act_backward_backward", affine_act_backward_backward); }

}  // namespace hrgan
