// Bias, GELU and dropout, element by element.
#pragma once
#include "common.cuh"

// y[i] = f(a[i], b[i], row, column, z[i]) for all elements of a matrix; `b` and `z` may be null. Sixteen bytes a thread and turn,
// where rows and pointers allow it.
template <class T, class F>
__device__ void each_element(const T* a, const T* b, T* y, T* z, u64 count, u32 width, F f) {
    constexpr u32 N = Pack<T>::N;
    u32 thread = blockIdx.x * blockDim.x + threadIdx.x, threads = gridDim.x * blockDim.x;
    bool packed = width % N == 0 && is_packed(a) && is_packed(b) && is_packed(y) && is_packed(z);
    if (packed && count / N < 0x80000000ull) {
        u32 packs = (u32)(count / N), across = width / N;
        for (u32 k = thread; k < packs; k += threads) {
            u32 row = k / across, column = k % across * N;
            u64 at = (u64)k * N;
            Pack<T> first = load_pack(a + at), second = b ? load_pack(b + at) : first, out, other;
            for (u32 e = 0; e < N; e++) {
                float side = 0.0f;
                out.v[e] = from_float<T>(f(to_float(first.v[e]), to_float(second.v[e]), row, column + e, side));
                other.v[e] = from_float<T>(side);
            }
            store_pack(y + at, out);
            if (z) store_pack(z + at, other);
        }
        return;
    }
    for (u64 i = thread; i < count; i += threads) {
        float side = 0.0f;
        y[i] = from_float<T>(f(to_float(a[i]), b ? to_float(b[i]) : 0.0f, (u32)(i / width), (u32)(i % width), side));
        if (z) z[i] = from_float<T>(side);
    }
}

template <class T> __device__ void add_bias(T* x, const float* bias, u64 count, u32 width) {
    each_element<T>(x, nullptr, x, nullptr, count, width,
                    [=](float v, float, u32, u32 column, float&) { return v + bias[column]; });
}
#define PARAMETERS(T) (T* x, const float* bias, u64 count, u32 width)
EXPORT(add_bias, PARAMETERS, (x, bias, count, width))
#undef PARAMETERS

// x becomes x + bias, which the backward pass needs; out = GELU of it in its exact form.
template <class T> __device__ void bias_gelu(T* x, const float* bias, T* out, u64 count, u32 width) {
    each_element<T>(x, nullptr, x, out, count, width, [=](float v, float, u32, u32 column, float& gelu) {
        float up = to_float(from_float<T>(v + bias[column]));
        gelu = 0.5f * up * (1.0f + erff(up * 0.70710678f));
        return up;
    });
}
#define PARAMETERS(T) (T* x, const float* bias, T* out, u64 count, u32 width)
EXPORT(bias_gelu, PARAMETERS, (x, bias, out, count, width))
#undef PARAMETERS

template <class T> __device__ void gelu_backward(const T* x, const T* dy, T* dx, u64 count, u32 width) {
    each_element<T>(x, dy, dx, nullptr, count, width, [=](float v, float slope, u32, u32, float&) {
        return slope * (0.5f + 0.5f * erff(v * 0.70710678f) + v * 0.39894228f * expf(-0.5f * v * v));
    });
}
#define PARAMETERS(T) (const T* x, const T* dy, T* dx, u64 count, u32 width)
EXPORT(gelu_backward, PARAMETERS, (x, dy, dx, count, width))
#undef PARAMETERS

template <class T> __device__ void dropout(const T* x, T* out, u64 count, u32 width, Drop drop) {
    each_element<T>(x, nullptr, out, nullptr, count, width, [=](float v, float, u32 row, u32 column, float&) {
        return v * keep_factor(drop, row_key(drop, row), column);
    });
}
#define PARAMETERS(T) \
    (const T* x, T* out, u64 count, u32 width, const u64* keys, u64 key, u32 threshold, float keep)
EXPORT(dropout, PARAMETERS, (x, out, count, width, Drop{keys, key, threshold, keep}))
#undef PARAMETERS
