// CUDA's words for a C++ compiler: the threads of a block are coroutines, one running at a time. For tests only.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#define __device__
#define __global__
#define __host__
#define __launch_bounds__(...)
using std::min;

struct Dim {
    unsigned x = 1, y = 1, z = 1;
};
extern Dim threadIdx, blockIdx, blockDim, gridDim;
extern unsigned char* dynamic_shared;

void __syncthreads();
void sync_warp();
float exchange(float value, unsigned lane);
// Ends the launch where a GPU would: an access of several bytes at an address that is no multiple of them.
void check_aligned(const void* address, unsigned bytes);
inline float __shfl_xor_sync(unsigned, float value, unsigned mask) {
    return exchange(value, (threadIdx.x % 32) ^ mask);
}

inline void __syncwarp() { sync_warp(); }
inline float __uint_as_float(unsigned bits) {
    float value;
    memcpy(&value, &bits, 4);
    return value;
}
inline float __fdividef(float a, float b) { return a / b; }
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
inline void __stwb(uint4* to, uint4 words) {
    check_aligned(to, 16);
    *to = words;
}

struct __nv_bfloat16 {
    uint16_t bits;
};
inline float __bfloat162float(__nv_bfloat16 x) {
    uint32_t wide = (uint32_t)x.bits << 16;
    float value;
    memcpy(&value, &wide, 4);
    return value;
}
inline __nv_bfloat16 __float2bfloat16(float x) { // to nearest, ties to even
    uint32_t bits;
    memcpy(&bits, &x, 4);
    if ((bits & 0x7fffffff) > 0x7f800000) return {0x7fff};
    return {(uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16)};
}

// What `mma.cuh` says in PTX: all lanes of a warp hand over what they have, and the last to come does it for all.
void load_matrices(uint32_t (&to)[4], const __nv_bfloat16* row);
void load_transposed(uint32_t (&to)[4], const __nv_bfloat16* row);
void multiply_add(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1);
// A copy is made when it begins, or not before it must have arrived, as the order of running has it.
void begin_copy(__nv_bfloat16* to, const __nv_bfloat16* from, bool real);
void copies_arrive();
inline float power_of_two(float x) { return std::exp2(x); }
inline uint32_t pair(float low, float high) {
    return __float2bfloat16(low).bits | (uint32_t)__float2bfloat16(high).bits << 16;
}

// The tensor cores' interface. Every lane holds the whole tile and does the whole product, and stores its share of it: what
// other lanes stored is there behind a barrier only.
namespace nvcuda::wmma {
struct row_major {};
struct col_major {};
struct matrix_a {};
struct matrix_b {};
struct accumulator {};
enum layout_t { mem_row_major };
template <class Use, int M, int N, int K, class T, class Layout = void> struct fragment {
    float x[256]; // [row][column], whatever the layout in memory
};
// Tiles begin at multiples of 32 bytes, and their rows are multiples of 16 apart.
template <class T> void check_tile(const T* base, unsigned ld) {
    check_aligned(base, 32);
    check_aligned((const void*)(ld * sizeof(T)), 16);
}
template <class F> void fill_fragment(F& f, float value) { std::fill(f.x, f.x + 256, value); }
template <class Use, class T>
void load_matrix_sync(fragment<Use, 16, 16, 16, T, row_major>& f, const T* from, unsigned ld) {
    check_tile(from, ld);
    for (int i = 0; i < 256; i++) f.x[i] = __bfloat162float(from[(i / 16) * ld + i % 16]);
}
template <class Use, class T>
void load_matrix_sync(fragment<Use, 16, 16, 16, T, col_major>& f, const T* from, unsigned ld) {
    check_tile(from, ld);
    for (int i = 0; i < 256; i++) f.x[i] = __bfloat162float(from[(i % 16) * ld + i / 16]);
}
inline void load_matrix_sync(fragment<accumulator, 16, 16, 16, float>& f, const float* from, unsigned ld, layout_t) {
    check_tile(from, ld);
    for (int i = 0; i < 256; i++) f.x[i] = from[(i / 16) * ld + i % 16];
    sync_warp(); // no lane may store before all have loaded
}
inline void store_matrix_sync(float* to, const fragment<accumulator, 16, 16, 16, float>& f, unsigned ld, layout_t) {
    check_tile(to, ld);
    for (int i = threadIdx.x % 32; i < 256; i += 32) to[(i / 16) * ld + i % 16] = f.x[i];
}
template <class A, class B, class C> void mma_sync(C& d, const A& a, const B& b, const C& c) {
    for (int r = 0; r < 16; r++) {
        for (int s = 0; s < 16; s++) {
            float sum = c.x[r * 16 + s];
            for (int k = 0; k < 16; k++) sum += a.x[r * 16 + k] * b.x[k * 16 + s];
            d.x[r * 16 + s] = sum;
        }
    }
}
} // namespace nvcuda::wmma
