// hrgan::warp_grid on CUDA: checks, the result, the launch.
#include <torch/library.h>

#include "operands.h"
#include "warp_kernels.cuh"

namespace hrgan {
namespace {

at::Tensor warp_grid(const at::Tensor& linear, const at::Tensor& offset, int64_t side, int64_t taps, int64_t margin,
                     double centre, double share, double shift) {
  const c10::cuda::OptionalCUDAGuard guard(at::device_of(linear));
  const int64_t n = linear.size(0), places = 2 * side - 2 + taps;
  TORCH_CHECK(linear.sizes() == at::IntArrayRef({n, 2, 2}) && offset.sizes() == at::IntArrayRef({n, 2}),
              "warp_grid: linear is [N, 2, 2] and offset [N, 2], not ", linear.sizes(), " and ", offset.sizes());
  TORCH_CHECK(linear.scalar_type() == offset.scalar_type() && linear.device() == offset.device(),
              "warp_grid: linear is ", linear.scalar_type(), " on ", linear.device(), ", offset ",
              offset.scalar_type(), " on ", offset.device());
  TORCH_CHECK(side > 0 && taps > 0 && places <= 65535, "warp_grid: no kernel for ", side, " pixels and ", taps,
              " taps");
  const at::Tensor matrices = linear.contiguous(), offsets = offset.contiguous();
  const at::Tensor grid = at::empty({n, places, places, 2}, linear.options());
  if (n == 0) return grid;
  AT_DISPATCH_FLOATING_TYPES(linear.scalar_type(), "warp_grid", [&] {
    const double half = (side - 1) / 2.0;
    const WarpArguments<scalar_t> a = {read<scalar_t>(matrices), read<scalar_t>(offsets), write<scalar_t>(grid),
                                       int(places), scalar_t(centre), scalar_t(half), scalar_t(half + margin),
                                       scalar_t(share), scalar_t(shift)};
    run_warp_grid(a, n, CurrentStream());
  });
  return grid;
}

}  // namespace

TORCH_LIBRARY_IMPL(hrgan, CUDA, m) { m.impl("warp_grid", warp_grid); }

}  // namespace hrgan
