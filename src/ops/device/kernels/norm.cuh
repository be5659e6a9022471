// Bias, dropout, residual and layer normalisation in one pass, and back; sums over rows.
#pragma once
#include "common.cuh"

// One warp a row: v = dropout(x + bias) + residual; standard = (v - mean) / deviation; out = standard * scale + shift.
template <class T>
__device__ void add_norm(const T* x, const float* bias, const T* residual, const float* scale, const float* shift,
                         T* out, T* standard, float* inverse, u32 rows, u32 width, float epsilon, Drop drop) {
    u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    u32 row = blockIdx.x * (blockDim.x / WARP) + warp;
    if (row >= rows) return;
    float* v = reinterpret_cast<float*>(dynamic_shared) + warp * width; // each lane reads only what it wrote
    size_t base = (size_t)row * width;
    u32 key = drop.keys ? row_key(drop, row) : 0;
    float sum = 0.0f;
    for (u32 i = lane; i < width; i += WARP) {
        float a = to_float(x[base + i]);
        if (bias) a += bias[i];
        if (drop.keys) a *= keep_factor(drop, key, i);
        if (residual) a += to_float(residual[base + i]);
        v[i] = a;
        sum += a;
    }
    float mean = warp_sum(sum) / width;
    float squares = 0.0f;
    for (u32 i = lane; i < width; i += WARP) squares += (v[i] - mean) * (v[i] - mean);
    float scaled = 1.0f / sqrtf(warp_sum(squares) / width + epsilon);
    for (u32 i = lane; i < width; i += WARP) {
        float s = (v[i] - mean) * scaled;
        standard[base + i] = from_float<T>(s);
        out[base + i] = from_float<T>(s * scale[i] + shift[i]);
    }
    if (lane == 0) inverse[row] = scaled;
}
#define PARAMETERS(T)                                                                                            \
    (const T* x, const float* bias, const T* residual, const float* scale, const float* shift, T* out,            \
     T* standard, float* inverse, u32 rows, u32 width, float epsilon, const u64* keys, u64 key, u32 threshold,    \
     float keep)
EXPORT(add_norm, PARAMETERS,
       (x, bias, residual, scale, shift, out, standard, inverse, rows, width, epsilon, Drop{keys, key, threshold, keep}))
#undef PARAMETERS

// One warp a row. dsum: gradient of the sum before normalisation, the residual's too. dx: the same through dropout,
// null where nothing was dropped.
template <class T>
__device__ void add_norm_backward(const T* dy, const T* standard, const float* scale, const float* inverse, T* dsum,
                                  T* dx, u32 rows, u32 width, Drop drop) {
    u32 lane = threadIdx.x % WARP;
    u32 row = blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP;
    if (row >= rows) return;
    size_t base = (size_t)row * width;
    float mean = 0.0f, along = 0.0f;
    for (u32 i = lane; i < width; i += WARP) {
        float g = to_float(dy[base + i]) * scale[i];
        mean += g;
        along += g * to_float(standard[base + i]);
    }
    mean = warp_sum(mean) / width;
    along = warp_sum(along) / width;
    u32 key = drop.keys ? row_key(drop, row) : 0;
    for (u32 i = lane; i < width; i += WARP) {
        float g = to_float(dy[base + i]) * scale[i];
        float d = inverse[row] * (g - mean - to_float(standard[base + i]) * along);
        dsum[base + i] = from_float<T>(d);
        if (drop.keys) dx[base + i] = from_float<T>(d * keep_factor(drop, key, i));
    }
}
#define PARAMETERS(T)                                                                                       \
    (const T* dy, const T* standard, const float* scale, const float* inverse, T* dsum, T* dx, u32 rows,    \
     u32 width, const u64* keys, u64 key, u32 threshold, float keep)
EXPORT(add_norm_backward, PARAMETERS,
       (dy, standard, scale, inverse, dsum, dx, rows, width, Drop{keys, key, threshold, keep}))
#undef PARAMETERS

// Sums of 256 rows by column, one chunk of rows a block row: partial[chunk][column] = sum of x, and, where `factor` is
// given, partial[chunks + chunk][column] = sum of x * factor. A fixed order, so equal runs give equal bits.
// Blocks of 256 threads: 32 columns by 8 rows.
#define CHUNK_ROWS 256u
template <class T>
__device__ void column_sums(const T* x, const T* factor, float* partial, u32 rows, u32 width) {
    float* sums = reinterpret_cast<float*>(dynamic_shared); // [2][8][32]
    u32 lane = threadIdx.x % WARP, part = threadIdx.x / WARP;
    u32 column = blockIdx.x * WARP + lane, first = blockIdx.y * CHUNK_ROWS;
    float plain = 0.0f, weighted = 0.0f;
    if (column < width) {
        for (u32 row = first + part; row < first + CHUNK_ROWS && row < rows; row += 8) {
            float value = to_float(x[(size_t)row * width + column]);
            plain += value;
            if (factor) weighted += value * to_float(factor[(size_t)row * width + column]);
        }
    }
    sums[part * WARP + lane] = plain;
    sums[(8 + part) * WARP + lane] = weighted;
    __syncthreads();
    if (part == 0 && column < width) {
        float total = 0.0f, product = 0.0f;
        for (u32 k = 0; k < 8; k++) {
            total += sums[k * WARP + lane];
            product += sums[(8 + k) * WARP + lane];
        }
        partial[(size_t)blockIdx.y * width + column] = total;
        if (factor) partial[(size_t)(gridDim.y + blockIdx.y) * width + column] = product;
    }
}
#define PARAMETERS(T) (const T* x, const T* factor, float* partial, u32 rows, u32 width)
EXPORT(column_sums, PARAMETERS, (x, factor, partial, rows, width))
#undef PARAMETERS

// out[plane][column] = sum over chunks of partial[plane][chunk][column]; one thread a number.
extern "C" __global__ void sum_chunks(const float* partial, float* out, u32 planes, u32 chunks, u32 width) {
    u32 index = blockIdx.x * blockDim.x + threadIdx.x;
    if (index >= planes * width) return;
    const float* from = partial + (size_t)(index / width) * chunks * width + index % width;
    float total = 0.0f;
    for (u32 chunk = 0; chunk < chunks; chunk++) total += from[(size_t)chunk * width];
    out[index] = total;
}
