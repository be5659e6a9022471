// What all kernels share: number types, dropout's hash, sums over a warp.
//
// The same source is compiled by nvcc for a GPU and, in the tests, by a C++ compiler with `emulator.cpp`, which runs
// the threads of a block as coroutines. Kernels therefore keep to what both know: inline PTX in `mma.cuh` only, dynamic
// shared memory through `dynamic_shared` only.
#pragma once

#ifdef POLYMIX_EMULATOR
#include "emulator.h"
#else
#define check_aligned(address, bytes)
#include <cuda_bf16.h>
#include <mma.h>
extern __shared__ __align__(32) unsigned char dynamic_shared[];
#endif

typedef unsigned int u32;
typedef unsigned long long u64;
typedef __nv_bfloat16 bf16;

#define WARP 32u

__device__ inline float to_float(float x) { return x; }
__device__ inline float to_float(bf16 x) { return __bfloat162float(x); }

template <class T> __device__ inline T from_float(float x);
template <> __device__ inline float from_float<float>(float x) { return x; }
template <> __device__ inline bf16 from_float<bf16>(float x) { return __float2bfloat16(x); }

// Sixteen bytes, which a thread moves at once. What is handed over as pointers may begin elsewhere: ask `is_packed` first.
template <class T> struct alignas(16) Pack {
    static constexpr u32 N = 16 / sizeof(T);
    T v[N];
};
template <class T> __device__ inline bool is_packed(const T* from) { return (size_t)from % 16 == 0; }
template <class T> __device__ inline Pack<T> load_pack(const T* from) {
    check_aligned(from, 16);
    return *reinterpret_cast<const Pack<T>*>(from);
}
// To device memory. The store is asked for by name: nvcc takes a plain one apart into stores of two bytes where another branch
// writes the same numbers one by one.
template <class T> __device__ inline void store_pack(T* to, const Pack<T>& pack) {
    uint4 words;
    memcpy(&words, &pack, 16);
    __stwb(reinterpret_cast<uint4*>(to), words);
}
// To shared memory.
template <class T> __device__ inline void share_pack(T* to, const Pack<T>& pack) {
    check_aligned(to, 16);
    *reinterpret_cast<Pack<T>*>(to) = pack;
}

// Dropout without state; equal bit for bit to `ops/dropout.rs`. `keys` is null where nothing is dropped.
struct Drop {
    const u64* keys;
    u64 key;
    u32 threshold;
    float keep;
};

// A row's key, from what `keys` holds for its token.
__device__ inline u32 hash_key(Drop drop, u64 seed) {
    u64 z = drop.key ^ seed;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return (u32)((z ^ (z >> 31)) >> 32);
}
__device__ inline u32 row_key(Drop drop, u32 token) { return hash_key(drop, drop.keys[token]); }

// 0 for a dropped element, else 1 / (1 - rate).
__device__ inline float keep_factor(Drop drop, u32 row, u32 feature) {
    u32 x = row ^ (feature * 0x9e3779b9u);
    x = (x ^ (x >> 16)) * 0x7feb352du;
    x = (x ^ (x >> 15)) * 0x846ca68bu;
    x = x ^ (x >> 16);
    return x < drop.threshold ? 0.0f : drop.keep;
}

__device__ inline float warp_sum(float x) {
    for (u32 step = WARP / 2; step > 0; step /= 2) x += __shfl_xor_sync(0xffffffffu, x, step);
    return x;
}

__device__ inline float warp_max(float x) {
    for (u32 step = WARP / 2; step > 0; step /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, step));
    return x;
}

// Exports `name<float>` as name_f32 and `name<bf16>` as name_bf16.
#define EXPORT(name, PARAMETERS, arguments)                                          \
    extern "C" __global__ void name##_f32 PARAMETERS(float) { name<float> arguments; } \
    extern "C" __global__ void name##_bf16 PARAMETERS(bf16) { name<bf16> arguments; }
