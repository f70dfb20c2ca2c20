// What the kernels of both number formats share: put before each of their sources when it is built (`kernels.build`).

#include <ATen/cpu/vec/functional.h>
#include <ATen/cpu/vec/vec.h>
#include <c10/core/CPUAllocator.h>

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <cstring>

namespace {

using Floats = at::vec::Vectorized<float>;

constexpr int64_t QUERIES = 64;            // of a block
constexpr int64_t LANES = Floats::size();  // of a vector; numbers of tokens are filled up to a multiple of it

int64_t in_lanes(int64_t tokens) {
  return (tokens + LANES - 1) / LANES * LANES;
}

// Memory of tensors.
template <typename T>
class Array {
 public:
  Array() = default;
  explicit Array(int64_t size) : data_(c10::GetCPUAllocator()->allocate(size * sizeof(T))) {}

  T* get() const {
    return static_cast<T*>(data_.get());
  }

 private:
  c10::DataPtr data_;
};

template <typename T>
Array<T> uninitialised(int64_t size) {
  return Array<T>(size);
}

float total(Floats numbers) {
  return at::vec::vec_reduce_all<float>([](Floats& a, Floats& b) { return a + b; }, numbers);
}

// Not a number where one of them is none.
float greatest(Floats numbers) {
  return at::vec::vec_reduce_all<float>([](Floats& a, Floats& b) { return at::vec::maximum(a, b); }, numbers);
}

// [rows, heads, tokens, head width] with these numbers between neighbours; those of a head's width are side by side.
template <typename T>
struct Heads {
  T* first;
  int64_t row, head, token;

  T* at(int64_t r, int64_t h, int64_t t) const {
    return first + r * row + h * head + t * token;
  }
};

// Bring the beginnings of the rows of a head into the cache: they lie apart, and the processor does not see what comes next.
template <typename T, int for_writing = 0>
void prefetch(const Heads<T>& from, int64_t row, int64_t head, int64_t token, int64_t tokens) {
  for (int64_t i = 0; i < tokens; i++) __builtin_prefetch(from.at(row, head, token + i), for_writing);
}

// The rows of a batch: all of one length and one after another, or, with `starts` [rows + 1], of any length in one row.
struct Rows {
  const int64_t* starts;
  int64_t tokens;  // of a row, or of all

  int64_t index(int64_t row) const {
    return starts ? 0 : row;
  }

  int64_t first(int64_t row) const {
    return starts ? starts[row] : 0;
  }

  int64_t length(int64_t row) const {
    return starts ? starts[row + 1] - starts[row] : tokens;
  }

  int64_t longest(int64_t rows) const {
    int64_t most = 0;
    for (int64_t row = 0; row < rows; row++) most = std::max(most, length(row));
    return most;
  }

  // Heads of keys that a thread takes at a time: those of a row, since each has the next one brought into the cache; one
  // where there are few rows.
  int64_t chunk(int64_t rows, int64_t key_heads) const {
    return rows >= 4 * omp_get_max_threads() ? key_heads : 1;
  }
};

void clear(float* numbers, int64_t size) {
  for (int64_t i = 0; i < size; i += LANES) Floats(0.0f).store(numbers + i);
}

}  // namespace
