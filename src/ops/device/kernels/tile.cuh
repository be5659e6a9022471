// A 16 x 16 tile of a matrix product, spread over a warp: tensor cores for bf16, plain arithmetic for f32.
#pragma once
#include "common.cuh"

template <class T> struct Tile;

// Lane l holds the elements l, l + 32, ... of the tile.
template <> struct Tile<float> {
    float v[8];
    __device__ void zero() {
        for (u32 e = 0; e < 8; e++) v[e] = 0.0f;
    }
    // this += A B over 16 columns of A; A is transposed in memory where AT, B where BT.
    template <bool AT, bool BT> __device__ void add(const float* a, u32 lda, const float* b, u32 ldb) {
        for (u32 e = 0; e < 8; e++) {
            u32 index = e * WARP + threadIdx.x % WARP, r = index / 16, c = index % 16;
            float sum = v[e];
            for (u32 k = 0; k < 16; k++) {
                sum += (AT ? a[k * lda + r] : a[r * lda + k]) * (BT ? b[c * ldb + k] : b[k * ldb + c]);
            }
            v[e] = sum;
        }
    }
    __device__ void load(const float* from, u32 ld) {
        for (u32 e = 0; e < 8; e++) {
            u32 index = e * WARP + threadIdx.x % WARP;
            v[e] = from[(index / 16) * ld + index % 16];
        }
    }
    __device__ void store(float* to, u32 ld) const {
        for (u32 e = 0; e < 8; e++) {
            u32 index = e * WARP + threadIdx.x % WARP;
            to[(index / 16) * ld + index % 16] = v[e];
        }
    }
};

template <bool transposed> struct Order { typedef nvcuda::wmma::row_major type; };
template <> struct Order<true> { typedef nvcuda::wmma::col_major type; };

template <> struct Tile<bf16> {
    nvcuda::wmma::fragment<nvcuda::wmma::accumulator, 16, 16, 16, float> v;
    __device__ void zero() { nvcuda::wmma::fill_fragment(v, 0.0f); }
    template <bool AT, bool BT> __device__ void add(const bf16* a, u32 lda, const bf16* b, u32 ldb) {
        nvcuda::wmma::fragment<nvcuda::wmma::matrix_a, 16, 16, 16, bf16, typename Order<AT>::type> fa;
        nvcuda::wmma::fragment<nvcuda::wmma::matrix_b, 16, 16, 16, bf16, typename Order<BT>::type> fb;
        nvcuda::wmma::load_matrix_sync(fa, a, lda);
        nvcuda::wmma::load_matrix_sync(fb, b, ldb);
        nvcuda::wmma::mma_sync(v, fa, fb, v);
    }
    __device__ void load(const float* from, u32 ld) {
        nvcuda::wmma::load_matrix_sync(v, from, ld, nvcuda::wmma::mem_row_major);
    }
    __device__ void store(float* to, u32 ld) const {
        nvcuda::wmma::store_matrix_sync(to, v, ld, nvcuda::wmma::mem_row_major);
    }
};
