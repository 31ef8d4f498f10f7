// 3x3 convolutions of channels-last float32 images with four ninths of the products: F(2x2, 3x3) of Winograd
// (Lavin and Gray 2016, section 4.1). Each tile of 2x2 results comes of 4x4 pixels d and the weight g by
// A' [(G g G') * (B' d B)] A, and the sum over channels of its 16 products is 16 products of matrices.
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <algorithm>
#include <vector>

#include "vectors.h"

namespace hrgan {
namespace {

using at::Tensor;
using V = Vec<float>;

constexpr int64_t kPoints = 16;   // of a tile
constexpr int64_t kBlock = 1 << 18;  // numbers of the transformed images that a task works on: they stay in cache

// Images [N, H, W, C] as tiles of 2x2 pixels, in order; the last ones of a row or column may hang over.
struct Tiles {
  int64_t n, c, h, w, down, across, count;

  explicit Tiles(const Tensor& x)
      : n(x.size(0)), c(x.size(1)), h(x.size(2)), w(x.size(3)), down((h + 1) / 2), across((w + 1) / 2),
        count(n * down * across) {}

  // f(pointer to the channels of pixel (i, j) of the tile, i * side + j) for the side * side pixels that begin at
  // `first` pixels before the tile; those outside of the image get `outside`.
  template <int64_t side, typename T, typename F>
  void pixels(T* data, int64_t tile, int64_t first, T* outside, const F& f) const {
    int64_t image = tile / (down * across), y = tile / across % down * 2 - first, x = tile % across * 2 - first;
    for (int64_t i = 0; i < side; ++i) {
      for (int64_t j = 0; j < side; ++j) {
        bool inside = y + i >= 0 && y + i < h && x + j >= 0 && x + j < w;
        f(inside ? data + ((image * h + y + i) * w + x + j) * c : outside, i * side + j);
      }
    }
  }
};

// B' d B of one tile's 4x4 pixels, to `to` + point * stride.
void transform_image(const float* const (&d)[16], int64_t channels, float* to, int64_t stride) {
  for (int64_t at = 0; at < channels; at += V::size()) {
    V rows[4][4];
    for (int64_t j = 0; j < 4; ++j) {
      V a = V::loadu(d[j] + at), b = V::loadu(d[4 + j] + at), c = V::loadu(d[8 + j] + at), e = V::loadu(d[12 + j] + at);
      rows[0][j] = a - c, rows[1][j] = b + c, rows[2][j] = c - b, rows[3][j] = b - e;
    }
    for (int64_t i = 0; i < 4; ++i) {
      auto& r = rows[i];
      float* out = to + 4 * i * stride + at;
      (r[0] - r[2]).store(out);
      (r[1] + r[2]).store(out + stride);
      (r[2] - r[1]).store(out + 2 * stride);
      (r[1] - r[3]).store(out + 3 * stride);
    }
  }
}

// A' m A: the 2x2 results of a tile.
void transform_back(const float* m, int64_t channels, int64_t stride, float* const (&y)[4]) {
  for (int64_t at = 0; at < channels; at += V::size()) {
    V rows[2][4];
    for (int64_t j = 0; j < 4; ++j) {
      const float* column = m + j * stride + at;
      V a = V::loadu(column), b = V::loadu(column + 4 * stride), c = V::loadu(column + 8 * stride),
        e = V::loadu(column + 12 * stride);
      rows[0][j] = a + b + c, rows[1][j] = b - c - e;
    }
    for (int64_t i = 0; i < 2; ++i) {
      auto& r = rows[i];
      (r[0] + r[1] + r[2]).store(y[2 * i] + at);
      (r[1] - r[2] - r[3]).store(y[2 * i + 1] + at);
    }
  }
}

// A dy A' of the gradients of a tile's 2x2 results: the adjoint of `transform_back`.
void transform_gradient(const float* const (&dy)[4], int64_t channels, float* to, int64_t stride) {
  for (int64_t at = 0; at < channels; at += V::size()) {
    V rows[4][2];
    for (int64_t j = 0; j < 2; ++j) {
      V a = V::loadu(dy[j] + at), b = V::loadu(dy[2 + j] + at);
      rows[0][j] = a, rows[1][j] = a + b, rows[2][j] = a - b, rows[3][j] = b.neg();
    }
    for (int64_t i = 0; i < 4; ++i) {
      V a = rows[i][0], b = rows[i][1];
      float* out = to + 4 * i * stride + at;
      a.store(out);
      (a + b).store(out + stride);
      (a - b).store(out + 2 * stride);
      b.neg().store(out + 3 * stride);
    }
  }
}

// The transformed pixels of `count` tiles from `first` on, [16, pitch, C].
void image_block(const Tiles& tiles, const float* x, int64_t first, int64_t count, int64_t pitch, float* to) {
  std::vector<float> zeros(tiles.c);
  const float* d[16];
  for (int64_t t = 0; t < count; ++t) {
    tiles.pixels<4, const float>(x, first + t, 1, zeros.data(), [&](const float* p, int64_t i) { d[i] = p; });
    transform_image(d, tiles.c, to + t * tiles.c, pitch * tiles.c);
  }
}

// The matrix of the transform of weights, [16, 9]: G times G, entry by entry.
Tensor weight_matrix() {
  constexpr float g[4][3] = {{1, 0, 0}, {0.5, 0.5, 0.5}, {0.5, -0.5, 0.5}, {0, 0, 1}};
  Tensor matrix = at::empty({kPoints, 9}, at::kFloat);
  float* to = matrix.data_ptr<float>();
  for (int64_t k = 0; k < kPoints * 9; ++k) {
    int64_t point = k / 9, tap = k % 9;
    to[k] = g[point / 4][tap / 3] * g[point % 4][tap % 3];
  }
  return matrix;
}

int64_t tiles_a_block(const Tiles& tiles, int64_t channels) {
  int64_t fitting = kBlock / (kPoints / 4 * channels);
  return std::min(std::max<int64_t>(32, fitting), tiles.count);
}

Tensor winograd(const Tensor& image, const Tensor& weight) {
  Tensor x = image.contiguous(at::MemoryFormat::ChannelsLast);
  int64_t outputs = weight.size(0), inputs = weight.size(1);
  Tiles from(x);
  Tensor y = at::empty({from.n, outputs, from.h, from.w}, x.options().memory_format(at::MemoryFormat::ChannelsLast));
  Tiles to(y);
  Tensor w = at::mm(weight_matrix(), weight.permute({2, 3, 1, 0}).reshape({9, inputs * outputs}));
  w = w.view({kPoints, inputs, outputs});
  int64_t block = tiles_a_block(from, std::max(inputs, outputs)), blocks = (from.count + block - 1) / block;
  const float* data = x.const_data_ptr<float>();
  float* results = y.data_ptr<float>();
  at::parallel_for(0, blocks, 1, [&](int64_t begin, int64_t end) {
    Tensor v = at::empty({kPoints, block, inputs}, x.options().memory_format(at::MemoryFormat::Contiguous));
    Tensor m = at::empty({kPoints, block, outputs}, v.options());
    std::vector<float> waste(outputs);
    float* parts[4];
    for (int64_t b = begin; b < end; ++b) {
      int64_t first = b * block, count = std::min(block, from.count - first);
      image_block(from, data, first, count, block, v.data_ptr<float>());
      for (int64_t k = 0; k < kPoints; ++k) {
        Tensor product = m[k];
        at::mm_out(product, v[k], w[k]);
      }
      for (int64_t t = 0; t < count; ++t) {
        to.pixels<2, float>(results, first + t, 0, waste.data(), [&](float* p, int64_t i) { parts[i] = p; });
        transform_back(m.data_ptr<float>() + t * outputs, outputs, block * outputs, parts);
      }
    }
  });
  return y;
}

Tensor winograd_weight(const Tensor& image, const Tensor& gradient) {
  Tensor x = image.contiguous(at::MemoryFormat::ChannelsLast);
  Tensor dy = gradient.contiguous(at::MemoryFormat::ChannelsLast);
  Tiles from(x), to(dy);
  int64_t inputs = from.c, outputs = to.c;
  int64_t block = tiles_a_block(from, std::max(inputs, outputs));
  auto options = x.options().memory_format(at::MemoryFormat::Contiguous);
  Tensor sum = at::zeros({kPoints, outputs, inputs}, options);
  Tensor v = at::empty({kPoints, block, inputs}, options), u = at::empty({kPoints, block, outputs}, options);
  const float *data = x.const_data_ptr<float>(), *grads = dy.const_data_ptr<float>();
  float *v_data = v.data_ptr<float>(), *u_data = u.data_ptr<float>();
  std::vector<float> zeros(outputs);
  for (int64_t first = 0; first < from.count; first += block) {
    int64_t count = std::min(block, from.count - first);
    at::parallel_for(0, count, 16, [&](int64_t begin, int64_t end) {
      image_block(from, data, first + begin, end - begin, block, v_data + begin * inputs);
      const float* parts[4];
      for (int64_t t = begin; t < end; ++t) {
        to.pixels<2, const float>(grads, first + t, 0, zeros.data(), [&](const float* p, int64_t i) { parts[i] = p; });
        transform_gradient(parts, outputs, u_data + t * outputs, block * outputs);
      }
    });
    at::parallel_for(0, kPoints, 1, [&](int64_t begin, int64_t end) {
      for (int64_t k = begin; k < end; ++k) {
        sum[k].addmm_(u[k].narrow(0, 0, count).t(), v[k].narrow(0, 0, count));
      }
    });
  }
  Tensor dw = at::mm(weight_matrix().t(), sum.view({kPoints, outputs * inputs}));
  return dw.view({3, 3, outputs, inputs}).permute({2, 3, 0, 1}).contiguous();
}

Tensor winograd_shape(const Tensor& x, const Tensor& weight) {
  auto options = x.options().memory_format(at::MemoryFormat::ChannelsLast);
  return at::empty_symint({x.sym_size(0), weight.sym_size(0), x.sym_size(2), x.sym_size(3)}, options);
}

Tensor winograd_weight_shape(const Tensor& x, const Tensor& dy) {
  auto options = x.options().memory_format(at::MemoryFormat::Contiguous);
  return at::empty_symint({dy.sym_size(1), x.sym_size(1), 3, 3}, options);
}

}  // namespace

TORCH_LIBRARY_IMPL(hrgan, Meta, m) {
  m.impl("winograd", winograd_shape);
  m.impl("winograd_weight", winograd_weight_shape);
}

TORCH_LIBRARY_IMPL(hrgan, CPU, m) {
  m.impl("winograd", winograd);
  m.impl("winograd_weight", winograd_weight);
}

}  // namespace hrgan
