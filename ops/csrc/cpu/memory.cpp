// Large CPU tensors in memory that is kept and reused. A fresh large tensor costs a page fault every 4 KiB, five
// times what its arithmetic does; a block used before costs nothing.
#include <c10/core/CPUAllocator.h>
#include <pthread.h>
#include <sys/mman.h>
#include <torch/library.h>

#include <cstring>
#include <list>
#include <map>
#include <mutex>
#include <unordered_map>

namespace hrgan {
namespace {

constexpr size_t least = size_t(1) << 20;   // smaller ones are malloc's, which keeps them
constexpr size_t huge = size_t(2) << 20;    // the size and alignment of a huge page
constexpr size_t slack = size_t(256) << 20;

// Eight sizes an octave: at most an eighth of a block is unused, and tensors of about one size share blocks.
size_t rounded(size_t bytes) {
  size_t step = huge;
  while (step * 16 <= bytes) {
    step *= 2;
  }
  return (bytes + step - 1) / step * step;
}

class KeepingAllocator final : public c10::Allocator {
 public:
  explicit KeepingAllocator(c10::Allocator* small) : small_(small) {}

  c10::DataPtr allocate(size_t bytes) override {
    if (bytes < least) {
      return small_->allocate(bytes);
    }
    void* block = take(rounded(bytes));
    return {block, block, &KeepingAllocator::release, c10::Device(c10::DeviceType::CPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &KeepingAllocator::release; }
  void copy_data(void* to, const void* from, std::size_t count) const override { std::memcpy(to, from, count); }

  // Bytes in tensors, bytes kept for later.
  std::pair<size_t, size_t> state() {
    std::lock_guard<std::mutex> guard(mutex_);
    return {used_, kept_};
  }

  static KeepingAllocator& instance() {
    static auto* allocator = [] {
      auto* made = new KeepingAllocator(c10::GetCPUAllocator());  // lives as long as the last tensor
      // A fork while another thread holds the lock would leave the child waiting for it.
      pthread_atfork([] { instance().mutex_.lock(); }, [] { instance().mutex_.unlock(); },
                     [] { instance().mutex_.unlock(); });
      return made;
    }();
    return *allocator;
  }

 private:
  struct Free {
    size_t size;
    void* block;
  };

  void* take(size_t size) {
    std::lock_guard<std::mutex> guard(mutex_);
    auto found = free_.lower_bound(size);
    if (found != free_.end() && found->first <= size + size / 8) {
      void* block = found->second->block;
      size = found->first;
      order_.erase(found->second);
      free_.erase(found);
      kept_ -= size;
      return hand_out(block, size);
    }
    trim(size);
    return hand_out(fresh(size), size);
  }

  void* hand_out(void* block, size_t size) {
    sizes_[block] = size;
    used_ += size;
    peak_ = std::max(peak_, used_);
    return block;
  }

  // Gives back what was not used for longest, so that no more than an eighth beyond the peak is ever held.
  void trim(size_t wanted) {
    size_t most = std::max(peak_, used_ + wanted);
    while (!order_.empty() && used_ + kept_ + wanted > most + most / 8 + slack) {
      drop_oldest();
    }
  }

  void drop_oldest() {
    auto [size, block] = order_.front();
    auto range = free_.equal_range(size);
    for (auto it = range.first; it != range.second; ++it) {
      if (it->second == order_.begin()) {
        free_.erase(it);
        break;
      }
    }
    order_.pop_front();
    kept_ -= size;
    munmap(block, size);
  }

  void* fresh(size_t size) {
    void* area = map(size + huge);
    while (area == MAP_FAILED && !order_.empty()) {
      drop_oldest();
      area = map(size + huge);
    }
    TORCH_CHECK_WITH(OutOfMemoryError, area != MAP_FAILED, "not enough memory: could not allocate ", size, " bytes");
    auto start = reinterpret_cast<uintptr_t>(area), block = (start + huge - 1) / huge * huge;
    if (block > start) {
      munmap(area, block - start);
    }
    if (size_t rest = start + huge - block; rest > 0) {
      munmap(reinterpret_cast<void*>(block + size), rest);
    }
    madvise(reinterpret_cast<void*>(block), size, MADV_HUGEPAGE);
    return reinterpret_cast<void*>(block);
  }

  static void* map(size_t size) {
    return mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  }

  static void release(void* block) {
    if (block == nullptr) {
      return;
    }
    KeepingAllocator& self = instance();
    std::unique_lock<std::mutex> guard(self.mutex_);
    auto found = self.sizes_.find(block);
    if (found == self.sizes_.end()) {
      guard.unlock();
      self.small_->raw_deallocate(block);
      return;
    }
    size_t size = found->second;
    self.sizes_.erase(found);
    self.used_ -= size;
    self.kept_ += size;
    self.order_.push_back({size, block});
    self.free_.emplace(size, std::prev(self.order_.end()));
  }

  c10::Allocator* small_;
  std::mutex mutex_;
  std::unordered_map<void*, size_t> sizes_;                    // of blocks in use
  std::list<Free> order_;                                      // free blocks, oldest first
  std::multimap<size_t, std::list<Free>::iterator> free_;      // the same by size
  size_t used_ = 0, kept_ = 0, peak_ = 0;
};

void keep_memory() {
  c10::SetCPUAllocator(&KeepingAllocator::instance());
}

std::vector<int64_t> memory_state() {
  auto [used, kept] = KeepingAllocator::instance().state();
  return {static_cast<int64_t>(used), static_cast<int64_t>(kept)};
}

}  // namespace

TORCH_LIBRARY_IMPL(hrgan, CompositeExplicitAutograd, m) {
  m.impl("keep_memory", keep_memory);
  m.impl("memory_state", memory_state);
}

}  // namespace hrgan
