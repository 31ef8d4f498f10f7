// The leaky ReLU with gain and clamp on rows of pixels, with two bits a sample that say which piece of it was met,
// and the slopes that such bits stand for. Four rows share their bytes; registration.cpp has the layout.
#pragma once

#include <cstring>
#include <limits>

#include "lanes.h"

namespace hrgan {

template <typename S>
struct Pieces {
  using V = Vec<S>;
  static constexpr int64_t kLanes = V::size();
  static constexpr uint8_t kPositive = 1, kNegative = 2;
  S high, low, clamp;  // factors of samples above 0 and others; the largest magnitude

  Pieces(double gain, double slope, double clamp)
      : high(static_cast<S>(gain)),
        low(static_cast<S>(gain * slope)),
        clamp(clamp < 0 ? std::numeric_limits<S>::infinity() : static_cast<S>(clamp)) {}

#if defined(CPU_CAPABILITY_AVX2) && !defined(CPU_CAPABILITY_AVX512)
  static __m256 code(int bits) { return _mm256_castsi256_ps(_mm256_set1_epi32(bits)); }
#endif

  // In place. bytes [count][lanes]: where bits go, from `shift` on; for shift 0 what was there is forgotten.
  void activate(S* row, int64_t count, uint8_t* bytes, int shift) const {
    const auto [high, low, clamp] = *this;  // a copy, as the row might be thought to hold the original
    for (int64_t p = 0; p < count; ++p) {
      uint8_t* to = bytes == nullptr ? nullptr : bytes + p * kLanes;
#if defined(CPU_CAPABILITY_AVX512)
      if constexpr (std::is_same_v<S, float>) {
        __m512 u = _mm512_loadu_ps(row + p * kLanes), most = _mm512_set1_ps(clamp);
        __mmask16 positive = _mm512_cmp_ps_mask(u, _mm512_setzero_ps(), _CMP_GT_OQ);
        __m512 v = _mm512_mul_ps(u, _mm512_set1_ps(low));
        v = _mm512_mask_mul_ps(v, positive, u, _mm512_set1_ps(high));
        if (to != nullptr) {
          __mmask16 free = _mm512_cmp_ps_mask(_mm512_abs_ps(v), most, _CMP_LE_OQ);
          __m128i ones = _mm_set1_epi8(static_cast<char>(kPositive << shift));
          __m128i twos = _mm_set1_epi8(static_cast<char>(kNegative << shift));
          __m128i bits = _mm_maskz_mov_epi8(free, _mm_mask_mov_epi8(twos, positive, ones));
          __m128i* place = reinterpret_cast<__m128i*>(to);
          _mm_storeu_si128(place, shift == 0 ? bits : _mm_or_si128(bits, _mm_loadu_si128(place)));
        }
        // In this order, so that a NaN stays one.
        v = _mm512_min_ps(most, _mm512_max_ps(_mm512_set1_ps(-clamp), v));
        _mm512_storeu_ps(row + p * kLanes, v);
        continue;
      }
#elif defined(CPU_CAPABILITY_AVX2)
      if constexpr (std::is_same_v<S, float>) {
        __m256 u = _mm256_loadu_ps(row + p * kLanes), most = _mm256_set1_ps(clamp), none = _mm256_set1_ps(-0.0f);
        __m256 positive = _mm256_cmp_ps(u, _mm256_setzero_ps(), _CMP_GT_OQ);
        __m256 v = _mm256_mul_ps(u, _mm256_blendv_ps(_mm256_set1_ps(low), _mm256_set1_ps(high), positive));
        if (to != nullptr) {
          __m256 free = _mm256_cmp_ps(_mm256_andnot_ps(none, v), most, _CMP_LE_OQ);
          __m256 codes = _mm256_blendv_ps(code(kNegative << shift), code(kPositive << shift), positive);
          __m256i wide = _mm256_castps_si256(_mm256_and_ps(free, codes));
          __m128i half = _mm_packs_epi32(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1));
          __m128i bits = _mm_packus_epi16(half, half), *place = reinterpret_cast<__m128i*>(to);
          _mm_storel_epi64(place, shift == 0 ? bits : _mm_or_si128(bits, _mm_loadl_epi64(place)));
        }
        v = _mm256_min_ps(most, _mm256_max_ps(_mm256_set1_ps(-clamp), v));
        _mm256_storeu_ps(row + p * kLanes, v);
        continue;
      }
#endif
      S* at = row + p * kLanes;
      uint8_t bits[kLanes];
      for (int64_t l = 0; l < kLanes; ++l) {
        S v = at[l] * (at[l] > 0 ? high : low);
        bits[l] = std::abs(v) <= clamp ? (at[l] > 0 ? kPositive : kNegative) << shift : 0;
        at[l] = v > clamp ? clamp : v < -clamp ? -clamp : v;
      }
      for (int64_t l = 0; to != nullptr && l < kLanes; ++l) to[l] = shift == 0 ? bits[l] : to[l] | bits[l];
    }
  }

  // In place: times the slopes of bits.
  void apply(S* row, int64_t count, const uint8_t* bytes, int shift) const {
    const auto [high, low, clamp] = *this;
    for (int64_t p = 0; p < count; ++p) {
#if defined(CPU_CAPABILITY_AVX512)
      if constexpr (std::is_same_v<S, float>) {
        __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes + p * kLanes));
        __mmask16 positive = _mm_test_epi8_mask(bits, _mm_set1_epi8(static_cast<char>(kPositive << shift)));
        __mmask16 negative = _mm_test_epi8_mask(bits, _mm_set1_epi8(static_cast<char>(kNegative << shift)));
        __m512 u = _mm512_loadu_ps(row + p * kLanes);
        __m512 v = _mm512_maskz_mul_ps(positive, u, _mm512_set1_ps(high));
        v = _mm512_mask_mul_ps(v, negative, u, _mm512_set1_ps(low));
        _mm512_storeu_ps(row + p * kLanes, v);
        continue;
      }
#elif defined(CPU_CAPABILITY_AVX2)
      if constexpr (std::is_same_v<S, float>) {
        __m128i packed = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes + p * kLanes));
        __m256i bits = _mm256_cvtepu8_epi32(packed), one = _mm256_set1_epi32(kPositive << shift);
        __m256i two = _mm256_set1_epi32(kNegative << shift), kept = _mm256_or_si256(one, two);
        __m256 positive = _mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_and_si256(bits, one), one));
        __m256 met = _mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_and_si256(bits, kept), _mm256_setzero_si256()));
        __m256 factor = _mm256_blendv_ps(_mm256_set1_ps(low), _mm256_set1_ps(high), positive);
        // A product with 0 would keep what is not finite.
        __m256 v = _mm256_mul_ps(_mm256_loadu_ps(row + p * kLanes), factor);
        _mm256_storeu_ps(row + p * kLanes, _mm256_and_ps(met, v));
        continue;
      }
#endif
      S* at = row + p * kLanes;
      for (int64_t l = 0; l < kLanes; ++l) {
        int code = bytes[p * kLanes + l] >> shift & 3;
        at[l] = code == 0 ? S(0) : at[l] * (code == kPositive ? high : low);
      }
    }
  }
};

// Bytes of signs of several planes, [columns][lanes] here and in the layout of images outside.
template <int64_t lanes>
struct SignExchange {
  Buffer<int32_t> fours, lines;  // four neighbours in one number: [columns / 4][lanes] and [lanes][pitch]
  int64_t pitch;

  explicit SignExchange(int64_t columns) : pitch((columns + 3) / 4) {
    fours.assign(pitch * lanes, 0), lines.assign(pitch * lanes, 0);
  }

  void write(const uint8_t* from, const Planes<uint8_t>& to, int64_t row, int64_t column, int64_t columns) {
    if (to.last) {
      for (int64_t p = 0; p < columns; ++p) {
        uint8_t* pixel = to.pixel(row, column + p);
        to.count == lanes ? std::memcpy(pixel, from + p * lanes, lanes)
                          : std::memcpy(pixel, from + p * lanes, to.count);
      }
      return;
    }
    int64_t count = (columns + 3) / 4;  // `from` has room for whole fours
    for (int64_t q = 0; q < count; ++q) {
      const uint8_t* four = from + q * 4 * lanes;
      for (int64_t l = 0; l < lanes; ++l) {
        fours[q * lanes + l] =
            four[l] | four[lanes + l] << 8 | four[2 * lanes + l] << 16 | four[3 * lanes + l] << 24;
      }
    }
    between<false>(count);
    for (int64_t lane = 0; lane < to.count; ++lane) {
      std::memcpy(to.line(lane, row) + column, lines.data() + lane * pitch, columns);
    }
  }

  void read(const Planes<const uint8_t>& from, int64_t row, int64_t column, int64_t columns, uint8_t* to) {
    if (from.last) {
      for (int64_t p = 0; p < columns; ++p) {
        const uint8_t* pixel = from.pixel(row, column + p);
        from.count == lanes ? std::memcpy(to + p * lanes, pixel, lanes)
                            : std::memcpy(to + p * lanes, pixel, from.count);
      }
      return;
    }
    int64_t count = (columns + 3) / 4;
    for (int64_t lane = 0; columns > 0 && lane < from.count; ++lane) {
      lines[lane * pitch + count - 1] = 0;  // what follows the last column
      std::memcpy(lines.data() + lane * pitch, from.line(lane, row) + column, columns);
    }
    between<true>(count);
    for (int64_t q = 0; q < count; ++q) {
      for (int64_t k = 0; k < 4; ++k) {
        uint8_t* pixel = to + (q * 4 + k) * lanes;
        for (int64_t l = 0; l < lanes; ++l) pixel[l] = static_cast<uint8_t>(fours[q * lanes + l] >> 8 * k);
      }
    }
  }

 private:
  // Numbers as wide as a float are moved as floats, unchanged.
  template <bool to_pixels>
  void between(int64_t count) {
    transpose<to_pixels, lanes>(reinterpret_cast<float*>(lines.data()), pitch, reinterpret_cast<float*>(fours.data()),
                                count);
  }
};

}  // namespace hrgan
