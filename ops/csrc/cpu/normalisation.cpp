// Every pixel over the root mean square of its channels, and the gradient of that.
#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include <algorithm>
#include <array>
#include <vector>

#include "sums.h"

namespace hrgan {
namespace {

using at::Tensor;

// What is done to a pixel. images: x, dy. sums: over channels. `factors` makes of the sums what each channel
// is computed with.
template <typename S>
struct Forward {
  using V = Vec<S>;
  static constexpr int images = 1;
  V eps, count;

  static void add(const V* image, V* sums) { sums[0] = at::vec::fmadd(image[0], image[0], sums[0]); }
  void factors(V* sums) const { sums[0] = V(1) / (sums[0] / count + eps).sqrt(); }
  static V result(const V* image, const V* factors) { return image[0] * factors[0]; }
};

// With r = 1 / rms: dx = r * dy - x * r^3 * mean(dy * x). It is its own transpose in dy.
template <typename S>
struct Backward {
  using V = Vec<S>;
  static constexpr int images = 2;
  V eps, count;

  static void add(const V* image, V* sums) {
    sums[0] = at::vec::fmadd(image[0], image[0], sums[0]);
    sums[1] = at::vec::fmadd(image[0], image[1], sums[1]);
  }
  void factors(V* sums) const {
    V r = V(1) / (sums[0] / count + eps).sqrt();
    sums[1] = (r * sums[1]) * (r * r / count);
    sums[0] = r;
  }
  static V result(const V* image, const V* factors) {
    return at::vec::fmsub(image[1], factors[0], image[0] * factors[1]);
  }
};

template <typename T, typename Op>
class PerPixel {
  using S = Compute<T>;
  using V = Vec<S>;
  static constexpr int images = Op::images;

 public:
  PerPixel(const Images& im, const Op& op, std::array<const T*, images> from, T* to)
      : im_(im), op_(op), from_(from), to_(to) {}

  void run() const {
    bool rows = im_.rows();
    int64_t size = rows ? std::max<int64_t>(1, 8192 / std::max<int64_t>(im_.c, 1)) : tile();
    int64_t each = (im_.p + size - 1) / size, grain = std::max<int64_t>(1, kTask / std::max<int64_t>(1, size * im_.c));
    at::parallel_for(0, im_.n * each, grain, [&](int64_t begin, int64_t end) {
      std::vector<S> tile(rows ? 0 : images * im_.c * size);
      for (int64_t task = begin; task < end; ++task) {
        int64_t n = task / each, first = task % each * size, pixels = std::min(size, im_.p - first);
        rows ? channels_inside(n, first, pixels) : channels_outside(n, first, pixels, tile.data());
      }
    });
  }

 private:
  // Pixels whose channels fit a core's second-level cache.
  int64_t tile() const {
    int64_t fits = 65536 / images / std::max<int64_t>(im_.c, 1) / 64 * 64;
    return std::max<int64_t>(1, std::min(std::max<int64_t>(64, fits), im_.p));
  }

  void channels_inside(int64_t n, int64_t first, int64_t pixels) const {
    for (int64_t p = first; p < first + pixels; ++p) {
      int64_t at = (n * im_.p + p) * im_.c;
      V sums[images], image[images];
      std::fill(sums, sums + images, V(0));
      steps<S>(im_.c, [&](int64_t j, auto lanes) {
        for (int i = 0; i < images; ++i) image[i] = held(load(from_[i] + at + j, lanes), lanes);
        op_.add(image, sums);
      });
      for (int i = 0; i < images; ++i) sums[i] = V(sum(sums[i]));
      op_.factors(sums);
      steps<S>(im_.c, [&](int64_t j, auto lanes) {
        for (int i = 0; i < images; ++i) image[i] = load(from_[i] + at + j, lanes);
        store(op_.result(image, sums), to_ + at + j, lanes);
      });
    }
  }

  // tile: these pixels again, densely. Planes of a power of two in size would not share a cache.
  void channels_outside(int64_t n, int64_t first, int64_t pixels, S* tile) const {
    int64_t at = n * im_.c * im_.p + first;
    std::vector<S> sums(images * pixels, S(0));
    sum_channels(at, pixels, tile, sums.data());
    steps<S>(pixels, [&](int64_t j, auto lanes) {
      V values[images];
      for (int i = 0; i < images; ++i) values[i] = load(sums.data() + i * pixels + j, lanes);
      op_.factors(values);
      for (int i = 0; i < images; ++i) store(values[i], sums.data() + i * pixels + j, lanes);
    });
    for (int64_t k = 0; k < im_.c; ++k) {
      steps<S>(pixels, [&](int64_t j, auto lanes) {
        V image[images], factors[images];
        for (int i = 0; i < images; ++i) {
          image[i] = load(tile + (k * images + i) * pixels + j, lanes);
          factors[i] = load(sums.data() + i * pixels + j, lanes);
        }
        store(op_.result(image, factors), to_ + at + k * im_.p + j, lanes);
      });
    }
  }

  // In groups of channels: one long sum in float would round away more than torch does.
  void sum_channels(int64_t at, int64_t pixels, S* tile, S* sums) const {
    for (int64_t k = 0; k < im_.c; k += 8) {
      int64_t last = std::min(k + 8, im_.c);
      steps<S>(pixels, [&](int64_t j, auto lanes) {
        V group[images], image[images];
        std::fill(group, group + images, V(0));
        for (int64_t channel = k; channel < last; ++channel) {
          for (int i = 0; i < images; ++i) {
            image[i] = load(from_[i] + at + channel * im_.p + j, lanes);
            store(image[i], tile + (channel * images + i) * pixels + j, lanes);
          }
          op_.add(image, group);
        }
        for (int i = 0; i < images; ++i) {
          store(load(sums + i * pixels + j, lanes) + group[i], sums + i * pixels + j, lanes);
        }
      });
    }
  }

  Images im_;
  Op op_;
  std::array<const T*, images> from_;
  T* to_;
};

Tensor pixel_norm(const Tensor& given, double eps) {
  TORCH_CHECK(given.dim() >= 2, "images are [N, C, ...], not ", given.sizes());
  Tensor x = dense(given), y = at::empty_like(x);
  HRGAN_DISPATCH(x.scalar_type(), "pixel_norm", [&] {
    using S = Compute<scalar_t>;
    Forward<S> op{Vec<S>(static_cast<S>(eps)), Vec<S>(static_cast<S>(x.size(1)))};
    PerPixel<scalar_t, Forward<S>>(Images(x), op, {x.const_data_ptr<scalar_t>()}, y.mutable_data_ptr<scalar_t>()).run();
  });
  return y;
}

Tensor pixel_norm_backward(const Tensor& given, const Tensor& x_, double eps) {
  TORCH_CHECK(given.sizes() == x_.sizes(), "dy of shape ", given.sizes(), " does not fit ", x_.sizes());
  Tensor x = dense(x_), dy = like(given, x), dx = at::empty_like(x);
  HRGAN_DISPATCH(x.scalar_type(), "pixel_norm_backward", [&] {
    using S = Compute<scalar_t>;
    Backward<S> op{Vec<S>(static_cast<S>(eps)), Vec<S>(static_cast<S>(x.size(1)))};
    PerPixel<scalar_t, Backward<S>>(Images(x), op, {x.const_data_ptr<scalar_t>(), dy.const_data_ptr<scalar_t>()},
                                  dx.mutable_data_ptr<scalar_t>())
        .run();
  });
  return dx;
}

}  // namespace

TORCH_LIBRARY_IMPL(hrgan, CPU, m) {
  m.impl("pixel_norm", pixel_norm);
  m.impl("pixel_norm_backward", pixel_norm_backward);
}

}  // namespace hrgan
