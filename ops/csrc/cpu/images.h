// How kernels see an image tensor: N images of P pixels and C channels, in one of two dense layouts.
#pragma once

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>
#include <c10/util/accumulate.h>

#include <optional>

namespace hrgan {

// Dense, contiguous or channels-last; a copy if x is neither.
inline at::Tensor dense(const at::Tensor& x) {
  return x.contiguous(x.suggest_memory_format());
}

// other in the layout of x.
inline at::Tensor like(const at::Tensor& other, const at::Tensor& x) {
  return other.contiguous(x.suggest_memory_format());
}

struct Images {
  int64_t n, c, p;
  bool last;  // channels innermost

  explicit Images(const at::Tensor& x)
      : n(x.size(0)),
        c(x.size(1)),
        p(c10::multiply_integers(x.sizes().slice(2))),
        last(x.dim() == 4 && x.suggest_memory_format() == at::MemoryFormat::ChannelsLast) {}

  // True if the channels of a pixel are neighbours.
  bool rows() const { return last || p == 1; }

  // Pixels that a task works on: about 64 KiB, whatever the number of threads, so that sums do not depend on it.
  int64_t block() const {
    int64_t wanted = last ? std::max<int64_t>(1, 16384 / std::max<int64_t>(c, 1)) : 2048;
    return std::max<int64_t>(1, std::min(wanted, p));
  }
  int64_t blocks() const { return p == 0 ? 0 : (p + block() - 1) / block(); }

  // f(image, number of the block, first pixel, pixels) in parallel.
  template <typename F>
  void for_blocks(const F& f) const {
    int64_t each = blocks(), size = block();
    int64_t grain = std::max<int64_t>(1, 32768 / std::max<int64_t>(1, size * c));
    at::parallel_for(0, n * each, grain, [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) {
        int64_t block = task % each, first = block * size;
        f(task / each, block, first, std::min(size, p - first));
      }
    });
  }
};

// [C] or [N, C] (or missing: all `fallback`) as rows of C, one for each image or the same for all.
template <typename S>
struct Rows {
  at::Tensor values;
  const S* data;
  int64_t stride;

  Rows(const std::optional<at::Tensor>& given, const at::Tensor& x, S fallback, const char* name) {
    auto options = x.options().dtype(c10::CppTypeToScalarType<S>::value).memory_format(std::nullopt);
    if (given.has_value()) {
      TORCH_CHECK(
          given->sizes() == x.sizes().slice(1, 1) || given->sizes() == x.sizes().slice(0, 2),
          name, " of shape ", given->sizes(), " does not fit ", x.sizes());
      values = given->to(options).contiguous();
    } else {
      values = at::full({x.size(1)}, fallback, options);
    }
    data = values.const_data_ptr<S>();
    stride = values.dim() == 2 ? x.size(1) : 0;
  }
  const S* of(int64_t image) const { return data + image * stride; }
};

// [1 or N, 1, pixels] or missing.
template <typename S>
struct Pixels {
  at::Tensor values;
  const S* data = nullptr;
  int64_t stride = 0;

  Pixels(const std::optional<at::Tensor>& given, const at::Tensor& x, const char* name) {
    if (!given.has_value()) {
      return;
    }
    int64_t pixels = c10::multiply_integers(x.sizes().slice(2));
    TORCH_CHECK(
        given->dim() == x.dim() && given->size(1) == 1 && (given->size(0) == 1 || given->size(0) == x.size(0)) &&
            given->sizes().slice(2) == x.sizes().slice(2),
        name, " of shape ", given->sizes(), " does not fit ", x.sizes());
    values = given->to(c10::CppTypeToScalarType<S>::value).contiguous();
    data = values.const_data_ptr<S>();
    stride = given->size(0) == 1 ? 0 : pixels;
  }
  const S* of(int64_t image) const { return data == nullptr ? nullptr : data + image * stride; }
};

}  // namespace hrgan
