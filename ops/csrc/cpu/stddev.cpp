// The standard deviation of groups of images as further channels, and the gradient of that.
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "sums.h"

namespace hrgan {
namespace {

using at::Tensor;

// What minibatch_stddev sees: groups of images M apart, slices of channels, each slice as runs in memory.
struct Groups {
  Images im;
  int64_t size, count, slices, width;  // images a group (G), groups (M), slices of C, channels a slice
  int64_t longest, runs;

  Groups(const Tensor& x, int64_t group, int64_t channels)
      : im(x), size(group), count(im.n / group), slices(channels), width(im.c / channels) {
    longest = im.last ? width : 4096;
    runs = im.last ? im.p : (width * im.p + longest - 1) / longest;
  }

  int64_t length(int64_t run) const { return im.last ? width : std::min(longest, width * im.p - run * longest); }

  // Of a run in image n of tensors with that many channels.
  int64_t offset(int64_t n, int64_t slice, int64_t run, int64_t channels) const {
    return im.last ? (n * im.p + run) * channels + slice * width
                   : (n * channels + slice * width) * im.p + run * longest;
  }
  int64_t map_offset(int64_t n, int64_t slice, int64_t pixel) const {
    int64_t channels = im.c + slices;
    return im.last ? (n * im.p + pixel) * channels + im.c + slice : (n * channels + im.c + slice) * im.p + pixel;
  }

  // f(group, slice, run, number of the task) in parallel.
  template <typename F>
  void for_runs(const F& f) const {
    int64_t grain = std::max<int64_t>(1, kTask / std::max<int64_t>(1, longest * size));
    at::parallel_for(0, count * slices * runs, grain, [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) {
        f(task / runs / slices, task / runs % slices, task % runs, task);
      }
    });
  }
};

// Mean and standard deviation of element `at` over the images of a group, `stride` elements apart.
template <typename T>
std::pair<Vec<Compute<T>>, Vec<Compute<T>>> deviation(const T* x, int64_t stride, int64_t size, int64_t lanes,
                                                      Compute<T> eps) {
  using V = Vec<Compute<T>>;
  V mean(0), squares(0), count(static_cast<Compute<T>>(size));
  for (int64_t g = 0; g < size; ++g) mean = mean + load(x + g * stride, lanes);
  mean = mean / count;
  for (int64_t g = 0; g < size; ++g) {
    V d = load(x + g * stride, lanes) - mean;
    squares = at::vec::fmadd(d, d, squares);
  }
  return {mean, (squares / count + V(eps)).sqrt()};
}

template <typename T>
void stddev_forward(const Groups& gs, const T* x, T* y, Compute<T> eps) {
  using S = Compute<T>;
  std::vector<S> partial(gs.count * gs.slices * gs.runs);
  int64_t c = gs.im.c, all = c + gs.slices, stride = gs.count * c * gs.im.p, to_stride = gs.count * all * gs.im.p;
  gs.for_runs([&](int64_t m, int64_t s, int64_t run, int64_t task) {
    const T* from = x + gs.offset(m, s, run, c);
    T* to = y + gs.offset(m, s, run, all);
    Vec<S> total(0);
    steps<S>(gs.length(run), [&](int64_t j, auto lanes) {
      total = total + held(deviation(from + j, stride, gs.size, lanes, eps).second, lanes);
      for (int64_t g = 0; g < gs.size; ++g) {
        store(load(from + g * stride + j, lanes), to + g * to_stride + j, lanes);
      }
    });
    partial[task] = sum(total);
  });
  double elements = static_cast<double>(gs.width * gs.im.p);
  for (int64_t n = 0; n < gs.im.n; ++n) {
    for (int64_t s = 0; s < gs.slices; ++s) {
      double total = 0;
      const S* first = partial.data() + (n % gs.count * gs.slices + s) * gs.runs;
      for (int64_t run = 0; run < gs.runs; ++run) total += first[run];
      T value = static_cast<T>(total / elements);
      for (int64_t p = 0; p < gs.im.p; ++p) y[gs.map_offset(n, s, p)] = value;
    }
  }
}

template <typename T>
void stddev_backward(const Groups& gs, const T* dy, const T* x, T* dx, Compute<T> eps) {
  using S = Compute<T>;
  int64_t c = gs.im.c, all = c + gs.slices, stride = gs.count * c * gs.im.p, from_stride = gs.count * all * gs.im.p;
  std::vector<S> pull(gs.count * gs.slices);  // gradient of each element's deviation, over the group's size
  for (int64_t i = 0; i < gs.count * gs.slices; ++i) {
    double total = 0;
    for (int64_t g = 0; g < gs.size; ++g) {
      int64_t n = g * gs.count + i / gs.slices;
      for (int64_t p = 0; p < gs.im.p; ++p) total += static_cast<S>(dy[gs.map_offset(n, i % gs.slices, p)]);
    }
    pull[i] = static_cast<S>(total / static_cast<double>(gs.width * gs.im.p * gs.size));
  }
  gs.for_runs([&](int64_t m, int64_t s, int64_t run, int64_t) {
    int64_t at = gs.offset(m, s, run, c), from = gs.offset(m, s, run, all);
    Vec<S> k(pull[m * gs.slices + s]);
    steps<S>(gs.length(run), [&](int64_t j, auto lanes) {
      auto [mean, root] = deviation(x + at + j, stride, gs.size, lanes, eps);
      Vec<S> slope = k / root;
      for (int64_t g = 0; g < gs.size; ++g) {
        Vec<S> d = load(x + at + g * stride + j, lanes) - mean;
        Vec<S> grad = load(dy + from + g * from_stride + j, lanes);
        store(at::vec::fmadd(d, slope, grad), dx + at + g * stride + j, lanes);
      }
    });
  });
}

void check_groups(const Tensor& x, int64_t group, int64_t channels) {
  TORCH_CHECK(x.dim() == 4, "images are [N, C, H, W], not ", x.sizes());
  TORCH_CHECK(group > 0 && x.size(0) % group == 0, x.size(0), " images are no multiple of the group of ", group);
  TORCH_CHECK(channels > 0 && x.size(1) % channels == 0, x.size(1), " channels are no multiple of ", channels);
}

Tensor minibatch_stddev(const Tensor& given, int64_t group, int64_t channels, double eps) {
  check_groups(given, group, channels);
  Tensor x = dense(given);
  std::vector<int64_t> sizes = x.sizes().vec();
  sizes[1] += channels;
  Groups groups(x, group, channels);
  auto layout = groups.im.last ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous;
  Tensor y = at::empty(sizes, x.options().memory_format(layout));
  HRGAN_DISPATCH(x.scalar_type(), "minibatch_stddev", [&] {
    stddev_forward(groups, x.const_data_ptr<scalar_t>(), y.mutable_data_ptr<scalar_t>(),
                   static_cast<Compute<scalar_t>>(eps));
  });
  return y;
}

Tensor minibatch_stddev_backward(const Tensor& given, const Tensor& x_, int64_t group, int64_t channels, double eps) {
  check_groups(x_, group, channels);
  Tensor x = dense(x_), dy = like(given, x), dx = at::empty_like(x);
  TORCH_CHECK(dy.dim() == 4 && dy.size(1) == x.size(1) + channels && dy.size(0) == x.size(0) &&
                  dy.sizes().slice(2) == x.sizes().slice(2),
              "dy of shape ", dy.sizes(), " does not fit ", x.sizes());
  HRGAN_DISPATCH(x.scalar_type(), "minibatch_stddev_backward", [&] {
    stddev_backward(Groups(x, group, channels), dy.const_data_ptr<scalar_t>(), x.const_data_ptr<scalar_t>(),
                    dx.mutable_data_ptr<scalar_t>(), static_cast<Compute<scalar_t>>(eps));
  });
  return dx;
}

}  // namespace

TORCH_LIBRARY_IMPL(hrgan, CPU, m) {
  m.impl("minibatch_stddev", minibatch_stddev);
  m.impl("minibatch_stddev_backward", minibatch_stddev_backward);
}

}  // namespace hrgan
