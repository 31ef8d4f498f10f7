// What kernels that sum share: types, the size of a task, and vectors with fewer elements than lanes.
#pragma once

#include <ATen/Dispatch.h>
#include <ATen/ops/full.h>

#include "images.h"
#include "vectors.h"

#define HRGAN_DISPATCH(type, name, ...) \
  AT_DISPATCH_FLOATING_TYPES_AND2(at::ScalarType::Half, at::ScalarType::BFloat16, type, name, __VA_ARGS__)

namespace hrgan {

constexpr int64_t kTask = 32768;  // elements that are worth handing to another thread

// value, with 0 in the lanes that hold no element.
template <typename S>
inline Vec<S> held(Vec<S> value, int64_t lanes) {
  return Vec<S>::set(Vec<S>(0), value, lanes);
}

}  // namespace hrgan
