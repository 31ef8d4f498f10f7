// Scale, shift, noise and activation in one pass over memory; its gradient, and the gradient of that.
#include <ATen/Dispatch.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full.h>
#include <torch/library.h>

#include <array>
#include <tuple>
#include <vector>

#include "activation.h"
#include "images.h"

namespace hrgan {
namespace {

using at::Tensor;
using Optional = std::optional<Tensor>;

// f(Activation<S, kind>) for the activation's kind.
template <typename S, typename F>
void with_activation(std::string_view name, double alpha, double gain, double clamp, const F& f) {
  Act act = parse_act(name);
  switch (kind_of(act)) {
    case Kind::linear:
      return f(Activation<S, Kind::linear>(act, alpha, gain, clamp));
    case Kind::leaky:
      return f(Activation<S, Kind::leaky>(act, alpha, gain, clamp));
    default:
      return f(Activation<S, Kind::curved>(act, alpha, gain, clamp));
  }
}

#define DISPATCH(type, name, ...) \
  AT_DISPATCH_FLOATING_TYPES_AND2(at::ScalarType::Half, at::ScalarType::BFloat16, type, name, __VA_ARGS__)

template <typename T, typename A>
void forward(const Images& im, const A& c, const T* x, T* y, const Rows<Compute<T>>& scale,
             const Rows<Compute<T>>& shift, const Pixels<Compute<T>>& noise) {
  using S = Compute<T>;
  im.for_blocks([&](int64_t n, int64_t, int64_t first, int64_t pixels) {
    const S *s = scale.of(n), *t = shift.of(n), *z = noise.of(n);
    if (im.rows()) {
      for (int64_t p = first; p < first + pixels; ++p) {
        const T* from = x + (n * im.p + p) * im.c;
        T* to = y + (n * im.p + p) * im.c;
        Vec<S> at_pixel(z ? z[p] : S(0));
        steps<S>(im.c, [&](int64_t j, auto lanes) {
          Vec<S> pre = at::vec::fmadd(load(from + j, lanes), load(s + j, lanes), load(t + j, lanes));
          store(c.forward(pre + at_pixel), to + j, lanes);
        });
      }
      return;
    }
    for (int64_t k = 0; k < im.c; ++k) {
      int64_t at = (n * im.c + k) * im.p + first;
      Vec<S> sk(s[k]), tk(t[k]);
      steps<S>(pixels, [&](int64_t j, auto lanes) {
        Vec<S> pre = at::vec::fmadd(load(x + at + j, lanes), sk, tk);
        pre = z ? pre + load(z + first + j, lanes) : pre;
        store(c.forward(pre), y + at + j, lanes);
      });
    }
  });
}

Tensor affine_act(const Tensor& given, const Optional& scale, const Optional& shift, const Optional& noise,
                  std::string_view act, double alpha, double gain, double clamp) {
  Tensor x = dense(given), y = at::empty_like(x);
  DISPATCH(x.scalar_type(), "affine_act", [&] {
    using S = Compute<scalar_t>;
    Rows<S> s(scale, x, 1, "scale"), t(shift, x, 0, "shift");
    Pixels<S> z(noise, x, "noise");
    with_activation<S>(act, alpha, gain, clamp, [&](const auto& c) {
      forward(Images(x), c, x.const_data_ptr<scalar_t>(), y.mutable_data_ptr<scalar_t>(), s, t, z);
    });
  });
  return y;
}

// Sums over pixels, [N, C]: each block adds into a row of its own; the rows are added in their order.
template <typename S>
struct ChannelSums {
  const Images& im;
  std::vector<S> partial;

  ChannelSums(const Images& im, bool needed) : im(im), partial(needed ? im.n * im.blocks() * im.c : 0, S(0)) {}

  S* of(int64_t n, int64_t block) {
    return partial.empty() ? nullptr : partial.data() + (n * im.blocks() + block) * im.c;
  }

  Tensor total(const at::TensorOptions& options) const {
    Tensor out = at::full({im.n, im.c}, 0, options.dtype(c10::CppTypeToScalarType<S>::value));
    S* to = out.mutable_data_ptr<S>();
    for (int64_t n = 0; n < im.n && !partial.empty(); ++n) {
      std::vector<double> row(im.c, 0.0);
      for (int64_t b = 0; b < im.blocks(); ++b) {
        const S* from = partial.data() + (n * im.blocks() + b) * im.c;
        for (int64_t k = 0; k < im.c; ++k) {
          row[k] += from[k];
        }
      }
      for (int64_t k = 0; k < im.c; ++k) {
        to[n * im.c + k] = static_cast<S>(row[k]);
      }
    }
    return out;
  }
};

template <typename S>
inline void accumulate(S* to, Vec<S> value, int64_t lanes) {
  store(load(to, lanes) + value, to, lanes);
}

template <typename T>
struct BackwardOperands {
  const T *dy, *ref, *x;
  T* dx;
  Compute<T>* dnoise;
};

template <typename T, typename A>
void backward(const Images& im, const A& c, const BackwardOperands<T>& o, const Rows<Compute<T>>& scale,
              ChannelSums<Compute<T>>& dscale, ChannelSums<Compute<T>>& dshift) {
  using S = Compute<T>;
  im.for_blocks([&](int64_t n, int64_t block, int64_t first, int64_t pixels) {
    const S* s = scale.of(n);
    S *ds = dscale.of(n, block), *dt = dshift.of(n, block), *dz = o.dnoise ? o.dnoise + n * im.p : nullptr;
    if (im.rows()) {
      for (int64_t p = first; p < first + pixels; ++p) {
        int64_t at = (n * im.p + p) * im.c;
        Vec<S> over(0);
        steps<S>(im.c, [&](int64_t j, auto lanes) {
          Vec<S> g = load(o.dy + at + j, lanes) * c.slope(load(o.ref + at + j, lanes));
          if (o.dx) store(g * load(s + j, lanes), o.dx + at + j, lanes);
          if (ds) accumulate(ds + j, g * load(o.x + at + j, lanes), lanes);
          if (dt) accumulate(dt + j, g, lanes);
          if (dz) over = over + Vec<S>::set(Vec<S>(0), g, lanes);
        });
        if (dz) dz[p] = sum(over);
      }
      return;
    }
    for (int64_t k = 0; k < im.c; ++k) {
      int64_t at = (n * im.c + k) * im.p + first;
      Vec<S> sk(s[k]), sum_s(0), sum_t(0);
      steps<S>(pixels, [&](int64_t j, auto lanes) {
        Vec<S> g = load(o.dy + at + j, lanes) * c.slope(load(o.ref + at + j, lanes));
        g = Vec<S>::set(Vec<S>(0), g, lanes);
        if (o.dx) store(g * sk, o.dx + at + j, lanes);
        if (ds) sum_s = at::vec::fmadd(g, load(o.x + at + j, lanes), sum_s);
        sum_t = sum_t + g;
        if (dz) accumulate(dz + first + j, g, lanes);
      });
      if (ds) ds[k] += sum(sum_s);
      if (dt) dt[k] += sum(sum_t);
    }
  });
}

template <typename T>
const T* pointer(const Optional& tensor, const T* otherwise) {
  return tensor.has_value() ? tensor->const_data_ptr<T>() : otherwise;
}

using hrgan::like;

Optional like(const Optional& other, const Tensor& x) {
  return other.has_value() ? Optional(like(*other, x)) : std::nullopt;
}

std::vector<int64_t> pixel_sizes(const Tensor& x) {
  std::vector<int64_t> sizes = x.sizes().vec();
  sizes[1] = 1;
  return sizes;
}

using Four = std::tuple<Tensor, Tensor, Tensor, Tensor>;

Four affine_act_backward(const Tensor& given, const Optional& ref_, const Optional& x_, const Optional& scale,
                         std::string_view act, double alpha, double gain, double clamp,
                         std::array<bool, 4> needs) {
  const Tensor& base = ref_.has_value() ? *ref_ : x_.has_value() ? *x_ : given;
  Tensor dy = like(given, base);
  Optional ref = like(ref_, base), x = like(x_, base);
  TORCH_CHECK(!needs[1] || x.has_value(), "the gradient of scale needs x");
  TORCH_CHECK(ref.has_value() || (act == "linear" && clamp < 0), "the gradient of ", act, " needs ref");
  Four out;
  DISPATCH(dy.scalar_type(), "affine_act_backward", [&] {
    using S = Compute<scalar_t>;
    auto sums = dy.options().dtype(c10::CppTypeToScalarType<S>::value);
    Images im(dy);
    Rows<S> s(scale, dy, 1, "scale");
    Tensor dx = needs[0] ? at::empty_like(dy) : at::empty({0}, dy.options());
    Tensor dz = needs[3] ? at::full(pixel_sizes(dy), 0, sums) : at::empty({0}, sums);
    ChannelSums<S> ds(im, needs[1]), dt(im, needs[2]);
    const scalar_t* d = dy.const_data_ptr<scalar_t>();
    BackwardOperands<scalar_t> o{d, pointer(ref, d), pointer(x, d),
                                 needs[0] ? dx.mutable_data_ptr<scalar_t>() : nullptr,
                                 needs[3] ? dz.mutable_data_ptr<S>() : nullptr};
    with_activation<S>(act, alpha, gain, clamp, [&](const auto& c) { backward(im, c, o, s, ds, dt); });
    out = {dx, needs[1] ? ds.total(sums) : at::empty({0}, sums), needs[2] ? dt.total(sums) : at::empty({0}, sums), dz};
  });
  return out;
}

template <typename T>
struct SecondOperands {
  const T *dy, *ref, *x, *ddx;
  T *d_dy, *d_ref, *d_x;
};

template <typename T, typename A>
void second(const Images& im, const A& c, const SecondOperands<T>& o, const Rows<Compute<T>>& scale,
            const Rows<Compute<T>>& ddscale, const Rows<Compute<T>>& ddshift, const Pixels<Compute<T>>& ddnoise,
            ChannelSums<Compute<T>>& d_scale) {
  using S = Compute<T>;
  using V = Vec<S>;
  auto at_point = [&](int64_t at, auto lanes, V s, V dds, V ddt, V ddz) {
    V dy = load(o.dy + at, lanes), ref = load(o.ref + at, lanes), slope = c.slope(ref), g = dy * slope;
    V ddx = o.ddx ? load(o.ddx + at, lanes) : V(0);
    V q = at::vec::fmadd(s, ddx, ddt + ddz);
    q = o.x ? at::vec::fmadd(load(o.x + at, lanes), dds, q) : q;
    if (o.d_dy) store(slope * q, o.d_dy + at, lanes);
    if (o.d_ref) store(dy * q * c.curvature(ref), o.d_ref + at, lanes);
    if (o.d_x) store(g * dds, o.d_x + at, lanes);
    return V::set(V(0), g * ddx, lanes);
  };
  im.for_blocks([&](int64_t n, int64_t block, int64_t first, int64_t pixels) {
    const S *s = scale.of(n), *dds = ddscale.of(n), *ddt = ddshift.of(n), *ddz = ddnoise.of(n);
    S* ds = d_scale.of(n, block);
    if (im.rows()) {
      for (int64_t p = first; p < first + pixels; ++p) {
        V z(ddz ? ddz[p] : S(0));
        steps<S>(im.c, [&](int64_t j, auto lanes) {
          int64_t at = (n * im.p + p) * im.c + j;
          V part = at_point(at, lanes, load(s + j, lanes), load(dds + j, lanes), load(ddt + j, lanes), z);
          if (ds) accumulate(ds + j, part, lanes);
        });
      }
      return;
    }
    for (int64_t k = 0; k < im.c; ++k) {
      int64_t at = (n * im.c + k) * im.p + first;
      V total(0);
      steps<S>(pixels, [&](int64_t j, auto lanes) {
        V z = ddz ? load(ddz + first + j, lanes) : V(0);
        total = total + at_point(at + j, lanes, V(s[k]), V(dds[k]), V(ddt[k]), z);
      });
      if (ds) ds[k] += sum(total);
    }
  });
}

Four affine_act_backward_backward(const Tensor& given, const Optional& ref_, const Optional& x_,
                                  const Optional& scale, const Optional& ddx_, const Optional& ddscale,
                                  const Optional& ddshift, const Optional& ddnoise, std::string_view act,
                                  double alpha, double gain, double clamp, std::array<bool, 4> needs) {
  const Tensor& base = ref_.has_value() ? *ref_ : x_.has_value() ? *x_ : given;
  Tensor dy = like(given, base);
  Optional ref = like(ref_, base), x = like(x_, base), ddx = like(ddx_, base);
  TORCH_CHECK(ref.has_value() || (act == "linear" && clamp < 0), "the gradient of ", act, " needs ref");
  TORCH_CHECK(!ddscale.has_value() || x.has_value(), "the second gradient of scale needs x");
  Four out;
  DISPATCH(dy.scalar_type(), "affine_act_backward_backward", [&] {
    using S = Compute<scalar_t>;
    auto sums = dy.options().dtype(c10::CppTypeToScalarType<S>::value);
    Images im(dy);
    Rows<S> s(scale, dy, 1, "scale"), dds(ddscale, dy, 0, "ddscale"), ddt(ddshift, dy, 0, "ddshift");
    Pixels<S> ddz(ddnoise, dy, "ddnoise");
    ChannelSums<S> ds(im, needs[3]);
    auto image = [&](bool needed) { return needed ? at::empty_like(dy) : at::empty({0}, dy.options()); };
    Tensor d_dy = image(needs[0]), d_ref = image(needs[1]), d_x = image(needs[2]);
    auto where = [](Tensor& t, bool needed) { return needed ? t.mutable_data_ptr<scalar_t>() : nullptr; };
    const scalar_t* d = dy.const_data_ptr<scalar_t>();
    const scalar_t* none = nullptr;
    SecondOperands<scalar_t> o{d, pointer(ref, d), pointer(x, none), pointer(ddx, none),
                               where(d_dy, needs[0]), where(d_ref, needs[1]), where(d_x, needs[2])};
    with_activation<S>(act, alpha, gain, clamp, [&](const auto& c) { second(im, c, o, s, dds, ddt, ddz, ds); });
    out = {d_dy, d_ref, d_x, needs[3] ? ds.total(sums) : at::empty({0}, sums)};
  });
  return out;
}

}  // namespace

TORCH_LIBRARY_IMPL(hrgan, CPU, m) {
  m.impl("affine_act", affine_act);
  m.impl("affine_act_backward", affine_act_backward);
  m.impl("affine_act_backward_backward", affine_act_backward_backward);
}

}  // namespace hrgan
