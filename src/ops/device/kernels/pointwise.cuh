// Bias, GELU and dropout, element by element.
#pragma once
#include "common.cuh"

#define FOR_EACH(i, count) \
    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < (count); i += (size_t)gridDim.x * blockDim.x)

template <class T> __device__ void add_bias(T* x, const float* bias, u64 count, u32 width) {
    FOR_EACH(i, count) x[i] = from_float<T>(to_float(x[i]) + bias[i % width]);
}
#define PARAMETERS(T) (T* x, const float* bias, u64 count, u32 width)
EXPORT(add_bias, PARAMETERS, (x, bias, count, width))
#undef PARAMETERS

// x becomes x + bias, which the backward pass needs; out = GELU of it in its exact form.
template <class T> __device__ void bias_gelu(T* x, const float* bias, T* out, u64 count, u32 width) {
    FOR_EACH(i, count) {
        T up = from_float<T>(to_float(x[i]) + bias[i % width]);
        float v = to_float(up);
        x[i] = up;
        out[i] = from_float<T>(0.5f * v * (1.0f + erff(v * 0.70710678f)));
    }
}
#define PARAMETERS(T) (T* x, const float* bias, T* out, u64 count, u32 width)
EXPORT(bias_gelu, PARAMETERS, (x, bias, out, count, width))
#undef PARAMETERS

template <class T> __device__ void gelu_backward(const T* x, const T* dy, T* dx, u64 count) {
    FOR_EACH(i, count) {
        float v = to_float(x[i]);
        float slope = 0.5f + 0.5f * erff(v * 0.70710678f) + v * 0.39894228f * expf(-0.5f * v * v);
        dx[i] = from_float<T>(to_float(dy[i]) * slope);
    }
}
#define PARAMETERS(T) (const T* x, const T* dy, T* dx, u64 count)
EXPORT(gelu_backward, PARAMETERS, (x, dy, dx, count))
#undef PARAMETERS

template <class T> __device__ void dropout(const T* x, T* out, u64 count, u32 width, Drop drop) {
    FOR_EACH(i, count) {
        out[i] = from_float<T>(to_float(x[i]) * keep_factor(drop, row_key(drop, i / width), i % width));
    }
}
#define PARAMETERS(T) \
    (const T* x, T* out, u64 count, u32 width, const u64* keys, u64 key, u32 threshold, float keep)
EXPORT(dropout, PARAMETERS, (x, out, count, width, Drop{keys, key, threshold, keep}))
#undef PARAMETERS
