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

// One block a row that any token uses: table[rows[b]] += sum of dy[order[k]], k in starts[b]..starts[b + 1], in order.
template <class T>
__device__ void scatter_rows(const T* dy, const u32* order, const u32* starts, const u32* rows, float* table,
                             u32 width) {
    u32 first = starts[blockIdx.x], last = starts[blockIdx.x + 1];
    for (u32 i = threadIdx.x; i < width; i += blockDim.x) {
        float sum = 0.0f;
        for (u32 k = first; k < last; k++) sum += to_float(dy[(size_t)order[k] * width + i]);
        table[(size_t)rows[blockIdx.x] * width + i] += sum;
    }
}
#define PARAMETERS(T) (const T* dy, const u32* order, const u32* starts, const u32* rows, float* table, u32 width)
EXPORT(scatter_rows, PARAMETERS, (dy, order, starts, rows, table, width))
#undef PARAMETERS

// One block a text: the mean of its token vectors, or the first one.
template <class T>
__device__ void pool(const T* x, const u32* offsets, float* out, u32 width, u32 first_only) {
    u32 start = offsets[blockIdx.x], end = first_only ? start + 1 : offsets[blockIdx.x + 1];
    for (u32 i = threadIdx.x; i < width; i += blockDim.x) {
        float sum = 0.0f;
        for (u32 token = start; token < end; token++) sum += to_float(x[(size_t)token * width + i]);
        out[(size_t)blockIdx.x * width + i] = sum / (end - start);
    }
}
#define PARAMETERS(T) (const T* x, const u32* offsets, float* out, u32 width, u32 first_only)
EXPORT(pool, PARAMETERS, (x, offsets, out, width, first_only))
#undef PARAMETERS

template <class T>
__device__ void pool_backward(const float* dy, const u32* offsets, T* dx, u32 width, u32 first_only) {
    u32 start = offsets[blockIdx.x], end = offsets[blockIdx.x + 1];
    for (u32 i = threadIdx.x; i < width; i += blockDim.x) {
        float g = dy[(size_t)blockIdx.x * width + i] / (first_only ? 1 : end - start);
        for (u32 token = start; token < end; token++) {
            dx[(size_t)token * width + i] = from_float<T>(first_only && token > start ? 0.0f : g);
        }
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
