// The schemas of every compiled operation; ops/*.py say what each computes, the kernels are in cpu/ and cuda/.
//
// Common to all: images are dense, contiguous or channels-last (kernels bring anything else into one of the
// two), and results have the layout of x. Operands that are not images are float32, or float64 if x is.
#include <torch/library.h>

TORCH_LIBRARY(hrgan, m) {
  // y = clamp(gain * act(x * scale + shift + noise)); clamp < 0: none. x: [N, C, ...]; scale, shift: [C] or
  // [N, C]; noise: [1 or N, 1, ...].
  m.def(
      "affine_act(Tensor x, Tensor? scale, Tensor? shift, Tensor? noise, str act, float alpha, float gain, "
      "float clamp) -> Tensor");
  // With p the argument of act and c(p) = clamp(gain * act(p)): g = dy * c'(p); dx = g * scale,
  // dscale [N, C] = sum g * x, dshift [N, C] = sum g, dnoise [N, 1, ...] = sum over channels of g.
  // ref: what c' is computed from, y (for swish p; for linear without clamp nothing). x: where dscale is needed.
  // needs: dx, dscale, dshift, dnoise; what is not needed comes back empty.
  m.def(
      "affine_act_backward(Tensor dy, Tensor? ref, Tensor? x, Tensor? scale, str act, float alpha, float gain, "
      "float clamp, bool[4] needs) -> (Tensor, Tensor, Tensor, Tensor)");
  // The gradient of affine_act_backward. q = scale * ddx + x * ddscale + ddshift + ddnoise; d_dy = c' * q,
  // d_ref = dy * q * dc'/dref, d_x = g * ddscale, d_scale [N, C] = sum g * ddx. needs: these four.
  m.def(
      "affine_act_backward_backward(Tensor dy, Tensor? ref, Tensor? x, Tensor? scale, Tensor? ddx, "
      "Tensor? ddscale, Tensor? ddshift, Tensor? ddnoise, str act, float alpha, float gain, float clamp, "
      "bool[4] needs) -> (Tensor, Tensor, Tensor, Tensor)");

  // f: [taps] applied along both axes, or [taps_y, taps_x]. pads: left, right, top, bottom in pixels of the
  // stuffed image, negative crops. flip: correlate. Each pair is (y, x).
  m.def("upfirdn2d(Tensor x, Tensor f, int[2] up, int[2] down, int[4] pads, bool flip, float gain) -> Tensor");
  // affine_act(upfirdn2d(x, f, 1, 1, pads, flip, filter_gain), scale, ...) in one pass.
  m.def(
      "blur_act(Tensor x, Tensor f, int[4] pads, bool flip, float filter_gain, Tensor? scale, Tensor? shift, "
      "Tensor? noise, str act, float alpha, float gain, float clamp) -> Tensor");

  // y = down(c(up(x + bias))), Karras et al. 2021, appendix D: up is upfirdn2d with up_filter, `up`, pads and a
  // gain of up^2, c(u) = clamp(gain * lrelu(u)) with a slope (clamp < 0: none), down is upfirdn2d with
  // down_filter and `down`. Filters as in upfirdn2d, at most 32 taps a side; up, down: 1 to 4, along both axes.
  // bias: [C].
  // Second result: c'(u) of every sample of u = up(x + bias), if `signs` or a gradient will be wanted, else [0].
  // uint8 [N, C, ceil(H_u / 4), W_u] in the layout of x; the two bits of u[n, c, i, j] are those from 2 * (i % 4)
  // on of byte [n, c, i / 4, j]: 0, c' = 0 (clamped: not |c(u)| <= clamp); 1, gain (u > 0); 2, gain * slope. Bits
  // of rows past H_u are 0. H_u = H * up + top + bottom - up_taps_y + 1, and likewise W_u.
  m.def(
      "filtered_lrelu(Tensor x, Tensor up_filter, Tensor down_filter, Tensor? bias, int up, int down, int[4] pads, "
      "bool flip, float gain, float slope, float clamp, bool signs) -> (Tensor, Tensor)");
  // gain * down(m * up(x)), where up has no gain of its own and m[i, j] is 0, 1 or slope for signs 0, 1 or 2 of
  // sample (i + offset[0], j + offset[1]), and 0 where there is none. This is the derivative of filtered_lrelu
  // and, with up, down and filters exchanged, its own. signs: of images as many and with as many channels.
  m.def(
      "filtered_by_signs(Tensor x, Tensor up_filter, Tensor down_filter, Tensor signs, int up, int down, "
      "int[4] pads, int[2] offset, bool flip, float gain, float slope) -> Tensor");

  // The vectors that the CPU kernels were compiled for: AVX512, AVX2 or DEFAULT.
  m.def("cpu_capability() -> str");
  // From now on large CPU tensors of this process are made in memory that is kept and reused.
  m.def("keep_memory() -> ()");
  // Bytes that such tensors take, and bytes kept for later.
  m.def("memory_state() -> int[]");

  // x / sqrt(mean of x^2 over channels + eps). x: [N, C, ...].
  m.def("pixel_norm(Tensor x, float eps) -> Tensor");
  // With r = 1 / rms: dx = r * dy - x * r^3 * mean(dy * x).
  m.def("pixel_norm_backward(Tensor dy, Tensor x, float eps) -> Tensor");
  // [N, C + channels, H, W]: x and maps of the standard deviation of groups of images, N / group apart.
  m.def("minibatch_stddev(Tensor x, int group, int channels, float eps) -> Tensor");
  m.def("minibatch_stddev_backward(Tensor dy, Tensor x, int group, int channels, float eps) -> Tensor");
  // Mean and biased variance [C] over all but channels.
  m.def("batch_moments(Tensor x) -> (Tensor, Tensor)");

  // The convolution, or the transposed one, with derivatives of any order that are convolutions.
  m.def(
      "conv2d(Tensor x, Tensor weight, int stride, int padding, int groups, bool transposed) -> Tensor");

  // [N, F, F, 2], F = 2 * side - 2 + taps: where each place of a warped image comes from. linear: [N, 2, 2],
  // offset: [N, 2], float32 or float64, and so is the result. share, shift: from pixels to shares of the image.
  m.def(
      "warp_grid(Tensor linear, Tensor offset, int side, int taps, int margin, float centre, float share, "
      "float shift) -> Tensor");

  // conv2d with a 3x3 weight, stride 1 and padding 1 by Winograd's F(2x2, 3x3), and the gradient of its weight.
  // float32 on a CPU; numbers of channels are multiples of 16. What is not channels-last is copied.
  m.def("winograd(Tensor x, Tensor weight) -> Tensor");
  m.def("winograd_weight(Tensor x, Tensor dy) -> Tensor");
}
