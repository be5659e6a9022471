// The global norm and AdamW over all parameters, one launch each.
//
// Parameters are cut into chunks of CHUNK numbers; block b works on chunk `chunks[2 b + 1]` of parameter
// `chunks[2 b]`. `*s` are arrays of pointers, one a parameter.
#pragma once
#include "common.cuh"

#define CHUNK 16384u

// partial[b] = sum of squares of the block's chunk, in f64.
extern "C" __global__ void squares(const u64* gradients, const u32* chunks, const u32* counts, double* partial) {
    double* sums = reinterpret_cast<double*>(dynamic_shared);
    u32 slot = chunks[2 * blockIdx.x], first = chunks[2 * blockIdx.x + 1] * CHUNK;
    u32 last = min(first + CHUNK, counts[slot]);
    const float* g = reinterpret_cast<const float*>(gradients[slot]);
    double sum = 0.0;
    for (u32 i = first + threadIdx.x; i < last; i += blockDim.x) sum += (double)g[i] * g[i];
    sums[threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.x == 0) {
        double total = 0.0;
        for (u32 k = 0; k < blockDim.x; k++) total += sums[k];
        partial[blockIdx.x] = total;
    }
}

// `keeps`: 1 - learning rate * decay, one a parameter. As `update_chunk` in `ops/adamw.rs`.
extern "C" __global__ void adamw(const u64* parameters, const u64* firsts, const u64* seconds, const u64* gradients,
                                 const u32* chunks, const u32* counts, const float* keeps, float b1, float b2,
                                 float rate, float root, float scale, float epsilon) {
    u32 slot = chunks[2 * blockIdx.x], first = chunks[2 * blockIdx.x + 1] * CHUNK;
    u32 last = min(first + CHUNK, counts[slot]);
    float* p = reinterpret_cast<float*>(parameters[slot]);
    float* m = reinterpret_cast<float*>(firsts[slot]);
    float* v = reinterpret_cast<float*>(seconds[slot]);
    const float* g = reinterpret_cast<const float*>(gradients[slot]);
    float keep = keeps[slot];
    for (u32 i = first + threadIdx.x; i < last; i += blockDim.x) {
        float d = g[i] * scale;
        m[i] = b1 * m[i] + (1.0f - b1) * d;
        v[i] = b2 * v[i] + (1.0f - b2) * d * d;
        p[i] = keep * p[i] - rate * m[i] / (sqrtf(v[i]) / root + epsilon);
    }
}
