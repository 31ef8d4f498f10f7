// hrgan::batch_moments on CUDA: checks, results and partial sums, the launches.
#include <torch/library.h>

#include <tuple>

#include "moments_kernels.cuh"
#include "operands.h"

namespace hrgan {
namespace {

std::tuple<at::Tensor, at::Tensor> batch_moments(const at::Tensor& x) {
  const c10::cuda::OptionalCUDAGuard guard(at::device_of(x));
  const Images images("batch_moments", x);
  TORCH_CHECK(!images.empty(), images.op, ": nothing to take moments of in ", x.sizes());
  const auto options = images.like.options().dtype(images.wide());
  const at::Tensor mean = at::empty({images.channels}, options), var = at::empty_like(mean);
  const at::Tensor pivots = at::empty_like(mean);
  HRGAN_DISPATCH(x.scalar_type(), "batch_moments", {
    using acc = compute_t<native_t>;
    const AffineShape shape = images.shape({images.like});
    AffineArguments<Distances, native_t> a = {};
    const AffinePlan plan = plan_moments(shape, a);
    const at::Tensor sums = at::empty({2, plan.shape.samples * plan.tiling.slots, images.channels}, options);
    run_moments(shape, plan, a, read<native_t>(images.like), write<acc>(pivots), write<acc>(sums), write<acc>(mean),
                write<acc>(var), CurrentStream());
  });
  return {mean, var};
}

}  // namespace

TORCH_LIBRARY_IMPL(hrgan, CUDA, m) { m.impl("batch_moments", batch_moments); }

}  // namespace hrgan
