// Softmax attention within each text of a packed batch, without ever storing the probabilities (Dao et al. 2022).
//
// A block of 128 threads (four warps) works on one head and one tile of SIDE tokens of a text: `tiles` holds (text,
// first token of the tile) for each block column. Scores are computed tile by tile; the forward pass keeps a running
// maximum and sum and leaves the logarithm of the softmax's denominator in `lse` [heads, tokens], from which the
// backward passes compute the probabilities again. No atomics: equal runs give equal bits.
#pragma once
#include "tile.cuh"

#define SIDE 32u
#define THREADS 128u

// Leading dimensions in shared memory, padded against bank conflicts and to what the tensor cores can load.
template <class T, u32 D> struct Shape {
    static constexpr u32 LD = D + 8;      // rows of queries, keys, values
    static constexpr u32 LDW = SIDE + 8;  // rows of probabilities, in T
    static constexpr u32 LDS = SIDE + 4;  // rows of scores, in f32
    static constexpr u32 LDO = D + 4;     // rows of results, in f32
    static constexpr u32 ROWS = SIDE * LD * sizeof(T);
    static constexpr u32 WEIGHTS = SIDE * LDW * sizeof(T);
    static constexpr u32 SCORES = SIDE * LDS * sizeof(float);
    static constexpr u32 RESULT = SIDE * LDO * sizeof(float);
};

struct Text {
    u32 start, length, first; // first token in the batch; tokens; the tile's first token in the text
};

__device__ inline Text text_of(const u32* offsets, const u32* tiles) {
    u32 text = tiles[2 * blockIdx.x];
    return Text{offsets[text], offsets[text + 1] - offsets[text], tiles[2 * blockIdx.x + 1]};
}

// Copies SIDE rows of D numbers into shared memory, zeros past the text's end.
template <class T, u32 D>
__device__ void copy_rows(T* to, const T* from, size_t stride, u32 first, u32 length) {
    constexpr u32 N = Pack<T>::N, ACROSS = D / N;
    bool packed = is_packed(from) && stride % N == 0;
    for (u32 i = threadIdx.x; i < SIDE * ACROSS; i += THREADS) {
        u32 row = i / ACROSS, column = i % ACROSS * N;
        T* target = to + row * Shape<T, D>::LD + column;
        const T* source = from + (first + row) * stride + column;
        if (first + row < length && packed) share_pack(target, load_pack(source));
        else for (u32 e = 0; e < N; e++) target[e] = first + row < length ? source[e] : from_float<T>(0.0f);
    }
}

// scores [SIDE, SIDE] = A B^T of two copied tiles; each warp computes a quarter.
template <class T, u32 D> __device__ void products(const T* a, const T* b, float* scores) {
    typedef Shape<T, D> S;
    u32 warp = threadIdx.x / WARP, r = warp / 2 * 16, c = warp % 2 * 16;
    Tile<T> tile;
    tile.zero();
    for (u32 k = 0; k < D; k += 16) tile.template add<false, true>(a + r * S::LD + k, S::LD, b + c * S::LD + k, S::LD);
    tile.store(scores + r * S::LDS + c, S::LDS);
}

// Writes SIDE rows of D f32 results to device memory in T, as far as the text goes.
template <class T, u32 D>
__device__ void write_rows(const float* from, T* to, size_t stride, u32 first, u32 length) {
    constexpr u32 N = Pack<T>::N, ACROSS = D / N;
    bool packed = is_packed(to) && stride % N == 0;
    for (u32 i = threadIdx.x; i < SIDE * ACROSS; i += THREADS) {
        u32 row = i / ACROSS, column = i % ACROSS * N;
        if (first + row >= length) continue;
        T* target = to + (first + row) * stride + column;
        Pack<T> out;
        for (u32 e = 0; e < N; e++) out.v[e] = from_float<T>(from[row * Shape<T, D>::LDO + column + e]);
        if (packed) store_pack(target, out);
        else for (u32 e = 0; e < N; e++) target[e] = out.v[e];
    }
}

template <class T, u32 D>
__device__ void attention_forward(const T* qkv, const u32* offsets, const u32* tiles, T* out, float* lse, u32 tokens,
                                  u32 width, float scale, Drop drop) {
    typedef Shape<T, D> S;
    T* q = reinterpret_cast<T*>(dynamic_shared);
    T* kv = reinterpret_cast<T*>(dynamic_shared + S::ROWS);
    T* weights = reinterpret_cast<T*>(dynamic_shared + 2 * S::ROWS);
    float* scores = reinterpret_cast<float*>(dynamic_shared + 2 * S::ROWS + S::WEIGHTS);
    float* result = reinterpret_cast<float*>(dynamic_shared + 2 * S::ROWS + S::WEIGHTS + S::SCORES);
    Text text = text_of(offsets, tiles);
    u32 head = blockIdx.y, warp = threadIdx.x / WARP;
    const T* base = qkv + (size_t)text.start * 3 * width + head * D;
    // Four neighbouring lanes share a row of the tile.
    u32 row = threadIdx.x / 4, part = threadIdx.x % 4;
    u32 key = drop.keys && text.first + row < text.length ? row_key(drop, text.start + text.first + row) : 0;
    float highest = -INFINITY, sum = 0.0f;
    copy_rows<T, D>(q, base, 3 * width, text.first, text.length);
    for (u32 i = threadIdx.x; i < SIDE * S::LDO; i += THREADS) result[i] = 0.0f;
    for (u32 j0 = 0; j0 < text.length; j0 += SIDE) {
        copy_rows<T, D>(kv, base + width, 3 * width, j0, text.length);
        __syncthreads();
        products<T, D>(q, kv, scores);
        __syncthreads();
        copy_rows<T, D>(kv, base + 2 * width, 3 * width, j0, text.length);
        float* s = scores + row * S::LDS + part * 8;
        float top = highest;
        for (u32 c = 0; c < 8; c++) {
            if (j0 + part * 8 + c < text.length) top = fmaxf(top, s[c] * scale);
        }
        top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 1));
        top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 2));
        float shrink = expf(highest - top), added = 0.0f;
        for (u32 c = 0; c < 8; c++) {
            u32 j = j0 + part * 8 + c;
            float p = j < text.length ? expf(s[c] * scale - top) : 0.0f;
            added += p;
            if (drop.keys) p *= keep_factor(drop, key, (head << 16) ^ j);
            weights[row * S::LDW + part * 8 + c] = from_float<T>(p);
        }
        added += __shfl_xor_sync(0xffffffffu, added, 1);
        added += __shfl_xor_sync(0xffffffffu, added, 2);
        sum = sum * shrink + added;
        highest = top;
        for (u32 c = part * (D / 4); c < (part + 1) * (D / 4); c++) result[row * S::LDO + c] *= shrink;
        __syncthreads();
        for (u32 t = warp; t < 2 * (D / 16); t += 4) {
            u32 r = t % 2 * 16, c = t / 2 * 16;
            Tile<T> tile;
            tile.load(result + r * S::LDO + c, S::LDO);
            for (u32 k = 0; k < SIDE; k += 16) {
                tile.template add<false, false>(weights + r * S::LDW + k, S::LDW, kv + k * S::LD + c, S::LD);
            }
            tile.store(result + r * S::LDO + c, S::LDO);
        }
        __syncthreads();
    }
    for (u32 c = part * (D / 4); c < (part + 1) * (D / 4); c++) result[row * S::LDO + c] /= sum;
    if (part == 0 && text.first + row < text.length) {
        lse[(size_t)head * tokens + text.start + text.first + row] = highest + logf(sum);
    }
    __syncthreads();
    write_rows<T, D>(result, out + (size_t)text.start * width + head * D, width, text.first, text.length);
}

// delta [heads, tokens] = sum of dout * out over a head's columns: one warp a token and head.
template <class T>
__device__ void attention_delta(const T* dout, const T* out, float* delta, u32 tokens, u32 heads, u32 d) {
    u32 index = blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP;
    if (index >= tokens * heads) return;
    u32 token = index / heads, head = index % heads;
    size_t base = (size_t)token * heads * d + head * d;
    float sum = 0.0f;
    for (u32 c = threadIdx.x % WARP; c < d; c += WARP) sum += to_float(dout[base + c]) * to_float(out[base + c]);
    sum = warp_sum(sum);
    if (threadIdx.x % WARP == 0) delta[(size_t)head * tokens + token] = sum;
}
#define PARAMETERS(T) (const T* dout, const T* out, float* delta, u32 tokens, u32 heads, u32 d)
EXPORT(attention_delta, PARAMETERS, (dout, out, delta, tokens, heads, d))
#undef PARAMETERS

// From a tile of scores and one of dweights = dout V^T: the dropped probabilities and the scores' gradient, in T.
// `i0` and `j0` are the tiles' first query and key.
template <class T, u32 D>
__device__ void score_gradients(const float* scores, const float* dweights, const float* lse, const float* delta,
                                T* weights, T* dscores, Text text, u32 i0, u32 j0, u32 tokens, float scale, Drop drop) {
    typedef Shape<T, D> S;
    u32 row = threadIdx.x / 4, part = threadIdx.x % 4, i = i0 + row, head = blockIdx.y;
    bool real = i < text.length;
    size_t at = (size_t)head * tokens + text.start + i;
    float base = real ? lse[at] : 0.0f, along = real ? delta[at] : 0.0f;
    u32 key = drop.keys && real ? row_key(drop, text.start + i) : 0;
    for (u32 c = part * 8; c < part * 8 + 8; c++) {
        u32 j = j0 + c;
        float p = real && j < text.length ? expf(scores[row * S::LDS + c] * scale - base) : 0.0f;
        float kept = drop.keys ? keep_factor(drop, key, (head << 16) ^ j) : 1.0f;
        if (weights) weights[row * S::LDW + c] = from_float<T>(p * kept);
        dscores[row * S::LDW + c] = from_float<T>(p * (dweights[row * S::LDS + c] * kept - along) * scale);
    }
}

// The queries' gradient: a block owns a tile of queries and walks over the keys.
template <class T, u32 D>
__device__ void attention_queries(const T* qkv, const u32* offsets, const u32* tiles, const T* dout, const float* lse,
                                  const float* delta, T* dqkv, u32 tokens, u32 width, float scale, Drop drop) {
    typedef Shape<T, D> S;
    T* q = reinterpret_cast<T*>(dynamic_shared);
    T* g = reinterpret_cast<T*>(dynamic_shared + S::ROWS);
    T* k = reinterpret_cast<T*>(dynamic_shared + 2 * S::ROWS);
    T* v = reinterpret_cast<T*>(dynamic_shared + 3 * S::ROWS);
    T* dscores = reinterpret_cast<T*>(dynamic_shared + 4 * S::ROWS);
    float* scores = reinterpret_cast<float*>(dynamic_shared + 4 * S::ROWS + 2 * S::WEIGHTS);
    float* dweights = scores + SIDE * S::LDS;
    Text text = text_of(offsets, tiles);
    u32 head = blockIdx.y, warp = threadIdx.x / WARP;
    const T* base = qkv + (size_t)text.start * 3 * width + head * D;
    copy_rows<T, D>(q, base, 3 * width, text.first, text.length);
    copy_rows<T, D>(g, dout + (size_t)text.start * width + head * D, width, text.first, text.length);
    Tile<T> sums[D / 32];
#pragma unroll
    for (u32 t = 0; t < D / 32; t++) sums[t].zero();
    for (u32 j0 = 0; j0 < text.length; j0 += SIDE) {
        copy_rows<T, D>(k, base + width, 3 * width, j0, text.length);
        copy_rows<T, D>(v, base + 2 * width, 3 * width, j0, text.length);
        __syncthreads();
        products<T, D>(q, k, scores);
        products<T, D>(g, v, dweights);
        __syncthreads();
        score_gradients<T, D>(scores, dweights, lse, delta, (T*)nullptr, dscores, text, text.first, j0, tokens, scale, drop);
        __syncthreads();
#pragma unroll
    for (u32 t = 0; t < D / 32; t++) {
            u32 r = warp % 2 * 16, c = (warp / 2 + 2 * t) * 16;
            for (u32 e = 0; e < SIDE; e += 16) {
                sums[t].template add<false, false>(dscores + r * S::LDW + e, S::LDW, k + e * S::LD + c, S::LD);
            }
        }
        __syncthreads();
    }
    float* result = reinterpret_cast<float*>(dynamic_shared); // over q and g, which are no longer needed
#pragma unroll
    for (u32 t = 0; t < D / 32; t++) {
        sums[t].store(result + (warp % 2 * 16) * S::LDO + (warp / 2 + 2 * t) * 16, S::LDO);
    }
    __syncthreads();
    write_rows<T, D>(result, dqkv + (size_t)text.start * 3 * width + head * D, 3 * width, text.first, text.length);
}

// The keys' and values' gradients: a block owns a tile of keys and walks over the queries.
template <class T, u32 D>
__device__ void attention_keys(const T* qkv, const u32* offsets, const u32* tiles, const T* dout, const float* lse,
                               const float* delta, T* dqkv, u32 tokens, u32 width, float scale, Drop drop) {
    typedef Shape<T, D> S;
    T* q = reinterpret_cast<T*>(dynamic_shared);
    T* g = reinterpret_cast<T*>(dynamic_shared + S::ROWS);
    T* k = reinterpret_cast<T*>(dynamic_shared + 2 * S::ROWS);
    T* v = reinterpret_cast<T*>(dynamic_shared + 3 * S::ROWS);
    T* dscores = reinterpret_cast<T*>(dynamic_shared + 4 * S::ROWS);
    T* weights = reinterpret_cast<T*>(dynamic_shared + 4 * S::ROWS + S::WEIGHTS);
    float* scores = reinterpret_cast<float*>(dynamic_shared + 4 * S::ROWS + 2 * S::WEIGHTS);
    float* dweights = scores + SIDE * S::LDS;
    Text text = text_of(offsets, tiles);
    u32 head = blockIdx.y, warp = threadIdx.x / WARP;
    const T* base = qkv + (size_t)text.start * 3 * width + head * D;
    const T* dbase = dout + (size_t)text.start * width + head * D;
    copy_rows<T, D>(k, base + width, 3 * width, text.first, text.length);
    copy_rows<T, D>(v, base + 2 * width, 3 * width, text.first, text.length);
    Tile<T> dk[D / 32], dv[D / 32];
#pragma unroll
    for (u32 t = 0; t < D / 32; t++) {
        dk[t].zero();
        dv[t].zero();
    }
    for (u32 i0 = 0; i0 < text.length; i0 += SIDE) {
        copy_rows<T, D>(q, base, 3 * width, i0, text.length);
        copy_rows<T, D>(g, dbase, width, i0, text.length);
        __syncthreads();
        products<T, D>(q, k, scores);
        products<T, D>(g, v, dweights);
        __syncthreads();
        score_gradients<T, D>(scores, dweights, lse, delta, weights, dscores, text, i0, text.first, tokens, scale, drop);
        __syncthreads();
#pragma unroll
    for (u32 t = 0; t < D / 32; t++) {
            u32 r = warp % 2 * 16, c = (warp / 2 + 2 * t) * 16;
            for (u32 e = 0; e < SIDE; e += 16) {
                dv[t].template add<true, false>(weights + e * S::LDW + r, S::LDW, g + e * S::LD + c, S::LD);
                dk[t].template add<true, false>(dscores + e * S::LDW + r, S::LDW, q + e * S::LD + c, S::LD);
            }
        }
        __syncthreads();
    }
    float* result = reinterpret_cast<float*>(dynamic_shared); // over q and g, which are no longer needed
    for (u32 which = 0; which < 2; which++) {
#pragma unroll
    for (u32 t = 0; t < D / 32; t++) {
            float* to = result + (warp % 2 * 16) * S::LDO + (warp / 2 + 2 * t) * 16;
            if (which == 0) dk[t].store(to, S::LDO);
            else dv[t].store(to, S::LDO);
        }
        __syncthreads();
        T* to = dqkv + (size_t)text.start * 3 * width + (1 + which) * width + head * D;
        write_rows<T, D>(result, to, 3 * width, text.first, text.length);
        __syncthreads();
    }
}

#define ATTENTION(T, name, D)                                                                                         \
    extern "C" __global__ void attention_forward_##D##_##name(const T* qkv, const u32* offsets, const u32* tiles,     \
                                                             T* out, float* lse, u32 tokens, u32 width, float scale,  \
                                                             const u64* keys, u64 key, u32 threshold, float keep) {   \
        attention_forward<T, D>(qkv, offsets, tiles, out, lse, tokens, width, scale, Drop{keys, key, threshold, keep}); \
    }                                                                                                                 \
    extern "C" __global__ void attention_queries_##D##_##name(                                                        \
        const T* qkv, const u32* offsets, const u32* tiles, const T* dout, const float* lse, const float* delta,      \
        T* dqkv, u32 tokens, u32 width, float scale, const u64* keys, u64 key, u32 threshold, float keep) {           \
        attention_queries<T, D>(qkv, offsets, tiles, dout, lse, delta, dqkv, tokens, width, scale,                    \
                                Drop{keys, key, threshold, keep});                                                    \
    }                                                                                                                 \
    extern "C" __global__ void attention_keys_##D##_##name(                                                           \
        const T* qkv, const u32* offsets, const u32* tiles, const T* dout, const float* lse, const float* delta,      \
        T* dqkv, u32 tokens, u32 width, float scale, const u64* keys, u64 key, u32 threshold, float keep) {           \
        attention_keys<T, D>(qkv, offsets, tiles, dout, lse, delta, dqkv, tokens, width, scale,                       \
                             Drop{keys, key, threshold, keep});                                                       \
    }
ATTENTION(float, f32, 32)
ATTENTION(float, f32, 64)
ATTENTION(bf16, bf16, 32)
ATTENTION(bf16, bf16, 64)
ATTENTION(bf16, bf16, 128)
#undef ATTENTION
