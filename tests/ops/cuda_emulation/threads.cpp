#include "threads.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <ucontext.h>

#include <memory>
#include <vector>

dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace emulation {
namespace {

enum class State { ready, at_barrier, at_shuffle, done };
constexpr size_t kStack = 128 * 1024;
constexpr int kWarp = 32;

struct Fiber {
  ucontext_t context;  // used once, to start; jumps are cheaper, as they leave signals alone
  jmp_buf place;
  std::unique_ptr<char[]> stack{new char[kStack]};
  bool started = false;
  State state = State::done;
  int shuffles = 0;
  uint64_t slots[2];  // of even and odd shuffles: a lane may leave its next value before all took this one
};

std::vector<std::unique_ptr<Fiber>> fibers;
jmp_buf scheduler;
int current;
const std::function<void()>* body;

void leave(State state) {
  fibers[current]->state = state;
  if (!_setjmp(fibers[current]->place)) _longjmp(scheduler, 1);
}

void life() {
  for (;;) {
    (*body)();
    leave(State::done);
  }
}

void enter(int thread) {
  current = thread;
  threadIdx = dim3(thread, 0, 0);
  Fiber& fiber = *fibers[thread];
  if (_setjmp(scheduler)) return;
  if (fiber.started) _longjmp(fiber.place, 1);
  fiber.started = true;
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack.get();
  fiber.context.uc_stack.ss_size = kStack;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, life, 0);
  setcontext(&fiber.context);
}

bool all(int from, int to, State state) {
  for (int i = from; i < to; ++i) {
    if (fibers[i]->state != state) return false;
  }
  return true;
}

void set(int from, int to, State state) {
  for (int i = from; i < to; ++i) fibers[i]->state = state;
}

void run_block(int threads, bool backwards) {
  set(0, threads, State::ready);
  while (!all(0, threads, State::done)) {
    for (int i = 0; i < threads; ++i) {
      const int thread = backwards ? threads - 1 - i : i;
      if (fibers[thread]->state == State::ready) enter(thread);
    }
    bool met = all(0, threads, State::done);
    if (all(0, threads, State::at_barrier)) {
      set(0, threads, State::ready);
      met = true;
    }
    for (int warp = 0; warp < threads; warp += kWarp) {
      const int end = std::min(warp + kWarp, threads);
      if (all(warp, end, State::at_shuffle)) {
        set(warp, end, State::ready);
        met = true;
      }
    }
    if (!met) {
      fprintf(stderr, "block %u,%u,%u: some threads wait for others that never come\n", blockIdx.x, blockIdx.y,
              blockIdx.z);
      abort();
    }
  }
}

}  // namespace

void meet() { leave(State::at_barrier); }

uint64_t exchange(uint64_t bits, int offset) {
  const int slot = fibers[current]->shuffles++ % 2, thread = current;
  fibers[thread]->slots[slot] = bits;
  leave(State::at_shuffle);
  return fibers[thread ^ offset]->slots[slot];
}

void run(dim3 grid, int threads, bool backwards, const std::function<void()>& kernel) {
  while (int(fibers.size()) < threads) fibers.push_back(std::make_unique<Fiber>());
  for (auto& fiber : fibers) fiber->shuffles = 0;
  body = &kernel;
  blockDim = dim3(threads);
  gridDim = grid;
  if (grid.y > 65535 || grid.z > 500) {
    fprintf(stderr, "a grid of %u x %u x %u cannot be launched\n", grid.x, grid.y, grid.z);
    abort();
  }
  for (unsigned z = 0; z < grid.z; ++z) {
    for (unsigned y = 0; y < grid.y; ++y) {
      for (unsigned x = 0; x < grid.x; ++x) {
        blockIdx = dim3(x, y, z);
        run_block(threads, backwards);
      }
    }
  }
}

}  // namespace emulation
