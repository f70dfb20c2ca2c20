// Attention in fp32, forward and backward, on a processor with vectors of fp32. Queries see the keys up to their own.
//
// A block of QUERIES queries stays in the cache of one core from its scores to its result. Keys and values are read
// where they lie, a head's width at a time, and turned once for a head, so that every product reads its right factor in
// whole vectors. Head widths are a multiple of LANES.

namespace {

constexpr int TALL = 6;  // rows of a tile, of two vectors each: its 12 sums and what is multiplied fit AVX2's registers

// C [R, W vectors] = A B, or C += A B. A's number in row i and column p is a[i * a_row + p * a_column], so that its
// transpose is read without being made; B [k, ...] lies in rows.
template <int R, int W>
void tile(
    int64_t k, const float* a, int64_t a_row, int64_t a_column, const float* b, int64_t b_row, float* c, int64_t c_row,
    bool adds) {
  Floats sums[R][W];
  for (int i = 0; i < R; i++)
    for (int j = 0; j < W; j++) sums[i][j] = adds ? Floats::loadu(c + i * c_row + j * LANES) : Floats(0.0f);
  for (int64_t p = 0; p < k; p++) {
    Floats right[W];
    for (int j = 0; j < W; j++) right[j] = Floats::loadu(b + p * b_row + j * LANES);
    for (int i = 0; i < R; i++) {
      const Floats left(a[i * a_row + p * a_column]);
      for (int j = 0; j < W; j++) sums[i][j] = at::vec::fmadd(left, right[j], sums[i][j]);
    }
  }
  for (int i = 0; i < R; i++)
    for (int j = 0; j < W; j++) sums[i][j].store(c + i * c_row + j * LANES);
}

template <int W>
void column(
    int64_t m, int64_t k, const float* a, int64_t a_row, int64_t a_column, const float* b, int64_t b_row, float* c,
    int64_t c_row, bool adds) {
  int64_t i = 0;
  for (; i + TALL <= m; i += TALL)
    tile<TALL, W>(k, a + i * a_row, a_row, a_column, b, b_row, c + i * c_row, c_row, adds);
  for (; i + 2 <= m; i += 2) tile<2, W>(k, a + i * a_row, a_row, a_column, b, b_row, c + i * c_row, c_row, adds);
  if (i < m) tile<1, W>(k, a + i * a_row, a_row, a_column, b, b_row, c + i * c_row, c_row, adds);
}

// C [m, n] = A [m, k] B [k, n], or C += A B; n is a multiple of LANES.
void product(
    int64_t m, int64_t n, int64_t k, const float* a, int64_t a_row, int64_t a_column, const float* b, int64_t b_row,
    float* c, int64_t c_row, bool adds) {
  int64_t j = 0;
  for (; j + 2 * LANES <= n; j += 2 * LANES)
    column<2>(m, k, a, a_row, a_column, b + j, b_row, c + j, c_row, adds);
  if (j < n) column<1>(m, k, a, a_row, a_column, b + j, b_row, c + j, c_row, adds);
}

// [width, filled] of a head's rows [tokens, width], zeros behind them.
void turn(
    const Heads<const float>& from, int64_t row, int64_t head, int64_t token, int64_t tokens, int64_t filled,
    int64_t width, float* to) {
  at::vec::transpose_mxn<float>(from.at(row, head, token), from.token, to, filled, tokens, width);
  for (int64_t i = 0; i < width; i++) std::fill(to + i * filled + tokens, to + (i + 1) * filled, 0.0f);
}

// Put out of sight the keys behind the last that a query sees, up to the end of its vector.
void hide(float* scores, int64_t seen) {
  std::fill(scores + seen, scores + in_lanes(seen), -INFINITY);
}

void clear_rows(const Heads<float>& of, int64_t row, int64_t head, int64_t token, int64_t tokens, int64_t width) {
  for (int64_t i = 0; i < tokens; i++) clear(of.at(row, head, token + i), width);
}

}  // namespace

// softmax(scale * query key^T, of what is seen) value. output [rows, tokens, heads, width]; shifts [rows, heads,
// tokens], the logarithm of each query's sum, for the backward pass. Several heads may share a key's and a value's. With
// `starts` the tensors have one row, and its tokens from starts[i] to starts[i + 1] are row i. There is no `seen`.
extern "C" void attention_forward(
    const float* query, int64_t query_row, int64_t query_head, int64_t query_token,
    const float* key, int64_t key_row, int64_t key_head, int64_t key_token,
    const float* value, int64_t value_row, int64_t value_head, int64_t value_token,
    const bool*, int64_t, int64_t, const int64_t* starts,
    int64_t rows, int64_t heads, int64_t key_heads, int64_t tokens, int64_t width, float scale,
    float* output, float* shifts) {
  const Rows batch{starts, tokens};
  const Heads<const float> queries{query, query_row, query_head, query_token};
  const Heads<const float> keys{key, key_row, key_head, key_token};
  const Heads<const float> values{value, value_row, value_head, value_token};
  const Heads<float> outputs{output, tokens * heads * width, width, heads * width};
  const int64_t longest = in_lanes(batch.longest(rows)), group = heads / key_heads;
  const int64_t chunk = batch.chunk(rows, key_heads);
  const Floats scales(scale);
#pragma omp parallel
  {
    auto turned = uninitialised<float>(longest * width), scores = uninitialised<float>(QUERIES * longest);
#pragma omp for collapse(2) schedule(dynamic, chunk)
    for (int64_t row = 0; row < rows; row++)
      for (int64_t key_of = 0; key_of < key_heads; key_of++) {
        const int64_t place = batch.index(row), first = batch.first(row), length = batch.length(row);
        if (length == 0) continue;
        const int64_t all = in_lanes(length);
        if (key_of + 1 < key_heads) {
          prefetch(keys, place, key_of + 1, first, length);
          prefetch(values, place, key_of + 1, first, length);
          prefetch(queries, place, (key_of + 1) * group, first, length);
        }
        turn(keys, place, key_of, first, length, all, width, turned.get());
        for (int64_t head = key_of * group; head < (key_of + 1) * group; head++)
          for (int64_t start = 0; start < length; start += QUERIES) {
            const int64_t m = std::min(QUERIES, length - start), n = in_lanes(start + m);
            product(
                m, n, width, queries.at(place, head, first + start), query_token, 1, turned.get(), all, scores.get(), n,
                false);
            for (int64_t i = 0; i < m; i++) {
              float* s = scores.get() + i * n;
              const int64_t seen = start + i + 1, reach = in_lanes(seen);
              hide(s, seen);
              Floats most(-INFINITY);
              for (int64_t j = 0; j < reach; j += LANES) {
                auto score = Floats::loadu(s + j) * scales;
                score.store(s + j);
                most = at::vec::maximum(most, score);
              }
              const float largest = greatest(most);
              Floats sum(0.0f);
              for (int64_t j = 0; j < reach; j += LANES) {
                auto e = (Floats::loadu(s + j) - Floats(largest)).exp();
                e.store(s + j);
                sum = sum + e;
              }
              const float whole = total(sum);
              const Floats share(1 / whole);
              for (int64_t j = 0; j < reach; j += LANES) (Floats::loadu(s + j) * share).store(s + j);
              clear(s + reach, n - reach);
              shifts[(place * heads + head) * tokens + first + start + i] = largest + std::log(whole);
            }
            product(
                m, width, start + m, scores.get(), n, 1, values.at(place, key_of, first), value_token,
                outputs.at(place, head, first + start), outputs.token, false);
          }
      }
  }
}

// d_query, d_key and d_value [rows, tokens, heads or key_heads, width]; d_output [rows, tokens, heads, width].
extern "C" void attention_backward(
    const float* d_output,
    const float* query, int64_t query_row, int64_t query_head, int64_t query_token,
    const float* key, int64_t key_row, int64_t key_head, int64_t key_token,
    const float* value, int64_t value_row, int64_t value_head, int64_t value_token,
    const bool*, int64_t, int64_t, const int64_t* starts,
    int64_t rows, int64_t heads, int64_t key_heads, int64_t tokens, int64_t width, float scale,
    const float* shifts, float* d_query, float* d_key, float* d_value) {
  const Rows batch{starts, tokens};
  const Heads<const float> queries{query, query_row, query_head, query_token};
  const Heads<const float> keys{key, key_row, key_head, key_token};
  const Heads<const float> values{value, value_row, value_head, value_token};
  const Heads<const float> d_outputs{d_output, tokens * heads * width, width, heads * width};
  const Heads<float> d_queries{d_query, tokens * heads * width, width, heads * width};
  const Heads<float> d_keys{d_key, tokens * key_heads * width, width, key_heads * width};
  const Heads<float> d_values{d_value, tokens * key_heads * width, width, key_heads * width};
  const int64_t longest = in_lanes(batch.longest(rows)), group = heads / key_heads;
  const int64_t chunk = batch.chunk(rows, key_heads);
  const Floats scales(scale);
#pragma omp parallel
  {
    auto turned_keys = uninitialised<float>(longest * width), turned_values = uninitialised<float>(longest * width);
    auto weights = uninitialised<float>(QUERIES * longest), d_scores = uninitialised<float>(QUERIES * longest);
#pragma omp for collapse(2) schedule(dynamic, chunk)
    for (int64_t row = 0; row < rows; row++)
      for (int64_t key_of = 0; key_of < key_heads; key_of++) {
        const int64_t place = batch.index(row), first = batch.first(row), length = batch.length(row);
        if (length == 0) continue;
        const int64_t all = in_lanes(length);
        if (key_of + 1 < key_heads) {
          prefetch(keys, place, key_of + 1, first, length);
          prefetch(values, place, key_of + 1, first, length);
          prefetch(queries, place, (key_of + 1) * group, first, length);
          prefetch(d_outputs, place, (key_of + 1) * group, first, length);
        }
        turn(keys, place, key_of, first, length, all, width, turned_keys.get());
        turn(values, place, key_of, first, length, all, width, turned_values.get());
        clear_rows(d_keys, place, key_of, first, length, width);
        clear_rows(d_values, place, key_of, first, length, width);
        for (int64_t head = key_of * group; head < (key_of + 1) * group; head++)
          for (int64_t start = 0; start < length; start += QUERIES) {
            const int64_t m = std::min(QUERIES, length - start), n = in_lanes(start + m), k = start + m;
            const float* q = queries.at(place, head, first + start);
            const float* d_o = d_outputs.at(place, head, first + start);
            product(m, n, width, q, query_token, 1, turned_keys.get(), all, weights.get(), n, false);
            product(m, n, width, d_o, d_outputs.token, 1, turned_values.get(), all, d_scores.get(), n, false);
            for (int64_t i = 0; i < m; i++) {
              float *w = weights.get() + i * n, *d = d_scores.get() + i * n;
              const int64_t seen = start + i + 1, reach = in_lanes(seen);
              const Floats shift(shifts[(place * heads + head) * tokens + first + start + i]);
              hide(w, seen);
              Floats sum(0.0f);
              for (int64_t j = 0; j < reach; j += LANES) {
                auto weight = (Floats::loadu(w + j) * scales - shift).exp();
                weight.store(w + j);
                sum = sum + weight * Floats::loadu(d + j);
              }
              const Floats mean(total(sum));
              for (int64_t j = 0; j < reach; j += LANES)
                (Floats::loadu(w + j) * (Floats::loadu(d + j) - mean) * scales).store(d + j);
              clear(w + reach, n - reach);
              clear(d + reach, n - reach);
            }
            product(
                m, width, k, d_scores.get(), n, 1, keys.at(place, key_of, first), key_token,
                d_queries.at(place, head, first + start), d_queries.token, false);
            product(
                k, width, m, d_scores.get(), 1, n, q, query_token, d_keys.at(place, key_of, first), d_keys.token, true);
            product(
                k, width, m, weights.get(), 1, n, d_o, d_outputs.token, d_values.at(place, key_of, first),
                d_values.token, true);
          }
      }
  }
}
