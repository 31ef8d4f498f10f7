// Upsample, filter, downsample; and the filter with the scale, shift, noise and activation that follow it.
#include <ATen/Dispatch.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <torch/library.h>

#include "activation.h"
#include "images.h"
#include "taps.h"

namespace hrgan {
namespace {

using at::Tensor;
using Optional = std::optional<Tensor>;

// What becomes of a filtered value. Plain: nothing.
template <typename S>
struct Plain {
  static constexpr bool plain = true;
  Vec<S> operator()(Vec<S> v, Vec<S>, Vec<S>, Vec<S>) const { return v; }
};

template <typename S, Kind kind>
struct Epilogue {
  static constexpr bool plain = false;
  Activation<S, kind> c;
  Vec<S> operator()(Vec<S> v, Vec<S> s, Vec<S> t, Vec<S> z) const {
    return c.forward(at::vec::fmadd(v, s, t) + z);
  }
};

template <typename S>
struct Operands {
  Rows<S> scale, shift;
  Pixels<S> noise;
};

template <typename T, typename E>
struct Kernel {
  using S = Compute<T>;
  using V = Vec<S>;
  Images im;  // of x
  Axis ax, ay;
  const Filter<S>& f;
  const T* x;
  T* y;
  E finish;
  const Operands<S>* operands;

  // Bands of rows of one image: a few for each thread, and few enough that shared rows are rare.
  int64_t band() const { return std::max<int64_t>(8, (ay.out + 7) / 8); }

  void run() const {
    int64_t rows = band(), bands = (ay.out + rows - 1) / rows, planes = im.last ? im.n : im.n * im.c;
    int64_t work = rows * ax.out * (im.last ? im.c : 1);
    at::parallel_for(0, planes * bands, std::max<int64_t>(1, 32768 / std::max<int64_t>(1, work)),
                     [&](int64_t begin, int64_t end) {
                       for (int64_t task = begin; task < end; ++task) {
                         int64_t first = task % bands * rows, last = std::min(ay.out, first + rows);
                         im.last ? pixels(task / bands, first, last) : plane(task / bands, first, last);
                       }
                     });
  }

  // Channels innermost: rows filtered along x wait in a ring until they are summed along y.
  void pixels(int64_t n, int64_t first, int64_t last) const {
    int64_t length = ax.out * im.c, slots = f.separable ? (ay.taps + ay.up - 1) / ay.up + 1 : 1;
    std::vector<S> ring(slots * length);
    int64_t ready = ay.reach(first).from;  // rows below are filtered, or not needed
    for (int64_t o = first; o < last; ++o) {
      auto [k, count, from] = ay.reach(o);
      if (!f.separable) {
        std::fill(ring.begin(), ring.end(), S(0));
        for (int64_t i = 0; i < count; ++i) {
          filter_pixels(ax, f.x.data() + (k + i * ay.up) * ax.taps, source(n, from + i), im.c, ring.data(), true);
        }
        const S* row = ring.data();
        S one = 1;
        finish_pixels(n, o, &row, &one, 1);
        continue;
      }
      const S* rows[64];
      S taps[64];
      for (int64_t i = 0; i < count; ++i) {
        S* slot = ring.data() + (from + i) % slots * length;
        if (from + i >= ready) {
          filter_pixels(ax, f.x.data(), source(n, from + i), im.c, slot, false);
          ready = from + i + 1;
        }
        rows[i] = slot;
        taps[i] = f.y[k + i * ay.up];
      }
      finish_pixels(n, o, rows, taps, count);
    }
  }

  const T* source(int64_t n, int64_t row) const { return x + (n * ay.in + row) * ax.in * im.c; }

  void finish_pixels(int64_t n, int64_t o, const S* const* rows, const S* taps, int64_t count) const {
    T* to = y + (n * ay.out + o) * ax.out * im.c;
    int64_t c = E::plain ? ax.out * im.c : im.c;
    const S *s = nullptr, *t = nullptr, *z = nullptr;
    if constexpr (!E::plain) {
      s = operands->scale.of(n), t = operands->shift.of(n), z = operands->noise.of(n);
    }
    for (int64_t p = 0; p < (E::plain ? 1 : ax.out); ++p) {
      V noise(z ? z[o * ax.out + p] : S(0));
      steps<S>(c, [&](int64_t j, auto lanes) {
        V total(0);
        for (int64_t i = 0; i < count; ++i) {
          total = at::vec::fmadd(load(rows[i] + p * c + j, lanes), V(taps[i]), total);
        }
        V done = E::plain ? total : finish(total, load(or_zero(s, j), lanes), load(or_zero(t, j), lanes), noise);
        store(done, to + p * c + j, lanes);
      });
    }
  }

  static const S* or_zero(const S* values, int64_t j) {
    static const S zeros[64] = {};
    return E::plain ? zeros : values + j;
  }

  // One channel after the other: summed along y into a row with zeros around, that filtered along x.
  void plane(int64_t nc, int64_t first, int64_t last) const {
    PaddedRow<S> middle(ax);
    std::vector<S> row(ax.out);
    const T* from_plane = x + nc * ay.in * ax.in;
    for (int64_t o = first; o < last; ++o) {
      auto [k, count, from] = ay.reach(o);
      if (f.separable) {
        steps<S>(ax.in, [&](int64_t j, auto lanes) {
          V total(0);
          for (int64_t i = 0; i < count; ++i) {
            total = at::vec::fmadd(load(from_plane + (from + i) * ax.in + j, lanes), V(f.y[k + i * ay.up]), total);
          }
          store(total, middle.pixels() + j, lanes);
        });
        filter_row(ax, f.x.data(), middle.pixels(), row.data(), false);
      } else {
        std::fill(row.begin(), row.end(), S(0));
        for (int64_t i = 0; i < count; ++i) {
          steps<S>(ax.in, [&](int64_t j, auto lanes) {
            store(load(from_plane + (from + i) * ax.in + j, lanes), middle.pixels() + j, lanes);
          });
          filter_row(ax, f.x.data() + (k + i * ay.up) * ax.taps, middle.pixels(), row.data(), true);
        }
      }
      finish_row(nc, o, row.data());
    }
  }

  void finish_row(int64_t nc, int64_t o, const S* row) const {
    T* to = y + (nc * ay.out + o) * ax.out;
    S s = 1, t = 0;
    const S* z = nullptr;
    if constexpr (!E::plain) {
      s = operands->scale.of(nc / im.c)[nc % im.c], t = operands->shift.of(nc / im.c)[nc % im.c];
      z = operands->noise.of(nc / im.c);
    }
    steps<S>(ax.out, [&](int64_t j, auto lanes) {
      V noise = z ? load(z + o * ax.out + j, lanes) : V(0);
      store(finish(load(row + j, lanes), V(s), V(t), noise), to + j, lanes);
    });
  }
};

struct Geometry {
  Axis ax, ay;

  Geometry(const Tensor& x, const Tensor& f, at::IntArrayRef up, at::IntArrayRef down, at::IntArrayRef pads) {
    TORCH_CHECK(x.dim() == 4, "upfirdn2d takes [N, C, H, W], not ", x.sizes());
    check_filter(f, 64);
    ax = make_axis(x.size(3), f.size(f.dim() - 1), up[1], down[1], pads[0], pads[1]);
    ay = make_axis(x.size(2), f.size(0), up[0], down[0], pads[2], pads[3]);
  }
  Tensor output(const Tensor& x) const {
    return at::empty({x.size(0), x.size(1), ay.out, ax.out}, x.options().memory_format(x.suggest_memory_format()));
  }
};

#define DISPATCH(type, name, ...) \
  AT_DISPATCH_FLOATING_TYPES_AND2(at::ScalarType::Half, at::ScalarType::BFloat16, type, name, __VA_ARGS__)

Tensor upfirdn2d(const Tensor& given, const Tensor& f, at::IntArrayRef up, at::IntArrayRef down,
                 at::IntArrayRef pads, bool flip, double gain) {
  Geometry g(given, f, up, down, pads);
  Tensor x = dense(given), y = g.output(x);
  DISPATCH(x.scalar_type(), "upfirdn2d", [&] {
    using S = Compute<scalar_t>;
    Filter<S> filter(f, flip, gain);
    Kernel<scalar_t, Plain<S>>{Images(x), g.ax, g.ay, filter, x.const_data_ptr<scalar_t>(),
                               y.mutable_data_ptr<scalar_t>(), Plain<S>(), nullptr}
        .run();
  });
  return y;
}

template <typename T, Kind kind>
void blur_with(const Tensor& x, Tensor& y, const Geometry& g, const Filter<Compute<T>>& f,
               const Operands<Compute<T>>& operands, Act act, double alpha, double gain, double clamp) {
  using E = Epilogue<Compute<T>, kind>;
  Kernel<T, E>{Images(x), g.ax, g.ay, f, x.const_data_ptr<T>(), y.mutable_data_ptr<T>(),
               E{Activation<Compute<T>, kind>(act, alpha, gain, clamp)}, &operands}
      .run();
}

Tensor blur_act(const Tensor& given, const Tensor& f, at::IntArrayRef pads, bool flip, double filter_gain,
                const Optional& scale, const Optional& shift, const Optional& noise, std::string_view name,
                double alpha, double gain, double clamp) {
  Geometry g(given, f, {1, 1}, {1, 1}, pads);
  Tensor x = dense(given), y = g.output(x);
  DISPATCH(x.scalar_type(), "blur_act", [&] {
    using S = Compute<scalar_t>;
    Filter<S> filter(f, flip, filter_gain);
    Operands<S> o{Rows<S>(scale, y, 1, "scale"), Rows<S>(shift, y, 0, "shift"), Pixels<S>(noise, y, "noise")};
    Act act = parse_act(name);
    auto run = kind_of(act) == Kind::linear  ? blur_with<scalar_t, Kind::linear>
               : kind_of(act) == Kind::leaky ? blur_with<scalar_t, Kind::leaky>
                                             : blur_with<scalar_t, Kind::curved>;
    run(x, y, g, filter, o, act, alpha, gain, clamp);
  });
  return y;
}

}  // namespace

TORCH_LIBRARY_IMPL(hrgan, CPU, m) {
  m.impl("upfirdn2d", upfirdn2d);
  m.impl("blur_act", blur_act);
}

}  // namespace hrgan
