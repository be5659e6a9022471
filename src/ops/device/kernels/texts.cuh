// Embedding look-up and its gradient, pooling over texts, and the loss.
#pragma once
#include "common.cuh"

// One block a token: the sum of its word, position and type embeddings.
template <class T>
__device__ void embed(const float* word, const float* position, const float* kind, const u32* ids,
                      const u32* positions, T* out, u32 width) {
    size_t token = blockIdx.x;
    const float* w = word + (size_t)ids[token] * width;
    const float* p = position + (size_t)positions[token] * width;
    for (u32 i = threadIdx.x; i < width; i += blockDim.x) {
        out[token * width + i] = from_float<T>(w[i] + p[i] + kind[i]);
    }
}
#define PARAMETERS(T) \
    (const float* word, const float* position, const float* kind, const u32* ids, const u32* positions, T* out, u32 width)
EXPORT(embed, PARAMETERS, (word, position, kind, ids, positions, out, width))
#undef PARAMETERS

// The columns of a row that a warp works on, sixteen bytes a lane, and the lane's first of them.
template <class T> struct Columns {
    static constexpr u32 N = Pack<T>::N, WIDTH = WARP * N;
    static __device__ u32 first() { return blockIdx.y * WIDTH + threadIdx.x % WARP * N; }
};

// sums[e] += row[e] for the lane's columns of a row.
template <class T> __device__ inline void add_columns(float* sums, const T* row, u32 columns, bool packed) {
    if (packed) {
        Pack<T> pack = load_pack(row);
        for (u32 e = 0; e < Pack<T>::N; e++) sums[e] += to_float(pack.v[e]);
    } else {
        for (u32 e = 0; e < columns; e++) sums[e] += to_float(row[e]);
    }
}

// Gradients of a table's rows: a row's tokens are cut into parts of at most some dozens, so that a token which is in every text
// does not keep one warp busy when all others are done. One warp a part and WIDTH columns: the sum of dy[order[k]] over k in
// starts[part]..starts[part + 1], in order, is added to row targets[part] of the table where it is the row's only part, and else written
// to row targets[part] - SLOT of `partial`.
#define SLOT 0x80000000u
template <class T>
__device__ void scatter_rows(const T* dy, const u32* order, const u32* starts, const u32* targets, float* table,
                             float* partial, u32 count, u32 width) {
    constexpr u32 N = Pack<T>::N;
    u32 part = blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP, column = Columns<T>::first();
    if (part >= count || column >= width) return;
    u32 first = starts[part], last = starts[part + 1], target = targets[part];
    bool is_whole = target < SLOT;
    u32 columns = min(N, width - column);
    bool packed = width % N == 0 && is_packed(dy);
    float sums[N] = {};
    const T* from = dy + column;
#pragma unroll 4
    for (u32 k = first; k < last; k++) add_columns(sums, from + (size_t)order[k] * width, columns, packed);
    float* to = (is_whole ? table + (size_t)target * width : partial + (size_t)(target - SLOT) * width) + column;
    if (width % N == 0 && is_packed(to)) {
#pragma unroll
        for (u32 e = 0; e < N; e += 4) {
            Pack<float> out = {};
            if (is_whole) out = load_pack(to + e);
            for (u32 i = 0; i < 4; i++) out.v[i] += sums[e + i];
            store_pack(to + e, out);
        }
        return;
    }
    for (u32 e = 0; e < columns; e++) to[e] = is_whole ? to[e] + sums[e] : sums[e];
}
#define PARAMETERS(T)                                                                                                  \
    (const T* dy, const u32* order, const u32* starts, const u32* targets, float* table, float* partial, u32 count,    \
     u32 width)
EXPORT(scatter_rows, PARAMETERS, (dy, order, starts, targets, table, partial, count, width))
#undef PARAMETERS

// Rows of more than one part: table[row] += sum of partial[slot], slot in first..last, in order. `rows`: row, first, last of each;
// one thread a column.
extern "C" __global__ void scatter_parts(const u32* rows, const float* partial, float* table, u32 width) {
    u32 column = blockIdx.y * blockDim.x + threadIdx.x;
    if (column >= width) return;
    u32 row = rows[3 * blockIdx.x], first = rows[3 * blockIdx.x + 1], last = rows[3 * blockIdx.x + 2];
    float sum = 0.0f;
    for (u32 slot = first; slot < last; slot++) sum += partial[(size_t)slot * width + column];
    table[(size_t)row * width + column] += sum;
}

// One block a text and WIDTH columns: the mean of its token vectors, or the first one. Each of 8 warps adds up every eighth token;
// then their sums are added in their order.
template <class T>
__device__ void pool(const T* x, const u32* offsets, float* out, u32 width, u32 first_only) {
    constexpr u32 N = Pack<T>::N, WIDTH = Columns<T>::WIDTH;
    float* sums = reinterpret_cast<float*>(dynamic_shared); // [8][WIDTH]
    u32 start = offsets[blockIdx.x], end = first_only ? start + 1 : offsets[blockIdx.x + 1];
    u32 column = Columns<T>::first(), part = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    bool packed = width % N == 0 && is_packed(x);
    float mine[N] = {};
    if (column < width) {
        u32 columns = min(N, width - column);
#pragma unroll 4
        for (u32 token = start + part; token < end; token += 8) {
            add_columns(mine, x + (size_t)token * width + column, columns, packed);
        }
    }
    for (u32 e = 0; e < N; e++) sums[part * WIDTH + e * WARP + lane] = mine[e];
    __syncthreads();
    for (u32 i = threadIdx.x; i < WIDTH; i += blockDim.x) {
        u32 at = blockIdx.y * WIDTH + i;
        if (at >= width) break;
        float sum = 0.0f;
        for (u32 k = 0; k < 8; k++) sum += sums[k * WIDTH + i % N * WARP + i / N];
        out[(size_t)blockIdx.x * width + at] = sum / (end - start);
    }
}
#define PARAMETERS(T) (const T* x, const u32* offsets, float* out, u32 width, u32 first_only)
EXPORT(pool, PARAMETERS, (x, offsets, out, width, first_only))
#undef PARAMETERS

// The same blocks: each warp writes every eighth token.
template <class T>
__device__ void pool_backward(const float* dy, const u32* offsets, T* dx, u32 width, u32 first_only) {
    constexpr u32 N = Pack<T>::N;
    u32 start = offsets[blockIdx.x], end = offsets[blockIdx.x + 1], column = Columns<T>::first();
    if (column >= width) return;
    u32 columns = min(N, width - column), part = threadIdx.x / WARP;
    bool packed = width % N == 0 && is_packed(dx);
    Pack<T> share;
    for (u32 e = 0; e < N; e++) {
        float g = e < columns ? dy[(size_t)blockIdx.x * width + column + e] : 0.0f;
        share.v[e] = from_float<T>(g / (first_only ? 1 : end - start));
    }
    for (u32 token = start + part; token < end; token += 8) {
        T* to = dx + (size_t)token * width + column;
        if (first_only && token > start) share = Pack<T>{};
        if (packed) store_pack(to, share);
        else for (u32 e = 0; e < columns; e++) to[e] = share.v[e];
    }
}
#define PARAMETERS(T) (const float* dy, const u32* offsets, T* dx, u32 width, u32 first_only)
EXPORT(pool_backward, PARAMETERS, (dy, offsets, dx, width, first_only))
#undef PARAMETERS

// One warp a question. From cosines [n, m]: its loss, and the gradient of the mean loss with respect to its cosines.
extern "C" __global__ void cross_entropy(const float* cosine, float* loss, float* gradient, u32 n, u32 m,
                                         float inverse_temperature) {
    u32 lane = threadIdx.x % WARP, row = blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP;
    if (row >= n) return;
    const float* z = cosine + (size_t)row * m;
    float highest = -INFINITY;
    for (u32 j = lane; j < m; j += WARP) highest = fmaxf(highest, z[j]);
    highest = warp_max(highest);
    float sum = 0.0f;
    for (u32 j = lane; j < m; j += WARP) sum += expf((z[j] - highest) * inverse_temperature);
    sum = warp_sum(sum);
    for (u32 j = lane; j < m; j += WARP) {
        float p = expf((z[j] - highest) * inverse_temperature) / sum;
        gradient[(size_t)row * m + j] = (p - (j == row ? 1.0f : 0.0f)) * inverse_temperature / n;
    }
    if (lane == 0) loss[row] = logf(sum) - (z[row] - highest) * inverse_temperature;
}
