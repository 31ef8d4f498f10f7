// What the operations ask of their tensors, and how kernels see them.
#pragma once

#include <ATen/Dispatch.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <initializer_list>
#include <optional>
#include <string_view>
#include <vector>

#include "affine_launch.cuh"

namespace hrgan {

using MaybeTensor = std::optional<at::Tensor>;

// The type that kernels know for one of torch's.
template <typename T>
struct Native {
  using type = T;
};
template <>
struct Native<at::Half> {
  using type = __half;
};
template <>
struct Native<at::BFloat16> {
  using type = __nv_bfloat16;
};

#define HRGAN_DISPATCH(DTYPE, NAME, ...)                                                        \
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, DTYPE, NAME, [&] {                  \
    using native_t = typename ::hrgan::Native<scalar_t>::type;                                  \
    __VA_ARGS__                                                                                 \
  })

template <typename T>
const T* read(const at::Tensor& tensor) {
  return tensor.defined() ? static_cast<const T*>(tensor.const_data_ptr()) : nullptr;
}
template <typename T>
T* write(const at::Tensor& tensor) {
  return tensor.defined() && tensor.numel() > 0 ? static_cast<T*>(tensor.mutable_data_ptr()) : nullptr;
}

// Starts kernels on the current stream, which is captured where a graph is.
struct CurrentStream {
  template <typename... Parameters, typename... Arguments>
  void operator()(void (*kernel)(Parameters...), dim3 grid, int threads, Arguments... arguments) const {
    kernel<<<grid, threads, 0, c10::cuda::getCurrentCUDAStream()>>>(arguments...);
    C10_CUDA_KERNEL_LAUNCH_CHECK();
  }
};

// [N, C, ...] images of one call, all dense in one layout.
struct Images {
  static constexpr int64_t kMost = 4'000'000'000;

  const char* op;
  at::Tensor like;  // dense: what results look like
  at::MemoryFormat format;
  int64_t samples, channels, pixels;

  Images(const char* op, const at::Tensor& x) : op(op), format(x.suggest_memory_format()) {
    TORCH_CHECK(x.is_cuda(), op, ": expected a CUDA tensor, not one on ", x.device());
    TORCH_CHECK(at::isFloatingType(x.scalar_type()), op, ": no kernel for ", x.scalar_type());
    TORCH_CHECK(x.dim() >= 2, op, ": images are [N, C, ...], not ", x.sizes());
    like = x.contiguous(format);
    samples = x.size(0);
    channels = x.size(1);
    pixels = 1;
    for (int64_t i = 2; i < x.dim(); ++i) pixels *= x.size(i);
    // Kernels count each of them, and a block's share beyond, in 32 bits.
    TORCH_CHECK(channels < kMost && pixels < kMost, op, ": more channels or pixels than 4e9: ", x.sizes());
  }

  bool empty() const { return like.numel() == 0; }
  bool channels_last() const { return format != at::MemoryFormat::Contiguous || pixels == 1; }
  // What operands and sums have: values of images are summed in this type.
  at::ScalarType wide() const { return like.scalar_type() == at::kDouble ? at::kDouble : at::kFloat; }

  at::Tensor image(const MaybeTensor& tensor, const char* name) const {
    if (!tensor || !tensor->defined()) return {};
    TORCH_CHECK(tensor->device() == like.device() && tensor->scalar_type() == like.scalar_type() &&
                    tensor->sizes() == like.sizes(),
                op, ": ", name, " is ", tensor->scalar_type(), " ", tensor->sizes(), " on ", tensor->device(),
                " where images are ", like.scalar_type(), " ", like.sizes(), " on ", like.device());
    return tensor->contiguous(format);
  }

  // [C] or [N, C].
  at::Tensor plane(const MaybeTensor& tensor, const char* name) const {
    if (!tensor || !tensor->defined()) return {};
    const bool fits = tensor->dim() == 1
                          ? tensor->size(0) == channels
                          : tensor->dim() == 2 && tensor->size(0) == samples && tensor->size(1) == channels;
    TORCH_CHECK(fits, op, ": ", name, " of shape ", tensor->sizes(), " fits no channels of ", like.sizes());
    return operand(*tensor, name);
  }

  // [1 or N, 1, ...].
  at::Tensor pixel(const MaybeTensor& tensor, const char* name) const {
    if (!tensor || !tensor->defined()) return {};
    bool fits = tensor->dim() == like.dim() && tensor->size(1) == 1;
    fits = fits && (tensor->size(0) == 1 || tensor->size(0) == samples);
    for (int64_t i = 2; fits && i < like.dim(); ++i) fits = tensor->size(i) == like.size(i);
    TORCH_CHECK(fits, op, ": ", name, " of shape ", tensor->sizes(), " does not fit ", like.sizes());
    return operand(*tensor, name);
  }

  at::Tensor operand(const at::Tensor& tensor, const char* name) const {
    TORCH_CHECK(tensor.device() == like.device(), op, ": ", name, " is on ", tensor.device(), ", x on ", like.device());
    TORCH_CHECK(tensor.scalar_type() == wide(), op, ": ", name, " is ", tensor.scalar_type(), ", expected ", wide());
    return tensor.contiguous();
  }

  // How far apart samples are in an operand.
  static int64_t plane_stride(const at::Tensor& plane) {
    return plane.defined() && plane.dim() == 2 ? plane.size(1) : 0;
  }
  int64_t pixel_stride(const at::Tensor& pixel) const {
    return pixel.defined() && (pixel.size(0) == samples) ? pixels : 0;
  }

  at::Tensor new_image(bool needed = true) const {
    return needed ? at::empty_like(like, like.options(), format) : nothing();
  }
  at::Tensor nothing() const { return at::empty({0}, like.options()); }
  // A sum's result, zero where there is nothing to sum.
  at::Tensor new_sum(bool needed, at::IntArrayRef sizes) const {
    if (!needed) return at::empty({0}, like.options().dtype(wide()));
    at::Tensor sum = at::empty(sizes, like.options().dtype(wide()));
    return empty() ? sum.zero_() : sum;
  }
  std::vector<int64_t> pixel_sizes() const {
    std::vector<int64_t> sizes = like.sizes().vec();
    sizes[1] = 1;
    return sizes;
  }

  AffineShape shape(std::initializer_list<at::Tensor> images) const {
    bool aligned = true;
    for (const auto& image : images) {
      if (image.defined()) aligned = aligned && reinterpret_cast<uintptr_t>(image.const_data_ptr()) % 16 == 0;
    }
    return {samples, channels, pixels, channels_last(), aligned};
  }
};

// Where kernels write a sum: its result, or one partial result a slot that `finish` adds up in order.
struct Sum {
  at::Tensor result, partial;
  int64_t batch, slots, size;

  Sum(const at::Tensor& result, int64_t batch, int64_t slots, int64_t size)
      : result(result), batch(batch), slots(slots), size(size) {
    if (result.numel() > 0 && slots > 1) partial = at::empty({batch, slots, size}, result.options());
  }
  template <typename acc>
  acc* data() const {
    return partial.defined() ? write<acc>(partial) : write<acc>(result);
  }
  template <typename acc>
  void finish() const {
    if (partial.defined()) run_sum_slots(read<acc>(partial), write<acc>(result), batch, slots, size, CurrentStream());
  }
};

inline Act act_named(std::string_view name) {
  constexpr std::string_view kNames[] = {"linear", "relu", "lrelu", "tanh", "sigmoid", "softplus", "swish"};
  for (int i = 0; i < 7; ++i) {
    if (name == kNames[i]) return Act(i);
  }
  TORCH_CHECK(false, "unknown activation ", name);
}

template <typename T>
Activation<compute_t<T>> activation_of(std::string_view act, double alpha, double gain, double clamp) {
  using acc = compute_t<T>;
  const acc held = clamp < 0 ? acc(-1) : widen(narrow<T>(acc(clamp)));
  return Activation<acc>(act_named(act), acc(alpha), acc(gain), held);
}

// y, for swish p, is what derivatives are computed from; linear without clamp needs nothing.
inline void check_ref(const char* op, const at::Tensor& ref, std::string_view act, double alpha, double clamp) {
  TORCH_CHECK(ref.defined() || (act == "linear" && clamp < 0), op, ": no ref for ", act);
  TORCH_CHECK(act != "lrelu" || alpha >= 0, op, ": the sign of y says nothing at a slope of ", alpha);
}

}  // namespace hrgan
