// Mixtures of experts, attention and the loss in bf16, forward and backward, on a processor that has bf16 in hardware.
//
// Every product is a call of oneDNN's small matrix product (brgemm), which torch exports: A [M, K] in rows, B [K, N] with
// pairs of rows interleaved ("VNNI": [K / 2, N, 2]), C [M, N] in fp32. What lies between two products stays in the cache
// of one core: a block of at most ROWS choices, or QUERIES queries, at a time. A choice is one token at one of its experts;
// choices are sorted by expert, `order` says which choice stands where and `first` where each expert's choices begin.

#include <ATen/native/CPUBlas.h>

#include <exception>
#include <vector>

namespace {

using at::BFloat16;
using Halves = at::vec::Vectorized<BFloat16>;

constexpr int64_t ROWS = 64;            // choices of a block
constexpr int64_t TILE = 32;            // what a block is filled up to with zeros, and what widths must be multiples of
constexpr int64_t COLUMNS = 256;        // of an output layer that are computed at a time
constexpr int64_t GRADIENT_ROWS = 128;  // rows of a weight's gradient that one thread computes at a time
constexpr int64_t LONGEST_SUM = 512;    // tokens that are summed before a weight's gradient is touched again
constexpr float NOTHING = -1e30f;       // the score of a key that is not seen; less than any that a training survives

int64_t filled(int64_t rows) {
  return (rows + TILE - 1) / TILE * TILE;
}

void convert(const float* from, BFloat16* to, int64_t size) {
  for (int64_t i = 0; i < size; i += Halves::size()) {
    auto low = Floats::loadu(from + i), high = Floats::loadu(from + i + Floats::size());
    at::vec::convert_from_float<BFloat16>(low, high).store(to + i);
  }
}

// B of `rows` [K, N]: pairs of rows interleaved.
void interleave(const BFloat16* rows, BFloat16* to, int64_t k, int64_t n) {
  auto source = reinterpret_cast<const uint16_t*>(rows);
  auto pairs = reinterpret_cast<uint32_t*>(to);
  for (int64_t row = 0; row < k; row += 2, pairs += n) {
    const uint16_t *even = source + row * n, *odd = even + n;
    for (int64_t i = 0; i < n; i++) pairs[i] = even[i] | static_cast<uint32_t>(odd[i]) << 16;
  }
}

// B of weights [K, N] in fp32.
void interleave_weights(const float* weights, BFloat16* to, int64_t k, int64_t n) {
  BFloat16 rows[2 * TILE];
  for (int64_t row = 0; row < k; row += 2)
    for (int64_t i = 0; i < n; i += TILE) {
      convert(weights + row * n + i, rows, TILE);
      convert(weights + (row + 1) * n + i, rows + TILE, TILE);
      interleave(rows, to + row * n + 2 * i, 2, TILE);
    }
}

// B of the transpose of weights [N, K] in fp32: neighbours of a row are the pairs, moved as one number of 32 bits.
void transpose_weights(const float* weights, BFloat16* to, int64_t n, int64_t k) {
  constexpr int64_t HALF = TILE / 2;
  BFloat16 tile[HALF * TILE];
  for (int64_t row = 0; row < n; row += HALF)
    for (int64_t i = 0; i < k; i += TILE) {
      for (int64_t j = 0; j < HALF; j++) convert(weights + (row + j) * k + i, tile + j * TILE, TILE);
      at::vec::transpose_mxn<float, HALF, HALF>(
          reinterpret_cast<const float*>(tile), HALF, reinterpret_cast<float*>(to) + i / 2 * n + row, n);
    }
}

// Transpose of `rows` [m, n] with `stride` numbers between the rows of the result.
void transpose(const BFloat16* rows, BFloat16* to, int64_t m, int64_t n, int64_t stride) {
  for (int64_t i = 0; i < m; i += TILE)
    for (int64_t j = 0; j < n; j += TILE)
      at::vec::transpose_mxn<BFloat16>(
          rows + i * n + j, n, to + j * stride + i, stride, std::min(TILE, m - i), std::min(TILE, n - j));
}

// C = A B, or C += A B; `stride` and `b_stride`: numbers between the rows of A and of B.
void product(
    int64_t m, int64_t n, int64_t k, const BFloat16* a, int64_t stride, const BFloat16* b, int64_t b_stride, float* c,
    bool adds) {
  at::native::cpublas::brgemm(m, n, k, stride, b_stride, n, adds, a, b, c);
}

void product(int64_t m, int64_t n, int64_t k, const BFloat16* a, int64_t stride, const BFloat16* b, float* c, bool adds) {
  product(m, n, k, a, stride, b, n, c, adds);
}

Floats sigmoid(Floats x) {
  return Floats(1.0f) / (Floats(1.0f) + x.neg().exp_u20());
}

// silu(gate) * up of one row; `both` is gate and up, one after the other.
void gate(const float* both, BFloat16* activations, int64_t inner) {
  for (int64_t i = 0; i < inner; i += Halves::size()) {
    Floats results[2];
    for (int half = 0; half < 2; half++) {
      auto gate = Floats::loadu(both + i + half * Floats::size());
      auto up = Floats::loadu(both + inner + i + half * Floats::size());
      results[half] = gate * sigmoid(gate) * up;
    }
    at::vec::convert_from_float<BFloat16>(results[0], results[1]).store(activations + i);
  }
}

// The gradient of gate and up, and the activations again, of one row.
void gate_backward(
    const float* gradient, const BFloat16* both, BFloat16* d_both, BFloat16* activations, int64_t inner) {
  for (int64_t i = 0; i < inner; i += Halves::size()) {
    auto gates = at::vec::convert_to_float<BFloat16>(Halves::loadu(both + i));
    auto ups = at::vec::convert_to_float<BFloat16>(Halves::loadu(both + inner + i));
    Floats of_gate[2], of_up[2], result[2];
    for (int half = 0; half < 2; half++) {
      auto gate = half ? std::get<1>(gates) : std::get<0>(gates);
      auto up = half ? std::get<1>(ups) : std::get<0>(ups);
      auto d = Floats::loadu(gradient + i + half * Floats::size());
      auto opening = sigmoid(gate);
      auto silu = gate * opening;
      of_up[half] = d * silu;
      of_gate[half] = d * up * (opening + silu * (Floats(1.0f) - opening));
      result[half] = silu * up;
    }
    at::vec::convert_from_float<BFloat16>(of_gate[0], of_gate[1]).store(d_both + i);
    at::vec::convert_from_float<BFloat16>(of_up[0], of_up[1]).store(d_both + inner + i);
    at::vec::convert_from_float<BFloat16>(result[0], result[1]).store(activations + i);
  }
}

struct Block {
  int64_t expert;
  int64_t start;  // among the sorted choices
  int64_t rows;
};

std::vector<Block> blocks_of(const int64_t* first, int64_t experts) {
  std::vector<Block> blocks;
  for (int64_t expert = 0; expert < experts; expert++)
    for (int64_t start = first[expert]; start < first[expert + 1]; start += ROWS)
      blocks.push_back({expert, start, std::min(ROWS, first[expert + 1] - start)});
  return blocks;
}

}  // namespace

// Whether oneDNN has the products here: tried, since what torch says of it (`could_pack`) is of AMX alone.
extern "C" int can_run() {
  std::vector<BFloat16> ones(TILE * TILE, BFloat16(1));
  std::vector<float> sums(TILE * TILE);
  try {
    product(TILE, TILE, TILE, ones.data(), TILE, ones.data(), sums.data(), false);
    at::native::cpublas::brgemm_release();
  } catch (const std::exception&) {
    return 0;
  }
  return std::all_of(sums.begin(), sums.end(), [](float sum) { return sum == TILE; });
}

// output bf16 [choices, width], in the order of the choices; both bf16 [choices, 2 inner], sorted by expert, for the
// backward pass; tokens bf16 [tokens, width], gate_up fp32 [experts, 2 inner, width], down fp32 [experts, width, inner].
extern "C" void experts_forward(
    const BFloat16* tokens,
    const float* gate_up,
    const float* down,
    const int64_t* order,
    const int64_t* first,
    int64_t experts,
    int64_t per_token,
    int64_t width,
    int64_t inner,
    BFloat16* both,
    BFloat16* output) {
  const int64_t weights = width * inner;
  auto gate_up_b = uninitialised<BFloat16>(experts * 2 * weights), down_b = uninitialised<BFloat16>(experts * weights);
  const auto blocks = blocks_of(first, experts);
#pragma omp parallel
  {
#pragma omp for schedule(dynamic)
    for (int64_t expert = 0; expert < experts; expert++) {
      if (first[expert] == first[expert + 1]) continue;
      transpose_weights(gate_up + expert * 2 * weights, gate_up_b.get() + expert * 2 * weights, 2 * inner, width);
      transpose_weights(down + expert * weights, down_b.get() + expert * weights, width, inner);
    }
    auto x = uninitialised<BFloat16>(ROWS * width), activations = uninitialised<BFloat16>(ROWS * inner);
    auto sums = uninitialised<float>(ROWS * std::max(2 * inner, width));
#pragma omp for schedule(dynamic, 4)
    for (const auto& block : blocks) {
      const int64_t m = filled(block.rows);
      for (int64_t i = 0; i < block.rows; i++)
        std::memcpy(
            x.get() + i * width, tokens + order[block.start + i] / per_token * width, width * sizeof(BFloat16));
      std::fill(x.get() + block.rows * width, x.get() + m * width, BFloat16(0));
      product(m, 2 * inner, width, x.get(), width, gate_up_b.get() + block.expert * 2 * weights, sums.get(), false);
      for (int64_t i = 0; i < m; i++) gate(sums.get() + i * 2 * inner, activations.get() + i * inner, inner);
      convert(sums.get(), both + block.start * 2 * inner, block.rows * 2 * inner);
      product(m, width, inner, activations.get(), inner, down_b.get() + block.expert * weights, sums.get(), false);
      for (int64_t i = 0; i < block.rows; i++)
        convert(sums.get() + i * width, output + order[block.start + i] * width, width);
    }
    at::native::cpublas::brgemm_release();
  }
}

// output fp32 [tokens, out] of hidden fp32 [tokens, width] and weight fp32 [out, width], both rounded to bf16.
extern "C" void linear(
    const float* hidden, const float* weight, int64_t tokens, int64_t out, int64_t width, float* output) {
  auto weight_b = uninitialised<BFloat16>(out * width);
  const int64_t pieces = (out + COLUMNS - 1) / COLUMNS;
#pragma omp parallel
  {
#pragma omp for
    for (int64_t piece = 0; piece < pieces; piece++) {
      const int64_t first = piece * COLUMNS, n = std::min(COLUMNS, out - first);
      transpose_weights(weight + first * width, weight_b.get() + first * width, n, width);
    }
    auto x = uninitialised<BFloat16>(ROWS * width);
#pragma omp for
    for (int64_t start = 0; start < tokens; start += ROWS) {
      const int64_t here = std::min(ROWS, tokens - start);
      convert(hidden + start * width, x.get(), here * width);
      for (int64_t first = 0; first < out; first += COLUMNS) {
        const int64_t n = std::min(COLUMNS, out - first);
        at::native::cpublas::brgemm(
            here, n, width, width, n, out, false, x.get(), weight_b.get() + first * width,
            output + start * out + first);
      }
    }
    at::native::cpublas::brgemm_release();
  }
}

// d_tokens bf16 [choices, width], to be summed over the choices of a token; d_gate_up and d_down fp32, like the weights;
// d_output bf16 [choices, width].
extern "C" void experts_backward(
    const BFloat16* d_output,
    const BFloat16* tokens,
    const float* gate_up,
    const float* down,
    const BFloat16* both,
    const int64_t* order,
    const int64_t* first,
    int64_t experts,
    int64_t per_token,
    int64_t width,
    int64_t inner,
    BFloat16* d_tokens,
    float* d_gate_up,
    float* d_down) {
  const int64_t weights = width * inner;
  auto gate_up_b = uninitialised<BFloat16>(experts * 2 * weights), down_b = uninitialised<BFloat16>(experts * weights);
  const auto blocks = blocks_of(first, experts);
  // Each expert's tokens, filled up, as the factors of its weights' gradients: transposed on the left, interleaved on
  // the right.
  std::vector<int64_t> first_filled(experts + 1, 0);
  for (int64_t expert = 0; expert < experts; expert++)
    first_filled[expert + 1] = first_filled[expert] + filled(first[expert + 1] - first[expert]);
  const int64_t all = first_filled[experts];
  auto d_both_a = uninitialised<BFloat16>(all * 2 * inner), x_b = uninitialised<BFloat16>(all * width);
  auto d_y_a = uninitialised<BFloat16>(all * width), activations_b = uninitialised<BFloat16>(all * inner);
#pragma omp parallel
  {
#pragma omp for schedule(dynamic)
    for (int64_t expert = 0; expert < experts; expert++) {
      if (first[expert] == first[expert + 1]) continue;
      interleave_weights(gate_up + expert * 2 * weights, gate_up_b.get() + expert * 2 * weights, 2 * inner, width);
      interleave_weights(down + expert * weights, down_b.get() + expert * weights, width, inner);
    }
    auto x = uninitialised<BFloat16>(ROWS * width), d_y = uninitialised<BFloat16>(ROWS * width);
    auto d_both = uninitialised<BFloat16>(ROWS * 2 * inner), activations = uninitialised<BFloat16>(ROWS * inner);
    auto sums = uninitialised<float>(ROWS * std::max(inner, width));
#pragma omp for schedule(dynamic, 4)
    for (const auto& block : blocks) {
      const int64_t m = filled(block.rows), expert = block.expert;
      for (int64_t i = 0; i < block.rows; i++) {
        const int64_t choice = order[block.start + i];
        std::memcpy(x.get() + i * width, tokens + choice / per_token * width, width * sizeof(BFloat16));
        std::memcpy(d_y.get() + i * width, d_output + choice * width, width * sizeof(BFloat16));
      }
      std::fill(x.get() + block.rows * width, x.get() + m * width, BFloat16(0));
      std::fill(d_y.get() + block.rows * width, d_y.get() + m * width, BFloat16(0));
      product(m, inner, width, d_y.get(), width, down_b.get() + expert * weights, sums.get(), false);
      for (int64_t i = 0; i < block.rows; i++)
        gate_backward(
            sums.get() + i * inner, both + (block.start + i) * 2 * inner, d_both.get() + i * 2 * inner,
            activations.get() + i * inner, inner);
      std::fill(d_both.get() + block.rows * 2 * inner, d_both.get() + m * 2 * inner, BFloat16(0));
      std::fill(activations.get() + block.rows * inner, activations.get() + m * inner, BFloat16(0));

      const int64_t stride = first_filled[expert + 1] - first_filled[expert];
      const int64_t before = first_filled[expert], within = block.start - first[expert];
      transpose(d_both.get(), d_both_a.get() + before * 2 * inner + within, m, 2 * inner, stride);
      transpose(d_y.get(), d_y_a.get() + before * width + within, m, width, stride);
      interleave(x.get(), x_b.get() + (before + within) * width, m, width);
      interleave(activations.get(), activations_b.get() + (before + within) * inner, m, inner);

      product(m, width, 2 * inner, d_both.get(), 2 * inner, gate_up_b.get() + expert * 2 * weights, sums.get(), false);
      for (int64_t i = 0; i < block.rows; i++)
        convert(sums.get() + i * width, d_tokens + order[block.start + i] * width, width);
    }

    const int64_t of_gate_up = (2 * inner + GRADIENT_ROWS - 1) / GRADIENT_ROWS;
    const int64_t pieces = of_gate_up + (width + GRADIENT_ROWS - 1) / GRADIENT_ROWS;
#pragma omp for schedule(dynamic)
    for (int64_t task = 0; task < experts * pieces; task++) {
      const int64_t expert = task / pieces, piece = task % pieces;
      const int64_t before = first_filled[expert], summed = first_filled[expert + 1] - before;
      const bool is_down = piece >= of_gate_up;
      const int64_t height = is_down ? width : 2 * inner, n = is_down ? inner : width;
      const int64_t row = (is_down ? piece - of_gate_up : piece) * GRADIENT_ROWS;
      const int64_t m = std::min(GRADIENT_ROWS, height - row);
      float* result = (is_down ? d_down : d_gate_up) + expert * height * n + row * n;
      const BFloat16* left = (is_down ? d_y_a : d_both_a).get() + before * height + row * summed;
      const BFloat16* right = (is_down ? activations_b : x_b).get() + before * n;
      if (summed == 0) std::fill(result, result + m * n, 0.0f);
      // Sums of few lengths: oneDNN compiles each.
      for (int64_t done = 0; done < summed;) {
        int64_t k = LONGEST_SUM;
        while (k > summed - done) k /= 2;
        product(m, n, k, left + done, summed, right + done * n, result, done > 0);
        done += k;
      }
    }
    at::native::cpublas::brgemm_release();
  }
}

// Of each row of bf16 logits [tokens, vocabulary], a multiple of TILE wide, the gradient of its target's nats, in place;
// nats fp64 [tokens].
extern "C" void softmax_gradient(
    BFloat16* logits, const int64_t* targets, int64_t tokens, int64_t vocabulary, double* nats) {
#pragma omp parallel
  {
    auto shares = uninitialised<float>(vocabulary);
#pragma omp for
    for (int64_t token = 0; token < tokens; token++) {
      BFloat16* row = logits + token * vocabulary;
      Floats most(NOTHING);
      for (int64_t i = 0; i < vocabulary; i += Halves::size()) {
        auto [low, high] = at::vec::convert_to_float<BFloat16>(Halves::loadu(row + i));
        most = at::vec::maximum(most, at::vec::maximum(low, high));
      }
      const float largest = greatest(most);
      Floats sums[2] = {Floats(0.0f), Floats(0.0f)};
      for (int64_t i = 0; i < vocabulary; i += Halves::size()) {
        auto [low, high] = at::vec::convert_to_float<BFloat16>(Halves::loadu(row + i));
        low = (low - Floats(largest)).exp_u20();
        high = (high - Floats(largest)).exp_u20();
        low.store(shares.get() + i);
        high.store(shares.get() + i + Floats::size());
        sums[0] = sums[0] + low;
        sums[1] = sums[1] + high;
      }
      const float whole = total(sums[0] + sums[1]);
      const int64_t target = targets[token];
      nats[token] = std::log(static_cast<double>(whole)) + largest - static_cast<float>(row[target]);
      // exp_u20 makes a number of what is none, and the training has to see that its logits are none.
      if (!std::isfinite(largest)) nats[token] = NAN;
      const Floats scale(1.0f / whole);
      const float expected = shares.get()[target] / whole;
      for (int64_t i = 0; i < vocabulary; i += Halves::size()) {
        auto low = Floats::loadu(shares.get() + i) * scale, high = Floats::loadu(shares.get() + i + Floats::size()) * scale;
        at::vec::convert_from_float<BFloat16>(low, high).store(row + i);
      }
      row[target] = expected - 1.0f;
    }
  }
}

namespace {

// Rows of a head one after the other, zeros behind them.
void collect(
    const Heads<const BFloat16>& from, int64_t row, int64_t head, int64_t token, int64_t tokens, int64_t filled,
    int64_t width, BFloat16* to) {
  for (int64_t i = 0; i < tokens; i++)
    std::memcpy(to + i * width, from.at(row, head, token + i), width * sizeof(BFloat16));
  std::fill(to + tokens * width, to + filled * width, BFloat16(0));
}

// B of the transpose of `rows` [tokens, width].
void transpose_pairs(const BFloat16* rows, BFloat16* to, int64_t tokens, int64_t width) {
  at::vec::transpose_mxn<float>(
      reinterpret_cast<const float*>(rows), width / 2, reinterpret_cast<float*>(to), tokens, tokens, width / 2);
}

// What the queries of a row see, for all its heads.
class Mask {
 public:
  // `seen` bool, null: each query sees the keys up to its own.
  Mask(const bool* seen, int64_t row_stride, int64_t query_stride, int64_t tokens, int64_t filled)
      : seen_(seen), row_stride_(row_stride), query_stride_(query_stride), tokens_(tokens), filled_(filled) {
    if (seen) bias_ = uninitialised<float>(tokens * filled);
  }

  bool is_causal() const {
    return seen_ == nullptr;
  }

  void turn_to(int64_t row) {
    if (is_causal() || row == row_) return;
    row_ = row;
    for (int64_t q = 0; q < tokens_; q++) {
      const bool* seen = seen_ + row * row_stride_ + q * query_stride_;
      float* bias = bias_.get() + q * filled_;
      for (int64_t j = 0; j < tokens_; j++) bias[j] = seen[j] ? 0.0f : NOTHING;
      std::fill(bias + tokens_, bias + filled_, NOTHING);
    }
  }

  // How many of `keys` are to be looked at for a query, in whole vectors.
  int64_t reach(int64_t query, int64_t keys) const {
    return is_causal() ? std::min(keys, in_lanes(query + 1)) : keys;
  }

  // The scores of a query and of the keys from `key` on, those that it does not see put to NOTHING or about that.
  Floats hide(Floats scores, int64_t query, int64_t key) const {
    if (!is_causal()) return scores + Floats::loadu(bias_.get() + query * filled_ + key);
    const int64_t seen = query + 1 - key;
    if (seen >= LANES) return scores;
    return Floats::blendv(Floats(NOTHING), scores, Floats::arange(0.0f, 1.0f) < Floats(static_cast<float>(seen)));
  }

 private:
  const bool* seen_;
  int64_t row_stride_, query_stride_, tokens_, filled_, row_ = -1;
  Array<float> bias_;
};

// exp(scores - shift); of a query that sees nothing zeros.
Floats shifted_exp(Floats scores, float shift) {
  return shift <= NOTHING / 2 ? Floats(0.0f) : (scores - Floats(shift)).exp_u20();
}

}  // namespace

// softmax(scale * query key^T, of what is seen) value. output bf16 [rows, tokens, heads, width]; shifts fp32 [rows, heads,
// tokens], the logarithm of each query's sum, for the backward pass. Several heads may share a key's and a value's. With
// `starts` the tensors have one row, and its tokens from starts[i] to starts[i + 1] are row i, of causal queries.
extern "C" void attention_forward(
    const BFloat16* query, int64_t query_row, int64_t query_head, int64_t query_token,
    const BFloat16* key, int64_t key_row, int64_t key_head, int64_t key_token,
    const BFloat16* value, int64_t value_row, int64_t value_head, int64_t value_token,
    const bool* seen, int64_t seen_row, int64_t seen_query, const int64_t* starts,
    int64_t rows, int64_t heads, int64_t key_heads, int64_t tokens, int64_t width, float scale,
    BFloat16* output, float* shifts) {
  const Rows batch{starts, tokens};
  const Heads<const BFloat16> queries{query, query_row, query_head, query_token};
  const Heads<const BFloat16> keys{key, key_row, key_head, key_token};
  const Heads<const BFloat16> values{value, value_row, value_head, value_token};
  const int64_t longest = in_lanes(batch.longest(rows)), group = heads / key_heads;
  const int64_t chunk = batch.chunk(rows, key_heads);
  const Floats scales(scale);
#pragma omp parallel
  {
    Mask mask(seen, seen_row, seen_query, tokens, longest);
    auto k = uninitialised<BFloat16>(longest * width), v = uninitialised<BFloat16>(longest * width);
    auto k_b = uninitialised<BFloat16>(longest * width), v_b = uninitialised<BFloat16>(longest * width);
    auto q = uninitialised<BFloat16>(QUERIES * width), weights = uninitialised<BFloat16>(QUERIES * longest);
    auto scores = uninitialised<float>(QUERIES * longest), sums = uninitialised<float>(QUERIES * width);
    float shares[QUERIES], most_of[QUERIES], sum_of[QUERIES];
#pragma omp for collapse(2) schedule(dynamic, chunk)
    for (int64_t row = 0; row < rows; row++)
      for (int64_t key_of = 0; key_of < key_heads; key_of++) {
        mask.turn_to(row);
        const int64_t place = batch.index(row), first = batch.first(row), length = batch.length(row), all = in_lanes(length);
        if (length == 0) continue;
        if (key_of + 1 < key_heads) {
          prefetch(keys, place, key_of + 1, first, length);
          prefetch(values, place, key_of + 1, first, length);
          prefetch(queries, place, (key_of + 1) * group, first, length);
        }
        collect(keys, place, key_of, first, length, all, width, k.get());
        collect(values, place, key_of, first, length, all, width, v.get());
        transpose_pairs(k.get(), k_b.get(), all, width);
        interleave(v.get(), v_b.get(), all, width);
        for (int64_t head = key_of * group; head < (key_of + 1) * group; head++)
          for (int64_t start = 0; start < length; start += QUERIES) {
            const int64_t here = std::min(QUERIES, length - start), m = in_lanes(here);
            const int64_t n = mask.is_causal() ? in_lanes(start + here) : all;
            collect(queries, place, head, first + start, here, m, width, q.get());
            product(m, n, width, q.get(), width, k_b.get(), all, scores.get(), false);
            for (int64_t i = 0; i < here; i++) {
              float* s = scores.get() + i * n;
              const int64_t reach = mask.reach(start + i, n);
              Floats most(NOTHING);
              for (int64_t j = 0; j < reach; j += LANES) {
                auto score = mask.hide(Floats::loadu(s + j) * scales, start + i, j);
                score.store(s + j);
                most = at::vec::maximum(most, score);
              }
              most_of[i] = greatest(most);
            }
            // A loop of its own: the processor then works on several rows at once, none waiting for its largest score.
            for (int64_t i = 0; i < here; i++) {
              float* s = scores.get() + i * n;
              const int64_t reach = mask.reach(start + i, n);
              Floats sum(0.0f);
              for (int64_t j = 0; j < reach; j += LANES) {
                auto e = shifted_exp(Floats::loadu(s + j), most_of[i]);
                e.store(s + j);
                sum = sum + e;
              }
              clear(s + reach, n - reach);
              sum_of[i] = total(sum);
            }
            for (int64_t i = 0; i < here; i += LANES) {
              const auto whole = Floats::loadu(sum_of + i), most = Floats::loadu(most_of + i);
              const auto shift = Floats::blendv(Floats(NOTHING), most + whole.log(), whole > Floats(0.0f));
              shift.store(shifts + (place * heads + head) * tokens + first + start + i, std::min(LANES, here - i));
            }
            // exp_u20 makes a number of what is none, and the training has to see that its scores are none.
            for (int64_t i = 0; i < here; i++)
              shares[i] = !std::isfinite(most_of[i]) ? NAN : sum_of[i] > 0 ? 1 / sum_of[i] : 0.0f;
            std::fill(scores.get() + here * n, scores.get() + m * n, 0.0f);
            convert(scores.get(), weights.get(), m * n);
            product(m, width, n, weights.get(), n, v_b.get(), sums.get(), false);
            for (int64_t i = 0; i < here; i++) {
              float* sum = sums.get() + i * width;
              for (int64_t j = 0; j < width; j += LANES) (Floats::loadu(sum + j) * Floats(shares[i])).store(sum + j);
              convert(sum, output + ((place * tokens + first + start + i) * heads + head) * width, width);
            }
          }
      }
    at::native::cpublas::brgemm_release();
  }
}

// d_query, d_key and d_value bf16 [rows, tokens, heads or key_heads, width]; d_output bf16 [rows, tokens, heads, width].
extern "C" void attention_backward(
    const BFloat16* d_output,
    const BFloat16* query, int64_t query_row, int64_t query_head, int64_t query_token,
    const BFloat16* key, int64_t key_row, int64_t key_head, int64_t key_token,
    const BFloat16* value, int64_t value_row, int64_t value_head, int64_t value_token,
    const bool* seen, int64_t seen_row, int64_t seen_query, const int64_t* starts,
    int64_t rows, int64_t heads, int64_t key_heads, int64_t tokens, int64_t width, float scale,
    const float* shifts, BFloat16* d_query, BFloat16* d_key, BFloat16* d_value) {
  const Rows batch{starts, tokens};
  const Heads<const BFloat16> queries{query, query_row, query_head, query_token};
  const Heads<const BFloat16> keys{key, key_row, key_head, key_token};
  const Heads<const BFloat16> values{value, value_row, value_head, value_token};
  const Heads<const BFloat16> d_outputs{d_output, tokens * heads * width, width, heads * width};
  const Heads<BFloat16> d_queries{d_query, tokens * heads * width, width, heads * width};
  const Heads<BFloat16> d_keys{d_key, tokens * key_heads * width, width, key_heads * width};
  const Heads<BFloat16> d_values{d_value, tokens * key_heads * width, width, key_heads * width};
  const int64_t longest = in_lanes(batch.longest(rows)), group = heads / key_heads;
  const int64_t chunk = batch.chunk(rows, key_heads);
  const Floats scales(scale);
#pragma omp parallel
  {
    Mask mask(seen, seen_row, seen_query, tokens, longest);
    auto k = uninitialised<BFloat16>(longest * width), v = uninitialised<BFloat16>(longest * width);
    auto k_t = uninitialised<BFloat16>(longest * width), v_t = uninitialised<BFloat16>(longest * width);
    auto k_b = uninitialised<BFloat16>(longest * width);
    auto d_k = uninitialised<float>(longest * width), d_v = uninitialised<float>(longest * width);
    auto q = uninitialised<BFloat16>(QUERIES * width), q_b = uninitialised<BFloat16>(QUERIES * width);
    auto d_o = uninitialised<BFloat16>(QUERIES * width), d_o_b = uninitialised<BFloat16>(QUERIES * width);
    auto scores = uninitialised<float>(QUERIES * longest), d_weights = uninitialised<float>(QUERIES * longest);
    auto weights = uninitialised<BFloat16>(QUERIES * longest), d_scores = uninitialised<BFloat16>(QUERIES * longest);
    auto turned = uninitialised<BFloat16>(QUERIES * longest);
    float mean_of[QUERIES];
    auto sums = uninitialised<float>(QUERIES * width);
#pragma omp for collapse(2) schedule(dynamic, chunk)
    for (int64_t row = 0; row < rows; row++)
      for (int64_t key_of = 0; key_of < key_heads; key_of++) {
        mask.turn_to(row);
        const int64_t place = batch.index(row), first = batch.first(row), length = batch.length(row), all = in_lanes(length);
        if (length == 0) continue;
        if (key_of + 1 < key_heads) {
          prefetch(keys, place, key_of + 1, first, length);
          prefetch(values, place, key_of + 1, first, length);
          prefetch(queries, place, (key_of + 1) * group, first, length);
          prefetch(d_outputs, place, (key_of + 1) * group, first, length);
        }
        prefetch<BFloat16, 1>(d_keys, place, key_of, first, length);
        prefetch<BFloat16, 1>(d_values, place, key_of, first, length);
        prefetch<BFloat16, 1>(d_queries, place, key_of * group, first, length);
        collect(keys, place, key_of, first, length, all, width, k.get());
        collect(values, place, key_of, first, length, all, width, v.get());
        transpose_pairs(k.get(), k_t.get(), all, width);
        transpose_pairs(v.get(), v_t.get(), all, width);
        interleave(k.get(), k_b.get(), all, width);
        std::fill(d_k.get(), d_k.get() + all * width, 0.0f);
        std::fill(d_v.get(), d_v.get() + all * width, 0.0f);
        for (int64_t head = key_of * group; head < (key_of + 1) * group; head++)
          for (int64_t start = 0; start < length; start += QUERIES) {
            const int64_t here = std::min(QUERIES, length - start), m = in_lanes(here);
            const int64_t n = mask.is_causal() ? in_lanes(start + here) : all;
            collect(queries, place, head, first + start, here, m, width, q.get());
            collect(d_outputs, place, head, first + start, here, m, width, d_o.get());
            product(m, n, width, q.get(), width, k_t.get(), all, scores.get(), false);
            product(m, n, width, d_o.get(), width, v_t.get(), all, d_weights.get(), false);
            for (int64_t i = 0; i < here; i++) {
              float *s = scores.get() + i * n, *d = d_weights.get() + i * n;
              const float shift = shifts[(place * heads + head) * tokens + first + start + i];
              const int64_t reach = mask.reach(start + i, n);
              Floats mean(0.0f);
              for (int64_t j = 0; j < reach; j += LANES) {
                auto weight = shifted_exp(mask.hide(Floats::loadu(s + j) * scales, start + i, j), shift);
                weight.store(s + j);
                mean = mean + weight * Floats::loadu(d + j);
              }
              clear(s + reach, n - reach);
              mean_of[i] = total(mean);
            }
            for (int64_t i = 0; i < here; i++) {
              float *s = scores.get() + i * n, *d = d_weights.get() + i * n;
              const int64_t reach = mask.reach(start + i, n);
              const Floats mean(mean_of[i]);
              for (int64_t j = 0; j < reach; j += LANES)
                (Floats::loadu(s + j) * (Floats::loadu(d + j) - mean) * scales).store(d + j);
              clear(d + reach, n - reach);
            }
            std::fill(scores.get() + here * n, scores.get() + m * n, 0.0f);
            std::fill(d_weights.get() + here * n, d_weights.get() + m * n, 0.0f);
            convert(scores.get(), weights.get(), m * n);
            convert(d_weights.get(), d_scores.get(), m * n);

            product(m, width, n, d_scores.get(), n, k_b.get(), sums.get(), false);
            for (int64_t i = 0; i < here; i++)
              convert(sums.get() + i * width, d_queries.at(place, head, first + start + i), width);
            transpose(d_scores.get(), turned.get(), m, n, m);
            interleave(q.get(), q_b.get(), m, width);
            product(n, width, m, turned.get(), m, q_b.get(), d_k.get(), true);
            transpose(weights.get(), turned.get(), m, n, m);
            interleave(d_o.get(), d_o_b.get(), m, width);
            product(n, width, m, turned.get(), m, d_o_b.get(), d_v.get(), true);
          }
        for (int64_t i = 0; i < length; i++) {
          convert(d_k.get() + i * width, d_keys.at(place, key_of, first + i), width);
          convert(d_v.get() + i * width, d_values.at(place, key_of, first + i), width);
        }
      }
    at::native::cpublas::brgemm_release();
  }
}
