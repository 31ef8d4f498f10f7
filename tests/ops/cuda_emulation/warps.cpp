// warp_grid on emulated threads, for ctypes: what the .cu file does, without torch.
#include "threads.h"
//
#include "warp_kernels.cuh"

using namespace hrgan;

namespace {

template <typename acc>
void run(const void* linear, const void* offset, void* grid, int64_t samples, int64_t places, const double* how) {
  int threads = 0;
  const emulation::Launch launch = {false, &threads};
  const WarpArguments<acc> a = {static_cast<const acc*>(linear), static_cast<const acc*>(offset),
                                static_cast<acc*>(grid), int(places), acc(how[0]), acc(how[1]), acc(how[2]),
                                acc(how[3]), acc(how[4])};
  run_warp_grid(a, samples, launch);
}

}  // namespace

// type: 0 float, 1 double. how: centre, half, seen, share, shift of WarpArguments.
extern "C" void emulate_warp_grid(int type, const void* linear, const void* offset, void* grid, int64_t samples,
                                  int64_t places, const double* how) {
  if (type == 0) {
    run<float>(linear, offset, grid, samples, places, how);
  } else {
    run<double>(linear, offset, grid, samples, places, how);
  }
}
