// torch's allocator for tensors on a processor, with freed blocks kept for the next tensor of about the size.
//
// glibc either gives a large block back to the system when it is freed, and the next one comes zeroed, page by page; or
// keeps it and lets its edges be taken, so that the next one of its size does not fit. Here a block is a multiple of a
// page of 2 MB, of one of few sizes, and stays whole.

#include <c10/core/CPUAllocator.h>

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <mutex>
#include <new>
#include <unordered_map>
#include <vector>

namespace {

constexpr size_t PAGE = 2 << 20;
constexpr size_t STEPS_OF_AN_OCTAVE = 8;  // sizes between one and its double: a block is an eighth too large at most
constexpr double MOST_HELD = 1.5;         // times the most that tensors have taken at once

size_t block_size(size_t bytes) {
  size_t octave = PAGE;
  while (octave * 2 <= bytes) octave *= 2;
  const size_t step = std::max(octave / STEPS_OF_AN_OCTAVE, PAGE);
  return (bytes + step - 1) / step * step;
}

// Aligned to a large page; none of it is there before it is touched.
void* reserve(size_t size) {
  void* place = mmap(nullptr, size + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (place == MAP_FAILED) return nullptr;
  const auto first = reinterpret_cast<uintptr_t>(place), aligned = (first + PAGE - 1) / PAGE * PAGE;
  if (aligned > first) munmap(place, aligned - first);
  if (aligned < first + PAGE) munmap(reinterpret_cast<void*>(aligned + size), first + PAGE - aligned);
  auto block = reinterpret_cast<void*>(aligned);
  madvise(block, size, MADV_HUGEPAGE);
  return block;
}

class Pool final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    void* data = bytes < PAGE ? small_->raw_allocate(bytes) : take(bytes);
    return {data, data, &Pool::give, c10::Device(c10::DeviceType::CPU)};
  }

  c10::DeleterFnPtr raw_deleter() const override {
    return &Pool::give;
  }

  void copy_data(void* to, const void* from, size_t bytes) const override {
    default_copy_data(to, from, bytes);
  }

  int64_t held() {
    std::lock_guard<std::mutex> lock(mutex_);
    return static_cast<int64_t>(in_use_ + free_bytes_);
  }

 private:
  struct Free {
    void* data;
    uint64_t since;
  };

  void* take(size_t bytes) {
    const size_t wanted = block_size(bytes);
    std::lock_guard<std::mutex> lock(mutex_);
    auto found = free_.lower_bound(wanted);
    void* data = nullptr;
    size_t size = wanted;
    if (found != free_.end() && found->first <= wanted + wanted / 4) {
      size = found->first;
      data = found->second.back().data;
      found->second.pop_back();
      if (found->second.empty()) free_.erase(found);
      free_bytes_ -= size;
    } else {
      release_beyond(MOST_HELD * std::max(most_in_use_, in_use_ + size), size);
      data = reserve(size);
      if (data == nullptr) {
        release_beyond(0, 0);
        data = reserve(size);
      }
      if (data == nullptr) throw std::bad_alloc();
    }
    sizes_[data] = size;
    in_use_ += size;
    most_in_use_ = std::max(most_in_use_, in_use_);
    return data;
  }

  // Release what has been free for the longest, until what is held and `more` bytes are at most `limit`.
  void release_beyond(double limit, size_t more) {
    while (!free_.empty() && static_cast<double>(in_use_ + free_bytes_ + more) > limit) {
      auto oldest = std::min_element(free_.begin(), free_.end(), [](const auto& one, const auto& other) {
        return one.second.front().since < other.second.front().since;
      });
      munmap(oldest->second.front().data, oldest->first);
      free_bytes_ -= oldest->first;
      oldest->second.erase(oldest->second.begin());
      if (oldest->second.empty()) free_.erase(oldest);
    }
  }

  static void give(void* data);

  bool take_back(void* data) {
    std::lock_guard<std::mutex> lock(mutex_);
    auto found = sizes_.find(data);
    if (found == sizes_.end()) return false;
    free_[found->second].push_back({data, ++clock_});
    in_use_ -= found->second;
    free_bytes_ += found->second;
    sizes_.erase(found);
    return true;
  }

  c10::Allocator* small_ = c10::GetDefaultCPUAllocator();
  std::mutex mutex_;
  std::unordered_map<void*, size_t> sizes_;    // of blocks in use
  std::map<size_t, std::vector<Free>> free_;  // by size; the last one freed is the first one taken
  size_t in_use_ = 0, most_in_use_ = 0, free_bytes_ = 0;
  uint64_t clock_ = 0;
};

// Never destroyed: tensors may outlive it at the end of the process.
Pool& pool() {
  static Pool* const only = new Pool;
  return *only;
}

void Pool::give(void* data) {
  if (data != nullptr && !pool().take_back(data)) pool().small_->raw_deallocate(data);
}

}  // namespace

extern "C" void install() {
  c10::SetCPUAllocator(&pool());
}

// Bytes of blocks, in use and free.
extern "C" int64_t held_bytes() {
  return pool().held();
}
