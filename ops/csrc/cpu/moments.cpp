// Mean and variance of each channel over a batch, in one pass over memory.
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include <algorithm>
#include <tuple>
#include <vector>

#include "sums.h"

namespace hrgan {
namespace {

using at::Tensor;

constexpr int64_t kPlane = 1024;  // elements of a plane that make a part
constexpr int64_t kRows = 512;    // rows (channels innermost) that make one at most

// Count, mean and sum of squared distances from it, of parts of each channel: [parts, C]. What is a part does
// not depend on the number of threads. Each is summed as distances from the mean of its first elements: sums
// of squares themselves would lose a variance that is small beside the mean.
template <typename S>
struct Moments {
  int64_t parts, channels;
  std::vector<int64_t> counts;
  std::vector<double> means, squares;

  Moments(int64_t parts, int64_t channels)
      : parts(parts), channels(channels), counts(parts), means(parts * channels), squares(parts * channels) {}

  void set(int64_t part, int64_t channel, S pivot, S sum, S sum_of_squares) {
    double n = static_cast<double>(counts[part]), apart = sum / n;
    means[part * channels + channel] = pivot + apart;
    squares[part * channels + channel] = sum_of_squares - n * apart * apart;
  }

  // Chan et al. 1979, eq. 2.1, over all parts at once.
  void merge(S* mean, S* var) const {
    at::parallel_for(0, channels, std::max<int64_t>(1, kTask / std::max<int64_t>(1, parts)), [&](int64_t b, int64_t e) {
      for (int64_t k = b; k < e; ++k) {
        double total = 0, sum = 0, apart = 0;
        for (int64_t i = 0; i < parts; ++i) {
          total += static_cast<double>(counts[i]);
          sum += static_cast<double>(counts[i]) * means[i * channels + k];
        }
        double centre = sum / total;
        for (int64_t i = 0; i < parts; ++i) {
          double d = means[i * channels + k] - centre;
          apart += squares[i * channels + k] + static_cast<double>(counts[i]) * d * d;
        }
        mean[k] = static_cast<S>(centre);
        var[k] = static_cast<S>(std::max(apart, 0.0) / total);
      }
    });
  }
};

template <typename T>
void add_run(Moments<Compute<T>>& out, int64_t part, int64_t channel, const T* x) {
  using S = Compute<T>;
  int64_t count = out.counts[part], few = std::min<int64_t>(count, 64);
  Vec<S> first(0), total(0), squares(0);
  steps<S>(few, [&](int64_t j, auto lanes) { first = first + held(load(x + j, lanes), lanes); });
  S pivot = sum(first) / static_cast<S>(few);
  steps<S>(count, [&](int64_t j, auto lanes) {
    Vec<S> d = held(load(x + j, lanes) - Vec<S>(pivot), lanes);
    total = total + d;
    squares = at::vec::fmadd(d, d, squares);
  });
  out.set(part, channel, pivot, sum(total), sum(squares));
}

template <typename T>
Moments<Compute<T>> moments_of_planes(const Images& im, const T* x) {
  int64_t each = (im.p + kPlane - 1) / kPlane;
  Moments<Compute<T>> out(im.n * each, im.c);
  for (int64_t i = 0; i < out.parts; ++i) out.counts[i] = std::min(kPlane, im.p - i % each * kPlane);
  int64_t grain = std::max<int64_t>(1, kTask / std::max<int64_t>(1, std::min(kPlane, im.p)));
  at::parallel_for(0, im.n * im.c * each, grain, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      int64_t plane = task / each, chunk = task % each;
      add_run(out, plane / im.c * each + chunk, plane % im.c, x + plane * im.p + chunk * kPlane);
    }
  });
  return out;
}

// sums [3, C]: pivots, distances from them, their squares. Sixteen rows at a time stay in registers.
template <typename T>
void add_rows(int64_t rows, int64_t channels, const T* x, Compute<T>* sums) {
  using S = Compute<T>;
  S *pivots = sums, *totals = sums + channels, *squares = sums + 2 * channels;
  for (int64_t r = 0; r < rows; r += 16) {
    int64_t count = std::min<int64_t>(16, rows - r);
    steps<S>(channels, [&](int64_t j, auto lanes) {
      const T* from = x + r * channels + j;
      Vec<S> pivot(0), total(0), square(0);
      if (r == 0) {
        for (int64_t i = 0; i < count; ++i) pivot = pivot + load(from + i * channels, lanes);
        pivot = pivot / Vec<S>(static_cast<S>(count));
        store(pivot, pivots + j, lanes);
      } else {
        pivot = load(pivots + j, lanes);
        total = load(totals + j, lanes);
        square = load(squares + j, lanes);
      }
      Vec<S> some(0), some_squares(0);
      for (int64_t i = 0; i < count; ++i) {
        Vec<S> d = load(from + i * channels, lanes) - pivot;
        some = some + d;
        some_squares = at::vec::fmadd(d, d, some_squares);
      }
      store(total + some, totals + j, lanes);
      store(square + some_squares, squares + j, lanes);
    });
  }
}

template <typename T>
Moments<Compute<T>> moments_of_rows(int64_t rows, int64_t channels, const T* x) {
  using S = Compute<T>;
  int64_t size = std::clamp<int64_t>(kTask / std::max<int64_t>(channels, 1), 64, kRows);
  Moments<S> out((rows + size - 1) / size, channels);
  int64_t grain = std::max<int64_t>(1, kTask / std::max<int64_t>(1, size * channels));
  at::parallel_for(0, out.parts, grain, [&](int64_t begin, int64_t end) {
    std::vector<S> sums(3 * channels);
    for (int64_t part = begin; part < end; ++part) {
      out.counts[part] = std::min(size, rows - part * size);
      add_rows(out.counts[part], channels, x + part * size * channels, sums.data());
      for (int64_t k = 0; k < channels; ++k) {
        out.set(part, k, sums[k], sums[channels + k], sums[2 * channels + k]);
      }
    }
  });
  return out;
}

std::tuple<Tensor, Tensor> batch_moments(const Tensor& given) {
  TORCH_CHECK(given.dim() >= 2, "images are [N, C, ...], not ", given.sizes());
  Tensor x = dense(given), mean, var;
  HRGAN_DISPATCH(x.scalar_type(), "batch_moments", [&] {
    using S = Compute<scalar_t>;
    Images im(x);
    mean = at::empty({im.c}, x.options().dtype(c10::CppTypeToScalarType<S>::value));
    var = at::empty_like(mean);
    const scalar_t* from = x.const_data_ptr<scalar_t>();
    bool rows = im.rows();
    Moments<S> moments = rows ? moments_of_rows(im.n * im.p, im.c, from) : moments_of_planes(im, from);
    moments.merge(mean.mutable_data_ptr<S>(), var.mutable_data_ptr<S>());
  });
  return {mean, var};
}

}  // namespace

TORCH_LIBRARY_IMPL(hrgan, CPU, m) {
  m.impl("batch_moments", batch_moments);
}

}  // namespace hrgan
