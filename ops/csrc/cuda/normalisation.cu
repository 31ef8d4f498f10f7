// hrgan::pixel_norm, hrgan::minibatch_stddev and their gradients on CUDA: checks, results, the launches.
#include <torch/library.h>

#include "normalisation_kernels.cuh"
#include "operands.h"

namespace hrgan {
namespace {

at::Tensor pixel_norm(const at::Tensor& x, double eps) {
  const c10::cuda::OptionalCUDAGuard guard(at::device_of(x));
  const Images images("pixel_norm", x);
  const at::Tensor y = images.new_image();
  if (images.empty()) return y;
  HRGAN_DISPATCH(x.scalar_type(), "pixel_norm", {
    const native_t* const from[] = {read<native_t>(images.like)};
    run_pixel_norm<PixelNorm>(images.shape({images.like, y}), from, write<native_t>(y), eps, CurrentStream());
  });
  return y;
}

at::Tensor pixel_norm_backward(const at::Tensor& dy, const at::Tensor& x, double eps) {
  const c10::cuda::OptionalCUDAGuard guard(at::device_of(x));
  const Images images("pixel_norm_backward", x);
  const at::Tensor dys = images.image(dy, "dy"), dx = images.new_image();
  if (images.empty()) return dx;
  HRGAN_DISPATCH(x.scalar_type(), "pixel_norm_backward", {
    const native_t* const from[] = {read<native_t>(images.like), read<native_t>(dys)};
    run_pixel_norm<PixelNormBackward>(images.shape({images.like, dys, dx}), from, write<native_t>(dx), eps,
                                      CurrentStream());
  });
  return dx;
}

StddevShape stddev_shape(const Images& images, int64_t group, int64_t slices) {
  TORCH_CHECK(images.like.dim() == 4, images.op, ": images are [N, C, H, W], not ", images.like.sizes());
  TORCH_CHECK(group > 0 && images.samples % group == 0, images.op, ": ", images.samples,
              " images are no multiple of the group of ", group);
  TORCH_CHECK(slices > 0 && images.channels % slices == 0, images.op, ": ", images.channels,
              " channels are no multiple of ", slices);
  const int64_t groups = images.samples / group;
  TORCH_CHECK(slices < INT32_MAX && groups * slices < INT32_MAX, images.op, ": too many groups: ", groups);
  return {group, groups, images.channels, slices, images.pixels, images.channels_last()};
}

at::Tensor new_statistics(const Images& images, const StddevShape& s) {
  return at::empty({s.groups, s.slices}, images.like.options().dtype(images.wide()));
}

at::Tensor minibatch_stddev(const at::Tensor& x, int64_t group, int64_t channels, double eps) {
  const c10::cuda::OptionalCUDAGuard guard(at::device_of(x));
  const Images images("minibatch_stddev", x);
  const StddevShape shape = stddev_shape(images, group, channels);
  std::vector<int64_t> sizes = x.sizes().vec();
  sizes[1] += channels;
  const at::Tensor y = at::empty(sizes, images.like.options(), images.format);
  if (y.numel() == 0) return y;
  const at::Tensor means = new_statistics(images, shape);
  HRGAN_DISPATCH(x.scalar_type(), "minibatch_stddev", {
    run_stddev(shape, read<native_t>(images.like), write<compute_t<native_t>>(means), write<native_t>(y), eps,
               CurrentStream());
  });
  return y;
}

at::Tensor minibatch_stddev_backward(const at::Tensor& dy, const at::Tensor& x, int64_t group, int64_t channels,
                                     double eps) {
  const c10::cuda::OptionalCUDAGuard guard(at::device_of(x));
  const Images images("minibatch_stddev_backward", x);
  const StddevShape shape = stddev_shape(images, group, channels);
  std::vector<int64_t> sizes = x.sizes().vec();
  sizes[1] += channels;
  TORCH_CHECK(dy.sizes() == at::IntArrayRef(sizes) && dy.device() == x.device() && dy.scalar_type() == x.scalar_type(),
              images.op, ": dy is ", dy.scalar_type(), " ", dy.sizes(), " on ", dy.device(), " where images are ",
              x.scalar_type(), " ", x.sizes(), " on ", x.device());
  const at::Tensor dys = dy.contiguous(images.format), dx = images.new_image();
  if (images.empty()) return dx;
  const at::Tensor pulls = new_statistics(images, shape);
  HRGAN_DISPATCH(x.scalar_type(), "minibatch_stddev_backward", {
    run_stddev_backward(shape, read<native_t>(dys), read<native_t>(images.like), write<compute_t<native_t>>(pulls),
                        write<native_t>(dx), eps, CurrentStream());
  });
  return dx;
}

}  // namespace

TORCH_LIBRARY_IMPL(hrgan, CUDA, m) {
  m.impl("pixel_norm", pixel_norm);
  m.impl("pixel_norm_backward", pixel_norm_backward);
  m.impl("minibatch_stddev", minibatch_stddev);
  m.impl("minibatch_stddev_backward", minibatch_stddev_backward);
}

}  // namespace hrgan
