// The global norm, what clipping makes of it, and AdamW over all parameters, one launch each: the host need not know the norm in
// between.
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

// control[0] = the norm, the root of the sum of `partial`, which is as long as there are blocks of `squares`; control[1] = what clipping
// to `limit` multiplies gradients with (1 where it is 0). The norm is NaN where `loss` is given and not finite. One block.
extern "C" __global__ void clip(const double* partial, const double* loss, double* control, u32 count, float limit) {
    double* sums = reinterpret_cast<double*>(dynamic_shared);
    double sum = 0.0;
    for (u32 i = threadIdx.x; i < count; i += blockDim.x) sum += partial[i];
    sums[threadIdx.x] = sum;
    for (u32 half = blockDim.x / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
    }
    if (threadIdx.x > 0) return;
    double norm = sqrt(sums[0]);
    // x - x is 0 for finite numbers alone.
    if (loss && !(*loss - *loss == 0.0)) norm = NAN;
    control[0] = norm;
    control[1] = limit > 0.0f && limit < norm + 1e-6 ? limit / (norm + 1e-6) : 1.0;
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

// `rates_of`: for each parameter 1 - learning rate * decay, the learning rate over the first moment's bias correction, the root of the
// second's. `control`: as `clip` leaves it; nothing is changed where the norm is not finite. As `Update` in `ops/adamw.rs`.
extern "C" __global__ void adamw(const u64* parameters, const u64* firsts, const u64* seconds, const u64* gradients,
                                 const u32* chunks, const u32* counts, const float* rates_of, const double* control,
                                 float b1, float b2, float epsilon) {
    if (!(control[0] - control[0] == 0.0)) return;
    u32 slot = chunks[2 * blockIdx.x], first = chunks[2 * blockIdx.x + 1] * CHUNK;
    u32 last = min(first + CHUNK, counts[slot]);
    float* p = reinterpret_cast<float*>(parameters[slot]);
    float* m = reinterpret_cast<float*>(firsts[slot]);
    float* v = reinterpret_cast<float*>(seconds[slot]);
    const float* g = reinterpret_cast<const float*>(gradients[slot]);
    const float* own = rates_of + 3 * slot;
    Rates rates{own[0], b1, b2, own[1], own[2], (float)control[1], epsilon};
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
