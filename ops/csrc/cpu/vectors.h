// Vectors of the type that arithmetic is done in, loaded from and stored to the type that memory holds.
#pragma once

#include <ATen/cpu/vec/functional.h>
#include <ATen/cpu/vec/vec.h>
#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <type_traits>

namespace hrgan {

// float for all but double: sums of half types would lose what they hold.
template <typename T>
using Compute = std::conditional_t<std::is_same_v<T, double>, double, float>;

template <typename S>
using Vec = at::vec::Vectorized<S>;

template <typename T>
inline Vec<Compute<T>> load(const T* from, int64_t count = Vec<Compute<T>>::size()) {
  if constexpr (std::is_same_v<T, Compute<T>>) {
    return count == Vec<T>::size() ? Vec<T>::loadu(from) : Vec<T>::loadu(from, count);
  } else {
    return at::vec::convert<float>(Vec<T>::loadu(from, count));
  }
}

template <typename T>
inline void store(Vec<Compute<T>> value, T* to, int64_t count = Vec<Compute<T>>::size()) {
  if constexpr (std::is_same_v<T, Compute<T>>) {
    if (count == Vec<T>::size()) {
      value.store(to);
    } else {
      value.store(to, static_cast<int>(count));
    }
  } else {
    at::vec::convert<T>(value).store(to, static_cast<int>(count));
  }
}

template <typename S>
inline S sum(Vec<S> value) {
  return at::vec::vec_reduce_all<S>([](Vec<S>& a, Vec<S>& b) { return a + b; }, value);
}

// f(offset, lanes) over `count` elements in steps of a whole vector, the rest as one shorter step.
template <typename S, typename F>
inline void steps(int64_t count, const F& f) {
  constexpr int64_t width = Vec<S>::size();
  int64_t at = 0;
  for (; at + width <= count; at += width) {
    f(at, std::integral_constant<int64_t, width>{});
  }
  if (at < count) {
    f(at, count - at);
  }
}

}  // namespace hrgan
