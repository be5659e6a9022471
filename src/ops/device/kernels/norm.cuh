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

// out[plane][column] = sum over parts of partial[plane][part][column]. Blocks of 256 threads, one a plane and 32 columns: each of 8 warps
// adds up every eighth part; then their sums are added in their order.
extern "C" __global__ void sum_parts(const float* partial, float* out, u32 parts, u32 width) {
    float* sums = reinterpret_cast<float*>(dynamic_shared); // [8][32]
    u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, column = blockIdx.x * WARP + lane;
    const float* from = partial + (size_t)blockIdx.y * parts * width + column;
    float sum = 0.0f;
    if (column < width) {
#pragma unroll 4
        for (u32 part = warp; part < parts; part += 8) sum += from[(size_t)part * width];
    }
    sums[warp * WARP + lane] = sum;
    __syncthreads();
    if (warp > 0 || column >= width) return;
    float total = 0.0f;
    for (u32 k = 0; k < 8; k++) total += sums[k * WARP + lane];
    out[(size_t)blockIdx.y * width + column] = total;
}

// The same two passes where sixteen bytes divide rows and all pointers, for rows of at most WARP * E numbers: a warp has a row in its
// registers, pack k * WARP + lane of it in lane `lane`, and reads and writes device memory once.
template <class T> __device__ inline u32 column_of(u32 e) {
    constexpr u32 N = Pack<T>::N;
    return (e / N * WARP + threadIdx.x % WARP) * N;
}

// values[0..N] = N numbers of a vector, sixteen bytes at a time.
template <u32 N> __device__ inline void load_floats(float* values, const float* from) {
    for (u32 i = 0; i < N; i += 4) {
        Pack<float> four = load_pack(from + i);
        for (u32 k = 0; k < 4; k++) values[i + k] = four.v[k];
    }
}

template <class T, u32 E>
__device__ void add_norm_row(const T* x, const float* bias, const T* residual, const float* scale, const float* shift,
                             T* out, T* standard, float* inverse, u32 rows, u32 width, float epsilon, Drop drop) {
    constexpr u32 N = Pack<T>::N;
    u32 row = blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP;
    if (row >= rows) return;
    size_t base = (size_t)row * width;
    Pack<T> first[E / N] = {}, second[E / N] = {};
#pragma unroll
    for (u32 e = 0; e < E; e += N) {
        u32 column = column_of<T>(e);
        if (column >= width) continue;
        first[e / N] = load_pack(x + base + column);
        if (residual) second[e / N] = load_pack(residual + base + column);
    }
    float v[E];
    for (u32 e = 0; e < E; e++) v[e] = to_float(first[e / N].v[e % N]);
    if (bias) {
#pragma unroll
        for (u32 e = 0; e < E; e += N) {
            u32 column = column_of<T>(e);
            float biases[N] = {};
            if (column < width) load_floats<N>(biases, bias + column);
            for (u32 i = 0; i < N; i++) v[e + i] += biases[i];
        }
    }
    if (drop.keys) {
        u32 key = row_key(drop, row);
#pragma unroll
        for (u32 e = 0; e < E; e += N) {
            for (u32 i = 0; i < N; i++) v[e + i] *= keep_factor(drop, key, column_of<T>(e) + i);
        }
    }
    float sum = 0.0f, squares = 0.0f;
    for (u32 e = 0; e < E; e++) {
        v[e] += to_float(second[e / N].v[e % N]);
        sum += v[e];
    }
    float mean = warp_sum(sum) / width;
#pragma unroll
    for (u32 e = 0; e < E; e += N) {
        if (column_of<T>(e) >= width) continue;
        for (u32 i = 0; i < N; i++) squares += (v[e + i] - mean) * (v[e + i] - mean);
    }
    float scaled = 1.0f / sqrtf(warp_sum(squares) / width + epsilon);
#pragma unroll
    for (u32 e = 0; e < E; e += N) {
        u32 column = column_of<T>(e);
        if (column >= width) continue;
        float scales[N], shifts[N];
        load_floats<N>(scales, scale + column);
        load_floats<N>(shifts, shift + column);
        Pack<T> plain, moved;
        for (u32 i = 0; i < N; i++) {
            float s = (v[e + i] - mean) * scaled;
            plain.v[i] = from_float<T>(s);
            moved.v[i] = from_float<T>(s * scales[i] + shifts[i]);
        }
        store_pack(standard + base + column, plain);
        store_pack(out + base + column, moved);
    }
    if (threadIdx.x % WARP == 0) inverse[row] = scaled;
}

// dy: what comes back, with `beside` where that is given, rounded as their sum would be in memory. Each warp walks over every so many
// rows and adds up dy and dy * standard by column; then the block adds up its warps in their order: partial[block][column] and
// partial[blocks + block][column].
template <class T, u32 E>
__device__ void add_norm_backward_row(const T* dy, const T* beside, const T* standard, const float* scale,
                                      const float* inverse, T* dsum, T* dx, float* partial, u32 rows, u32 width, Drop drop) {
    constexpr u32 N = Pack<T>::N;
    float* sums = reinterpret_cast<float*>(dynamic_shared); // [warps][width]
    u32 warps = blockDim.x / WARP, warp = threadIdx.x / WARP;
    float dshift[E] = {}, dscale[E] = {};
    for (u32 row = blockIdx.x * warps + warp; row < rows; row += gridDim.x * warps) {
        size_t base = (size_t)row * width;
        Pack<T> d[E / N] = {}, s[E / N] = {};
#pragma unroll
        for (u32 e = 0; e < E; e += N) {
            u32 column = column_of<T>(e);
            if (column >= width) continue;
            d[e / N] = load_pack(dy + base + column);
            s[e / N] = load_pack(standard + base + column);
        }
        if (beside) {
#pragma unroll
            for (u32 e = 0; e < E; e += N) {
                u32 column = column_of<T>(e);
                if (column >= width) continue;
                Pack<T> other = load_pack(beside + base + column);
                for (u32 i = 0; i < N; i++) {
                    d[e / N].v[i] = from_float<T>(to_float(d[e / N].v[i]) + to_float(other.v[i]));
                }
            }
        }
        float mean = 0.0f, along = 0.0f;
#pragma unroll
        for (u32 e = 0; e < E; e += N) {
            u32 column = column_of<T>(e);
            if (column >= width) continue;
            float scales[N];
            load_floats<N>(scales, scale + column);
            for (u32 i = 0; i < N; i++) {
                float back = to_float(d[e / N].v[i]), own = to_float(s[e / N].v[i]), g = back * scales[i];
                dshift[e + i] += back;
                dscale[e + i] += back * own;
                mean += g;
                along += g * own;
            }
        }
        mean = warp_sum(mean) / width;
        along = warp_sum(along) / width;
        float scaled = inverse[row];
        u32 key = drop.keys ? row_key(drop, row) : 0;
#pragma unroll
        for (u32 e = 0; e < E; e += N) {
            u32 column = column_of<T>(e);
            if (column >= width) continue;
            float scales[N];
            load_floats<N>(scales, scale + column);
            Pack<T> plain, dropped;
            for (u32 i = 0; i < N; i++) {
                float g = to_float(d[e / N].v[i]) * scales[i];
                g = scaled * (g - mean - to_float(s[e / N].v[i]) * along);
                plain.v[i] = from_float<T>(g);
                if (drop.keys) dropped.v[i] = from_float<T>(g * keep_factor(drop, key, column + i));
            }
            store_pack(dsum + base + column, plain);
            if (drop.keys) store_pack(dx + base + column, dropped);
        }
    }
    auto add_up = [&](const float* values, u32 plane) {
#pragma unroll
        for (u32 e = 0; e < E; e += 4) {
            u32 column = column_of<T>(e) + e % N;
            if (column >= width) continue;
            Pack<float> four;
            for (u32 i = 0; i < 4; i++) four.v[i] = values[e + i];
            share_pack(sums + warp * width + column, four);
        }
        __syncthreads();
        for (u32 column = threadIdx.x; column < width; column += blockDim.x) {
            float total = 0.0f;
            for (u32 k = 0; k < warps; k++) total += sums[k * width + column];
            partial[((size_t)plane * gridDim.x + blockIdx.x) * width + column] = total;
        }
        __syncthreads();
    };
    add_up(dshift, 0);
    add_up(dscale, 1);
}

#define NORM(T, name, E)                                                                                                \
    extern "C" __global__ void __launch_bounds__(256) add_norm_##E##_##name(                                            \
        const T* x, const float* bias, const T* residual, const float* scale, const float* shift, T* out, T* standard,   \
        float* inverse, u32 rows, u32 width, float epsilon, const u64* keys, u64 key, u32 threshold, float keep) {       \
        add_norm_row<T, E>(x, bias, residual, scale, shift, out, standard, inverse, rows, width, epsilon,               \
                           Drop{keys, key, threshold, keep});                                                           \
    }                                                                                                                   \
    extern "C" __global__ void __launch_bounds__(256, 1) add_norm_backward_##E##_##name(                                \
        const T* dy, const T* beside, const T* standard, const float* scale, const float* inverse, T* dsum, T* dx,       \
        float* partial, u32 rows, u32 width, const u64* keys, u64 key, u32 threshold, float keep) {                     \
        add_norm_backward_row<T, E>(dy, beside, standard, scale, inverse, dsum, dx, partial, rows, width,               \
                                    Drop{keys, key, threshold, keep});                                                  \
    }
NORM(float, f32, 24)
NORM(float, f32, 32)
NORM(bf16, bf16, 24)
NORM(bf16, bf16, 32)
#undef NORM
