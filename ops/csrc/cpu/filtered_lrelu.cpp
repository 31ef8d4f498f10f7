// Leaky ReLU between two filters that sample up and down; and the same with slopes in its place, its derivative.
//
// A task sweeps over a tile of some planes from top to bottom and keeps no more of the up-sampled image than the
// rows that a filter spans.
#include <ATen/Dispatch.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include "signs.h"
#include "taps.h"

namespace hrgan {
namespace {

using at::Tensor;
using Optional = std::optional<Tensor>;

constexpr int64_t kMostTaps = 32, kMostRate = 4, kTileRows = 128, kTileColumns = 256;

// Sizes along both axes: `up` from the image to the samples, `down` from these to the result.
struct Geometry {
  Axis up_x, up_y, down_x, down_y;

  Geometry(const Tensor& x, const Tensor& up_filter, const Tensor& down_filter, int64_t up, int64_t down,
           at::IntArrayRef pads) {
    TORCH_CHECK(x.dim() == 4, "filtered_lrelu takes [N, C, H, W], not ", x.sizes());
    TORCH_CHECK(up <= kMostRate && down <= kMostRate, "up and down are at most 4, not ", up, " and ", down);
    check_filter(up_filter, kMostTaps), check_filter(down_filter, kMostTaps);
    up_x = make_axis(x.size(3), up_filter.size(-1), up, 1, pads[0], pads[1]);
    up_y = make_axis(x.size(2), up_filter.size(0), up, 1, pads[2], pads[3]);
    down_x = make_axis(up_x.out, down_filter.size(-1), 1, down, 0, 0);
    down_y = make_axis(up_y.out, down_filter.size(0), 1, down, 0, 0);
  }
  Tensor output(const Tensor& x, int64_t rows, int64_t columns, at::ScalarType type) const {
    auto options = x.options().dtype(type).memory_format(x.suggest_memory_format());
    return at::empty({x.size(0), x.size(1), rows, columns}, options);
  }
};

int64_t ceil_div(int64_t a, int64_t b) { return a >= 0 ? (a + b - 1) / b : -(-a / b); }

// The taps that meet pixels, not inserted zeros: for each phase along y and x those with that remainder.
template <typename S>
struct Phases {
  struct Part {
    int64_t height, width;
    std::vector<S> taps;  // [height][width]
  };
  int64_t up;
  std::vector<Part> parts;  // [up][up] of a plane; of a separable filter [up] along y, then [up] along x

  Phases(const Filter<S>& f, int64_t up) : up(up) {
    if (f.separable) {
      for (int64_t q = 0; q < up; ++q) parts.push_back(cut(f.y, f.height, 1, q, 0));
      for (int64_t q = 0; q < up; ++q) parts.push_back(cut(f.x, 1, f.width, 0, q));
    } else {
      for (int64_t q = 0; q < up * up; ++q) parts.push_back(cut(f.x, f.height, f.width, q / up, q % up));
    }
  }
  const Part& along_y(int64_t q) const { return parts[q]; }
  const Part& along_x(int64_t q) const { return parts[up + q]; }
  const Part& at(int64_t qy, int64_t qx) const { return parts[qy * up + qx]; }

 private:
  Part cut(const std::vector<S>& taps, int64_t height, int64_t width, int64_t top, int64_t left) const {
    Part part{0, std::max<int64_t>(0, ceil_div(width - left, up)), {}};
    for (int64_t r = top; r < height; r += up, ++part.height) {
      for (int64_t k = left; k < width; k += up) part.taps.push_back(taps[r * width + k]);
    }
    return part;
  }
};

template <typename T>
struct Job {
  using S = Compute<T>;
  const Geometry& g;
  const Filter<S>&up, &down;
  Phases<S> phases;
  Pieces<S> pieces;
  Tensor x, y, signs;  // signs: to write, to read, or without elements
  bool given;          // whether they are read
  int64_t offset_y, offset_x;
  const S* bias;  // [C] or null

  void run() const;
};

// The tile that a task computes: of the result, and what of samples and pixels that takes.
struct Span {
  int64_t first, last;              // of the result
  int64_t sample, sample_end;       // samples that are computed
  int64_t owned_end;                // signs of samples from `sample` to here are written
  int64_t pixel, pixel_end;         // pixels under taps, those outside the image too
  int64_t inside, inside_end;       // those inside

  Span(const Axis& up, const Axis& down, int64_t first, int64_t last, bool owns) : first(first), last(last) {
    sample = first * down.down, sample_end = (last - 1) * down.down + down.taps;
    owned_end = !owns ? sample : last == down.out ? down.in : last * down.down;
    sample_end = std::max(sample_end, owned_end);
    pixel = ceil_div(sample - up.before, up.up);
    pixel_end = std::max(pixel, 1 - ceil_div(up.before - sample_end + 2 - up.taps, up.up));
    inside = std::clamp<int64_t>(pixel, 0, up.in), inside_end = std::clamp<int64_t>(pixel_end, inside, up.in);
  }
  int64_t results() const { return last - first; }
  int64_t samples() const { return sample_end - sample; }
  int64_t pixels() const { return pixel_end - pixel; }
};

template <typename T>
class Sweep {
  using S = Compute<T>;
  static constexpr int64_t kLanes = Vec<S>::size();

 public:
  Sweep(const Job<T>& job, int64_t group, const Span& ys, const Span& xs)
      : job_(job),
        g_(job.g),
        ys_(ys),
        xs_(xs),
        from_(job.x.template const_data_ptr<T>(), job.x, Images(job.x).last, group, kLanes),
        group_(group),
        to_(job.y.template mutable_data_ptr<T>(), job.y, from_.last, group, kLanes),
        pixels_(std::max(xs.pixels(), xs.results())),
        bits_(xs.samples()),
        slots_(std::max<int64_t>(1, ceil_div(g_.up_y.taps, job.phases.up))),
        image_((slots_ + 1) * xs.pixels() * kLanes, S(0)),
        middle_(xs.pixels() * kLanes),
        samples_((job.down.separable ? 1 : g_.down_y.taps) * xs.samples() * kLanes),
        narrow_(job.down.separable ? g_.down_y.taps * xs.results() * kLanes : 0),
        result_(xs.results() * kLanes),
        bytes_((xs.samples() + 4) * kLanes) {
    for (int64_t l = 0; l < from_.count && job.bias != nullptr; ++l) {
      bias_[l] = job.bias[(from_.first + l) % from_.channels];
    }
  }

  void run() {
    ready_ = ys_.inside;
    for (int64_t i = ys_.sample; i < ys_.sample_end; ++i) {
      S* row = samples_of(i);
      sample(i, row);
      job_.given ? slopes(i, row) : activate(i, row);
      if (job_.down.separable) {
        const S* only = row;
        fir(&only, 1, job_.down.x.data(), g_.down_x.taps, 0, g_.down_x.down, narrow_of(i), 1, xs_.results());
      }
      int64_t start = i - g_.down_y.taps + 1;
      if (start >= ys_.sample && start % g_.down_y.down == 0 && start / g_.down_y.down < ys_.last) {
        finish(start);
      }
    }
  }

 private:
  S* samples_of(int64_t i) {
    return samples_.data() + (job_.down.separable ? 0 : i % g_.down_y.taps * xs_.samples() * kLanes);
  }
  S* narrow_of(int64_t i) { return narrow_.data() + i % g_.down_y.taps * xs_.results() * kLanes; }

  // A row of the image in a slot of its own; the last slot holds zeros, as the margins of all do.
  const S* image_of(int64_t row) {
    bool inside = row >= 0 && row < g_.up_y.in;
    S* slot = image_.data() + (inside ? row % slots_ : slots_) * xs_.pixels() * kLanes;
    for (; inside && ready_ <= row; ++ready_) {
      S* to = image_.data() + ready_ % slots_ * xs_.pixels() * kLanes + (xs_.inside - xs_.pixel) * kLanes;
      pixels_.read(from_, ready_, xs_.inside, xs_.inside_end - xs_.inside, bias_, to);
    }
    return slot;
  }

  // Row i of the up-sampled image.
  void sample(int64_t i, S* to) {
    const Phases<S>& phases = job_.phases;
    int64_t up = phases.up, start = i - g_.up_y.before, from = ceil_div(start, up), qy = from * up - start;
    int64_t height = job_.up.separable ? phases.along_y(qy).height : phases.at(qy, 0).height;
    const S* rows[kMostTaps];
    for (int64_t r = 0; r < height; ++r) rows[r] = image_of(from + r);
    if (job_.up.separable) {
      fir(rows, height, phases.along_y(qy).taps.data(), 1, 0, 1, middle_.data(), 1, xs_.pixels());
      rows[0] = middle_.data(), height = 1;
    }
    for (int64_t r = 0; r < std::min(up, xs_.samples()); ++r) {
      int64_t left = xs_.sample + r - g_.up_x.before, column = ceil_div(left, up), qx = column * up - left;
      const auto& part = job_.up.separable ? phases.along_x(qx) : phases.at(qy, qx);
      fir(rows, height, part.taps.data(), part.width, column - xs_.pixel, 1, to + r * kLanes, up,
          ceil_div(xs_.samples() - r, up));
    }
  }

  void activate(int64_t i, S* row) {
    bool owned = i < ys_.owned_end;
    job_.pieces.activate(row, xs_.samples(), owned ? bytes_.data() : nullptr, 2 * (i % 4));
    if (owned && (i % 4 == 3 || i + 1 == ys_.owned_end)) {
      Planes<uint8_t> to(job_.signs.template mutable_data_ptr<uint8_t>(), job_.signs, from_.last, group_, kLanes);
      bits_.write(bytes_.data(), to, i / 4, xs_.sample, xs_.owned_end - xs_.sample);
    }
  }

  void slopes(int64_t i, S* row) {
    int64_t at = i + job_.offset_y;
    if (at < 0 || at >= 4 * job_.signs.size(2)) {
      std::fill_n(row, xs_.samples() * kLanes, S(0));
      return;
    }
    if (at / 4 != known_) {
      known_ = at / 4;
      std::fill(bytes_.begin(), bytes_.end(), 0);
      Planes<const uint8_t> from(job_.signs.template const_data_ptr<uint8_t>(), job_.signs, from_.last, group_, kLanes);
      int64_t left = xs_.sample + job_.offset_x, columns = job_.signs.size(3);
      int64_t first = std::clamp<int64_t>(left, 0, columns);
      int64_t last = std::clamp<int64_t>(left + xs_.samples(), first, columns);
      bits_.read(from, known_, first, last - first, bytes_.data() + (first - left) * kLanes);
    }
    job_.pieces.apply(row, xs_.samples(), bytes_.data(), 2 * (at % 4));
  }

  // The row of the result whose first sample is in row `start`.
  void finish(int64_t start) {
    const S* rows[kMostTaps];
    int64_t height = g_.down_y.taps;
    for (int64_t r = 0; r < height; ++r) {
      rows[r] = job_.down.separable ? narrow_of(start + r) : samples_of(start + r);
    }
    if (job_.down.separable) {
      fir(rows, height, job_.down.y.data(), 1, 0, 1, result_.data(), 1, xs_.results());
    } else {
      fir(rows, height, job_.down.x.data(), g_.down_x.taps, 0, g_.down_x.down, result_.data(), 1, xs_.results());
    }
    pixels_.write(result_.data(), to_, start / g_.down_y.down, xs_.first, xs_.results());
  }

  const Job<T>& job_;
  const Geometry& g_;
  Span ys_, xs_;
  Planes<const T> from_;
  int64_t group_;
  Planes<T> to_;
  Exchange<S> pixels_;
  SignExchange<kLanes> bits_;
  int64_t slots_, ready_ = 0, known_ = -1;
  // Rings of rows: of the image, of samples (one row if the filter is separable), of these filtered along x.
  std::vector<S> image_, middle_, samples_, narrow_, result_;
  std::vector<uint8_t> bytes_;
  S bias_[kLanes] = {};
};

// Tiles depend on sizes alone. A band begins where signs begin a byte.
template <typename T>
void Job<T>::run() const {
  const Axis &dy = g.down_y, &dx = g.down_x;
  int64_t bands = ceil_div(dy.out, kTileRows), rows = ceil_div(ceil_div(dy.out, bands), 4) * 4;
  int64_t strips = ceil_div(dx.out, kTileColumns), columns = ceil_div(dx.out, strips);
  bands = ceil_div(dy.out, rows), strips = ceil_div(dx.out, columns);
  int64_t groups = Planes<T>::groups(Images(x), Vec<S>::size()), work = rows * columns * Vec<S>::size();
  bool writes = !given && signs.numel() > 0;
  at::parallel_for(0, groups * bands * strips, std::max<int64_t>(1, 8192 / work), [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      int64_t top = task / strips % bands * rows, left = task % strips * columns;
      Span ys(g.up_y, dy, top, std::min(dy.out, top + rows), writes);
      Span xs(g.up_x, dx, left, std::min(dx.out, left + columns), writes);
      Sweep<T>(*this, task / strips / bands, ys, xs).run();
    }
  });
}

#define DISPATCH(type, name, ...) \
  AT_DISPATCH_FLOATING_TYPES_AND2(at::ScalarType::Half, at::ScalarType::BFloat16, type, name, __VA_ARGS__)

std::tuple<Tensor, Tensor> filtered_lrelu(const Tensor& given, const Tensor& up_filter, const Tensor& down_filter,
                                          const Optional& bias, int64_t up, int64_t down, at::IntArrayRef pads,
                                          bool flip, double gain, double slope, double clamp, bool wants_signs) {
  Geometry g(given, up_filter, down_filter, up, down, pads);
  TORCH_CHECK(!bias || bias->sizes() == given.sizes().slice(1, 1), "bias of shape ", bias->sizes(),
              " does not fit ", given.sizes());
  Tensor x = dense(given), y = g.output(x, g.down_y.out, g.down_x.out, x.scalar_type());
  Tensor signs = wants_signs ? g.output(x, ceil_div(g.up_y.out, 4), g.up_x.out, at::kByte)
                             : at::empty({0}, x.options().dtype(at::kByte));
  DISPATCH(x.scalar_type(), "filtered_lrelu", [&] {
    using S = Compute<scalar_t>;
    Filter<S> f(up_filter, flip, static_cast<double>(up * up)), h(down_filter, flip, 1);
    Tensor shift = bias ? bias->to(c10::CppTypeToScalarType<S>::value).contiguous() : Tensor();
    Job<scalar_t>{g, f, h, Phases<S>(f, up), Pieces<S>(gain, slope, clamp), x, y, signs, false, 0, 0,
                  bias ? shift.const_data_ptr<S>() : nullptr}
        .run();
  });
  return {y, signs};
}

Tensor filtered_by_signs(const Tensor& given, const Tensor& up_filter, const Tensor& down_filter,
                         const Tensor& given_signs, int64_t up, int64_t down, at::IntArrayRef pads,
                         at::IntArrayRef offset, bool flip, double gain, double slope) {
  Geometry g(given, up_filter, down_filter, up, down, pads);
  TORCH_CHECK(given_signs.scalar_type() == at::kByte && given_signs.dim() == 4 &&
                  given_signs.sizes().slice(0, 2) == given.sizes().slice(0, 2),
              "signs of shape ", given_signs.sizes(), " do not fit ", given.sizes());
  Tensor x = dense(given), signs = like(given_signs, x);
  Tensor y = g.output(x, g.down_y.out, g.down_x.out, x.scalar_type());
  DISPATCH(x.scalar_type(), "filtered_by_signs", [&] {
    using S = Compute<scalar_t>;
    Filter<S> f(up_filter, flip, gain), h(down_filter, flip, 1);
    Job<scalar_t>{g, f, h, Phases<S>(f, up), Pieces<S>(1, slope, -1), x, y, signs, true, offset[0], offset[1],
                  nullptr}
        .run();
  });
  return y;
}

}  // namespace

TORCH_LIBRARY_IMPL(hrgan, CPU, m) {
  m.impl("filtered_lrelu", filtered_lrelu);
  m.impl("filtered_by_signs", filtered_by_signs);
}

}  // namespace hrgan
