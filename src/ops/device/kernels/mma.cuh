// What a warp does at once: products on tensor cores, loads of their operands, and copies that run beside the arithmetic.
//
// The only inline PTX; for the tests `emulator.cpp` does the same by the same layout. PTX ISA, "Matrix Fragments for mma.m16n8k16
// with floating point type" and "ldmatrix", where lane is the thread's number in its warp, g = lane / 4 and t = lane % 4. A register
// holds two bf16, the one of the lower column (in B: row) in its lower half.
//
//   A, 16 x 16:  a[0] row g, columns 2t, 2t+1;  a[1] row g+8, the same columns;  a[2] row g, columns 2t+8, 2t+9;  a[3] row g+8, those
//   B, 16 x 8:   b[0] rows 2t, 2t+1, column g;  b[1] rows 2t+8, 2t+9, column g
//   C, 16 x 8:   c[0], c[1] row g, columns 2t, 2t+1;  c[2], c[3] row g+8, the same columns (f32)
//
// So the sums of two neighbouring products, rounded, are the A of the next: {c[0] c[1], c[2] c[3], d[0] d[1], d[2] d[3]}.
//
// ldmatrix reads four 8 x 8 matrices, whose rows are sixteen bytes each: lane 8m + r hands over the address of row r of matrix m. A lane
// gets of each matrix row g, columns 2t, 2t+1; transposed, rows 2t, 2t+1 of column g.
#pragma once
#include "common.cuh"

#ifndef POLYMIX_EMULATOR
__device__ inline u32 shared_address(const void* at) { return (u32)__cvta_generic_to_shared(at); }

__device__ inline void load_matrices(u32 (&to)[4], const bf16* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(shared_address(row))
                 : "memory");
}
__device__ inline void load_transposed(u32 (&to)[4], const bf16* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(shared_address(row))
                 : "memory");
}

// c += A B.
__device__ inline void multiply_add(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Begins to copy sixteen bytes to shared memory, zeros where not `real`; they are there for this thread after `copies_arrive`, for
// others behind a barrier after that.
__device__ inline void begin_copy(bf16* to, const bf16* from, bool real) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)),
                 "l"(__cvta_generic_to_global(from)), "r"(real ? 16 : 0)
                 : "memory");
}
__device__ inline void copies_arrive() { asm volatile("cp.async.wait_all;" ::: "memory"); }

// 2^x to 22 bits; 0 for minus infinity.
__device__ inline float power_of_two(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// Two numbers rounded into one register, as `from_float` does.
__device__ inline u32 pair(float low, float high) {
    u32 bits;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
    return bits;
}
#endif

__device__ inline float low_of(u32 bits) { return __uint_as_float(bits << 16); }
__device__ inline float high_of(u32 bits) { return __uint_as_float(bits & 0xffff0000u); }
