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

constexpr int64_t kMostTaps = 32, kMostRate = 4, kTileRows = 128, kTileColumns = 32;

int64_t ceil_div(int64_t a, int64_t b) { return a >= 0 ? (a + b - 1) / b : -(-a / b); }

// Sizes along both axes: `up` from the image to the samples, `down` from these to the result.
struct Geometry {
  Axis up_x, up_y, down_x, down_y;

  Geometry(const Tensor& x, const Tensor& up_filter, const Tensor& down_filter, int64_t up, int64_t down,
           at::IntArrayRef pads) {
    TORCH_CHECK(x.dim() == 4, "filtered_lrelu takes [N, C, H, W], not ", x.sizes());
    TORCH_CHECK(up <= kMostRate && down <= kMostRate, "up and down are at most 4, not ", up, " and ", down);
    check_filter(up_filter, kMostTaps), check_filter(down_filter, kMostTaps);
    // The first filter is filled up with zeros, so that every sample sees as many pixels.
    int64_t width = up_filter.size(-1), height = up_filter.size(0);
    int64_t wider = ceil_div(width, up) * up, higher = ceil_div(height, up) * up;
    up_x = make_axis(x.size(3), wider, up, 1, pads[0], pads[1] + wider - width);
    up_y = make_axis(x.size(2), higher, up, 1, pads[2], pads[3] + higher - height);
    down_x = make_axis(up_x.out, down_filter.size(-1), 1, down, 0, 0);
    down_y = make_axis(up_y.out, down_filter.size(0), 1, down, 0, 0);
  }
  Tensor output(const Tensor& x, int64_t rows, int64_t columns, at::ScalarType type) const {
    auto options = x.options().dtype(type).memory_format(x.suggest_memory_format());
    return at::empty({x.size(0), x.size(1), rows, columns}, options);
  }
};

// The taps of the up-sampling filter that meet pixels, not inserted zeros. `up` samples in a row see the same pixels;
// for each of these samples, in their order, its taps.
template <typename S>
struct Phases {
  int64_t up, height, width;  // pixels that a sample sees
  std::vector<S> y, x;        // separable: y [up][height] and x [up][width]; else y is empty, x [up][up][height][width]

  Phases(const Filter<S>& f, int64_t up)
      : up(up), height(ceil_div(f.height, up)), width(ceil_div(f.width, up)) {
    for (int64_t s = 0; s < up; ++s) {
      if (f.separable) {
        cut(f.y.data(), f.height, s, y);
        cut(f.x.data(), f.width, s, x);
        continue;
      }
      for (int64_t t = 0; t < up; ++t) {
        for (int64_t r = up - 1 - s; r < height * up; r += up) {
          cut(r < f.height ? f.x.data() + r * f.width : nullptr, f.width, t, x);
        }
      }
    }
  }

 private:
  // The taps of sample s, counted from the first one that sees these pixels; zeros in place of none.
  void cut(const S* taps, int64_t count, int64_t s, std::vector<S>& to) const {
    for (int64_t k = up - 1 - s; k < ceil_div(count, up) * up; k += up) {
      to.push_back(taps != nullptr && k < count ? taps[k] : S(0));
    }
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
        groups_(xs.pixels() - job.phases.width + 1),
        lead_(xs.sample - g_.up_x.before - (xs.pixel - 1) * job.phases.up - 1),
        spanned_(g_.down_y.taps + g_.down_y.down),
        image_((job.phases.height + 1) * xs.pixels() * kLanes, S(0)),
        middle_(job.phases.up * xs.pixels() * kLanes),
        samples_((job.down.separable ? 1 : spanned_) * groups_ * job.phases.up * kLanes),
        narrow_(job.down.separable ? spanned_ * xs.results() * kLanes : 0),
        results_(2 * xs.results() * kLanes),
        bytes_((xs.samples() + 4) * kLanes) {
    for (int64_t l = 0; l < from_.count && job.bias != nullptr; ++l) {
      bias_[l] = job.bias[(from_.first + l) % from_.channels];
    }
  }

  void run() {
    ready_ = ys_.inside;
    int64_t next = ys_.first;  // row of the result
    for (int64_t i = ys_.sample; i < ys_.sample_end; ++i) {
      sample(i);
      job_.given ? slopes(i, samples_of(i)) : activate(i, samples_of(i));
      if (job_.down.separable) {
        const S* row = samples_of(i);
        Filters<S> across{job_.down.x.data(), 1, g_.down_x.taps, 0, 0, narrow_of(i), 0, 1};
        down(across, &row, 1);
      }
      // Two rows see most samples in common.
      int64_t rows = std::min<int64_t>(2, ys_.last - next), last = (next + rows - 1) * g_.down_y.down;
      if (rows > 0 && i == last + g_.down_y.taps - 1) {
        finish(next, rows);
        next += rows;
      }
    }
  }

 private:
  S* samples_of(int64_t i) {
    int64_t slot = job_.down.separable ? 0 : i % spanned_;
    return samples_.data() + (slot * groups_ * job_.phases.up + lead_) * kLanes;
  }
  S* narrow_of(int64_t i) { return narrow_.data() + i % spanned_ * xs_.results() * kLanes; }

  // A row of the image in a slot of its own; the last slot holds zeros, as the margins of all do.
  const S* image_of(int64_t row) {
    int64_t slots = job_.phases.height;
    bool inside = row >= 0 && row < g_.up_y.in;
    S* slot = image_.data() + (inside ? row % slots : slots) * xs_.pixels() * kLanes;
    for (; inside && ready_ <= row; ++ready_) {
      S* to = image_.data() + (ready_ % slots * xs_.pixels() + xs_.inside - xs_.pixel) * kLanes;
      pixels_.read(from_, ready_, xs_.inside, xs_.inside_end - xs_.inside, bias_, to);
    }
    return slot;
  }

  // Row i of the up-sampled image, with the samples before and after it that see the same pixels.
  void sample(int64_t i) {
    const Phases<S>& phases = job_.phases;
    int64_t up = phases.up, start = i - g_.up_y.before, from = ceil_div(start, up), s = start - (from - 1) * up - 1;
    S* to = samples_of(i) - lead_ * kLanes;
    const S* rows[kMostTaps];
    if (job_.up.separable) {
      if (from != seen_) {
        seen_ = from;
        for (int64_t r = 0; r < phases.height; ++r) rows[r] = image_of(from + r);
        up_by(Filters<S>{phases.y.data(), phases.height, 1, phases.height, 0, middle_.data(), xs_.pixels() * kLanes, 1},
              rows, xs_.pixels());
      }
      rows[0] = middle_.data() + s * xs_.pixels() * kLanes;
      up_by(Filters<S>{phases.x.data(), 1, phases.width, phases.width, 0, to, kLanes, up}, rows, groups_);
    } else {
      for (int64_t r = 0; r < phases.height; ++r) rows[r] = image_of(from + r);
      int64_t each = phases.height * phases.width;
      up_by(Filters<S>{phases.x.data() + s * up * each, phases.height, phases.width, each, 0, to, kLanes, up}, rows,
            groups_);
    }
  }

  // `up` samples from each pixel.
  void up_by(const Filters<S>& filters, const S* const* rows, int64_t count) const {
    switch (job_.phases.up) {
      case 1: return filters.template run<1, 1>(rows, count);
      case 2: return filters.template run<2, 1>(rows, count);
      case 3: return filters.template run<3, 1>(rows, count);
      default: return filters.template run<4, 1>(rows, count);
    }
  }

  // A row of the result's columns, or two, from samples.
  void down(const Filters<S>& filters, const S* const* rows, int results) const {
    auto run = [&](auto step) {
      results == 1 ? filters.template run<1, step>(rows, xs_.results())
                   : filters.template run<2, step>(rows, xs_.results());
    };
    switch (g_.down_x.down) {
      case 1: return run(std::integral_constant<int, 1>());
      case 2: return run(std::integral_constant<int, 2>());
      case 3: return run(std::integral_constant<int, 3>());
      default: return run(std::integral_constant<int, 4>());
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

  // One row of the result, or two at once.
  void finish(int64_t first, int64_t count) {
    const S* rows[kMostTaps + kMostRate];
    int64_t step = g_.down_y.down, lag = count == 1 ? 0 : step, across = xs_.results() * kLanes;
    for (int64_t r = 0; r < g_.down_y.taps + lag; ++r) {
      rows[r] = job_.down.separable ? narrow_of(first * step + r) : samples_of(first * step + r);
    }
    const S* taps = job_.down.separable ? job_.down.y.data() : job_.down.x.data();
    int64_t width = job_.down.separable ? 1 : g_.down_x.taps;
    Filters<S> filters{taps, g_.down_y.taps, width, 0, lag, results_.data(), across, 1};
    if (job_.down.separable) {
      count == 1 ? filters.template run<1, 1>(rows, xs_.results())
                 : filters.template run<2, 1>(rows, xs_.results());
    } else {
      down(filters, rows, count);
    }
    for (int64_t r = 0; r < count; ++r) {
      pixels_.write(results_.data() + r * across, to_, first + r, xs_.first, xs_.results());
    }
  }

  const Job<T>& job_;
  const Geometry& g_;
  Span ys_, xs_;
  Planes<const T> from_;
  int64_t group_;
  Planes<T> to_;
  Exchange<S> pixels_;
  SignExchange<kLanes> bits_;
  // Columns of pixels that samples are made from, `up` of each; how many samples they begin before the first one; rows
  // that two rows of the result see; the next row of the image, and what rows of `middle_` and of signs were made of.
  int64_t groups_, lead_, spanned_, ready_ = 0, seen_ = std::numeric_limits<int64_t>::min(), known_ = -1;
  // Rings of rows: of the image, of samples (one row if the filter is separable), of these filtered along x.
  Buffer<S> image_, middle_, samples_, narrow_, results_;
  Buffer<uint8_t> bytes_;
  alignas(64) S bias_[kLanes] = {};
};

// Tiles depend on sizes alone. A band begins where signs begin a byte.
template <typename T>
void Job<T>::run() const {
  const Axis &dy = g.down_y, &dx = g.down_x;
  int64_t bands = ceil_div(dy.out, kTileRows), rows = ceil_div(ceil_div(dy.out, bands), 4) * 4;
  int64_t strips = ceil_div(dx.out, kTileColumns), columns = ceil_div(dx.out, strips);
  bands = ceil_div(dy.out, rows), strips = ceil_div(dx.out, columns);
  int64_t tiles = bands * strips, groups = Planes<T>::groups(Images(x), Vec<S>::size());
  bool writes = !given && signs.numel() > 0, last = Images(x).last;
  int64_t work = rows * columns * Vec<S>::size();
  at::parallel_for(0, groups * tiles, std::max<int64_t>(1, 8192 / work), [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      // What lies side by side in memory is done in a row: channels of a pixel, or tiles of a plane.
      int64_t tile = last ? task / groups : task % tiles, group = last ? task % groups : task / tiles;
      int64_t top = tile / strips * rows, left = tile % strips * columns;
      Span ys(g.up_y, dy, top, std::min(dy.out, top + rows), writes);
      Span xs(g.up_x, dx, left, std::min(dx.out, left + columns), writes);
      Sweep<T>(*this, group, ys, xs).run();
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
