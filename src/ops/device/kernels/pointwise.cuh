// Bias, GELU and dropout, element by element.
#pragma once
#include "common.cuh"

// y = f(a, b, bias of the column, row, column, z) for all elements of a matrix; `b`, `bias` and `z` may be null. Sixteen bytes a thread
// and turn, where rows and pointers allow it. 2^log lanes of a block lie along a row, its other threads in the rows below; a thread
// keeps its columns, and their biases, over all its rows.
template <class T, class F>
__device__ void each_element(const T* a, const T* b, T* y, T* z, const float* bias, u32 rows, u32 width, u32 log, F f) {
    constexpr u32 N = Pack<T>::N;
    u32 along = blockIdx.x << log | (threadIdx.x & ((1u << log) - 1)), lanes = gridDim.x << log;
    u32 below = blockDim.x >> log, first = blockIdx.y * below + (threadIdx.x >> log), step = gridDim.y * below;
    if (width % N == 0 && is_packed(a) && is_packed(b) && is_packed(y) && is_packed(z)) {
        for (u32 column = along * N; column < width; column += lanes * N) {
            float biases[N];
            for (u32 e = 0; e < N; e++) biases[e] = bias ? bias[column + e] : 0.0f;
            for (u32 row = first; row < rows; row += step) {
                size_t at = (size_t)row * width + column;
                Pack<T> one = load_pack(a + at), two = b ? load_pack(b + at) : one, out, other;
                for (u32 e = 0; e < N; e++) {
                    float side = 0.0f;
                    out.v[e] = from_float<T>(
                        f(to_float(one.v[e]), to_float(two.v[e]), biases[e], row, column + e, side));
                    other.v[e] = from_float<T>(side);
                }
                store_pack(y + at, out);
                if (z) store_pack(z + at, other);
            }
        }
        return;
    }
    for (u32 column = along; column < width; column += lanes) {
        float offset = bias ? bias[column] : 0.0f;
        for (u32 row = first; row < rows; row += step) {
            size_t at = (size_t)row * width + column;
            float side = 0.0f;
            y[at] = from_float<T>(f(to_float(a[at]), b ? to_float(b[at]) : 0.0f, offset, row, column, side));
            if (z) z[at] = from_float<T>(side);
        }
    }
}

template <class T> __device__ void add_bias(T* x, const float* bias, u32 rows, u32 width, u32 log) {
    each_element<T>(x, nullptr, x, nullptr, bias, rows, width, log,
                    [=](float v, float, float bias, u32, u32, float&) { return v + bias; });
}
#define PARAMETERS(T) (T* x, const float* bias, u32 rows, u32 width, u32 log)
EXPORT(add_bias, PARAMETERS, (x, bias, rows, width, log))
#undef PARAMETERS

// The error function of v / sqrt(2) to 1.5e-7, and e^(-v^2 / 2): the formula of `erf_and_gauss` in `ops/simd.rs`.
struct Normal {
    float erf, gauss;
    __device__ explicit Normal(float v) {
        gauss = exp2f(-0.72134752f * v * v);
        float t = __fdividef(1.0f, 1.0f + 0.23164189f * fabsf(v)), p = 1.0614054f;
        p = p * t - 1.4531521f;
        p = p * t + 1.4214138f;
        p = p * t - 0.28449672f;
        p = p * t + 0.2548296f;
        erf = copysignf(1.0f - p * t * gauss, v);
    }
};

// x becomes x + bias, which the backward pass needs; out = GELU of it in its exact form.
template <class T> __device__ void bias_gelu(T* x, const float* bias, T* out, u32 rows, u32 width, u32 log) {
    each_element<T>(x, nullptr, x, out, bias, rows, width, log,
                    [=](float v, float, float bias, u32, u32, float& gelu) {
                        float up = to_float(from_float<T>(v + bias));
                        gelu = 0.5f * up * (1.0f + Normal(up).erf);
                        return up;
                    });
}
#define PARAMETERS(T) (T* x, const float* bias, T* out, u32 rows, u32 width, u32 log)
EXPORT(bias_gelu, PARAMETERS, (x, bias, out, rows, width, log))
#undef PARAMETERS

template <class T> __device__ void gelu_backward(const T* x, const T* dy, T* dx, u32 rows, u32 width, u32 log) {
    each_element<T>(x, dy, dx, nullptr, nullptr, rows, width, log, [=](float v, float slope, float, u32, u32, float&) {
        Normal normal(v);
        return slope * (0.5f + 0.5f * normal.erf + v * 0.39894228f * normal.gauss);
    });
}
#define PARAMETERS(T) (const T* x, const T* dy, T* dx, u32 rows, u32 width, u32 log)
EXPORT(gelu_backward, PARAMETERS, (x, dy, dx, rows, width, log))
#undef PARAMETERS

template <class T> __device__ void dropout(const T* x, T* out, u32 rows, u32 width, u32 log, Drop drop) {
    each_element<T>(x, nullptr, out, nullptr, nullptr, rows, width, log,
                    [=](float v, float, float, u32 row, u32 column, float&) {
                        return v * keep_factor(drop, row_key(drop, row), column);
                    });
}
#define PARAMETERS(T)                                                                                                  \
    (const T* x, T* out, u32 rows, u32 width, u32 log, const u64* keys, u64 key, u32 threshold, float keep)
EXPORT(dropout, PARAMETERS, (x, out, rows, width, log, Drop{keys, key, threshold, keep}))
#undef PARAMETERS
