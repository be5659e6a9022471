// The global norm and AdamW over all parameters, one launch each.
//
// Parameters are cut into chunks of CHUNK numbers; block b works on chunk `chunks[2 b + 1]` of parameter
// `chunks[2 b]`. `*s` are arrays of pointers, one a parameter. Parameters and moments are tensors of their own; a gradient may be
// a part of one.
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
    u32 packed = is_packed(g) ? (last - first) / 4 : 0;
    for (u32 k = threadIdx.x; k < packed; k += blockDim.x) {
        Pack<float> four = load_pack(g + first + 4 * k);
        for (u32 e = 0; e < 4; e++) sum += (double)four.v[e] * four.v[e];
    }
    for (u32 i = first + 4 * packed + threadIdx.x; i < last; i += blockDim.x) sum += (double)g[i] * g[i];
    sums[threadIdx.x] = sum;
    // A power of two of threads; always the same order of adding.
    for (u32 half = blockDim.x / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
    }
    if (threadIdx.x == 0) partial[blockIdx.x] = sums[0];
}

struct Rates {
    float keep, b1, b2, rate, root, scale, epsilon;
};

__device__ inline void update(float& p, float& m, float& v, float g, Rates r) {
    float d = g * r.scale;
    m = r.b1 * m + (1.0f - r.b1) * d;
    v = r.b2 * v + (1.0f - r.b2) * d * d;
    p = r.keep * p - r.rate * m / (sqrtf(v) / r.root + r.epsilon);
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
    Rates rates{keeps[slot], b1, b2, rate, root, scale, epsilon};
    bool is_whole = is_packed(p) && is_packed(m) && is_packed(v) && is_packed(g);
    u32 packed = is_whole ? (last - first) / 4 : 0;
    for (u32 k = threadIdx.x; k < packed; k += blockDim.x) {
        u32 i = first + 4 * k;
        Pack<float> ps = load_pack(p + i), ms = load_pack(m + i), vs = load_pack(v + i), gs = load_pack(g + i);
        for (u32 e = 0; e < 4; e++) update(ps.v[e], ms.v[e], vs.v[e], gs.v[e], rates);
        store_pack(p + i, ps);
        store_pack(m + i, ms);
        store_pack(v + i, vs);
    }
    for (u32 i = first + 4 * packed + threadIdx.x; i < last; i += blockDim.x) update(p[i], m[i], v[i], g[i], rates);
}
