// The attention of `attention.cuh` in bf16 as FlashAttention-2 computes it (Dao 2023): scores and probabilities never leave the registers.
//
// A block of four warps works on one head and OWN tokens of a text, sixteen a warp; a warp without tokens only helps to copy. The other
// side comes by in tiles, the next one copied while one is worked on, sixteen rows at a time and no further than the text reaches: a
// short text costs what its own tokens do. A tile in shared memory is D numbers wide, its chunks of sixteen bytes turned so that
// eight rows of a column of chunks lie in different banks. No atomics: equal runs give equal bits.
#pragma once
#include "attention.cuh"
#include "mma.cuh"

#define LOG2E 1.4426950408889634f

template <u32 D> struct Flash {
    static constexpr u32 OWN = 64;                    // tokens of a block
    static constexpr u32 KEYS = D == 128 ? 32 : 64;   // a tile of the forward pass
    static constexpr u32 WALK = 32;                   // a tile of the backward passes
    static_assert(2 * WALK == OWN, "two tiles of the walk have room for the block's rows of the context");
};

// Where the chunk of a row begins.
template <u32 D> __device__ inline u32 place(u32 row, u32 chunk) {
    return row * D + (chunk ^ (D == 32 ? row / 2 % 4 : row % 8)) * 8;
}

// Begins to copy up to ROWS rows of D numbers, whole sixteens of them as far as the text goes, zeros past its end.
template <u32 D, u32 ROWS> __device__ inline void fetch(bf16* to, const bf16* from, u32 stride, u32 first, u32 length) {
    constexpr u32 ACROSS = D / 8, STEP = THREADS / ACROSS;
    static_assert(STEP % 8 == 0, "rows so far apart turn alike");
    u32 row = threadIdx.x / ACROSS, chunk = threadIdx.x % ACROSS, left = length - first;
    to += place<D>(row, chunk);
    from += (size_t)first * stride + chunk * 8;
#pragma unroll
    for (u32 start = 0; start < ROWS; start += STEP) {
        bool real = start + row < left;
        if (start + row < (left + 15) / 16 * 16) begin_copy(to + start * D, from + (real ? start + row : 0) * stride, real);
    }
}

// Which row this lane hands over of the sixteen rows and columns at the beginning of a tile; of those `step` sixteens to the right it
// is this ^ 16 step. As an A, and transposed as two B, whose rows are the tile's:
template <u32 D> __device__ inline u32 lane_down() {
    u32 lane = threadIdx.x % WARP;
    return place<D>(lane % 16, lane / 16);
}
// As two B, whose columns are the tile's rows:
template <u32 D> __device__ inline u32 lane_across() {
    u32 lane = threadIdx.x % WARP;
    return place<D>(lane / 16 * 8 + lane % 8, lane / 8 % 2);
}

// 16 x 16 products of A's rows and sixteen rows of a tile: columns 0 to 7, and 8 to 15.
template <u32 D> __device__ inline void row_products(float (&out)[2][4], const u32 (&a)[D / 16][4], const bf16* rows, u32 across) {
#pragma unroll
    for (u32 e = 0; e < 8; e++) out[e / 4][e % 4] = 0.0f;
#pragma unroll
    for (u32 step = 0; step < D / 16; step++) {
        u32 b[4];
        load_matrices(b, rows + (across ^ 16 * step));
        multiply_add(out[0], a[step], b[0], b[1]);
        multiply_add(out[1], a[step], b[2], b[3]);
    }
}

// sums += weights times sixteen rows of a tile.
template <u32 D> __device__ inline void add_rows(float (&sums)[D / 8][4], const u32 (&weights)[4], const bf16* rows, u32 down) {
#pragma unroll
    for (u32 step = 0; step < D / 16; step++) {
        u32 b[4];
        load_transposed(b, rows + (down ^ 16 * step));
        multiply_add(sums[2 * step], weights, b[0], b[1]);
        multiply_add(sums[2 * step + 1], weights, b[2], b[3]);
    }
}

template <u32 D> __device__ inline void clear(float (&sums)[D / 8][4]) {
#pragma unroll
    for (u32 e = 0; e < D / 2; e++) sums[e / 4][e % 4] = 0.0f;
}

// The sum over the four lanes that share rows.
__device__ inline float row_sum(float x) {
    x += __shfl_xor_sync(0xffffffffu, x, 1);
    return x + __shfl_xor_sync(0xffffffffu, x, 2);
}

// Sixteen rows, times a factor each half, to device memory as far as the text goes; `own` is shared memory of this warp alone.
template <u32 D>
__device__ inline void write_sums(const float (&sums)[D / 8][4], float factor, float lower, bf16* own, bf16* to, size_t stride,
                                  u32 first, u32 length) {
    u32 lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
    __syncwarp();
#pragma unroll
    for (u32 n = 0; n < D / 8; n++) {
        *reinterpret_cast<u32*>(own + place<D>(g, n) + 2 * t) = pair(sums[n][0] * factor, sums[n][1] * factor);
        *reinterpret_cast<u32*>(own + place<D>(g + 8, n) + 2 * t) = pair(sums[n][2] * lower, sums[n][3] * lower);
    }
    __syncwarp();
#pragma unroll
    for (u32 i = lane; i < 2 * D; i += WARP) {
        u32 row = i / (D / 8), chunk = i % (D / 8);
        if (first + row < length) store_pack(to + (first + row) * stride + chunk * 8, load_pack(own + place<D>(row, chunk)));
    }
}

template <u32 D>
__device__ void flash_forward(const bf16* qkv, const u32* offsets, const u32* tiles, bf16* out, float* lse, u32 tokens,
                              u32 width, float scale, Drop drop) {
    constexpr u32 OWN = Flash<D>::OWN, KEYS = Flash<D>::KEYS;
    bf16* own = reinterpret_cast<bf16*>(dynamic_shared);
    bf16* stages = own + OWN * D; // twice keys and values
    Text text = text_of(offsets, tiles);
    u32 head = blockIdx.y, lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
    u32 mine = threadIdx.x / WARP * 16, first = text.first + mine, down = lane_down<D>(), across = lane_across<D>();
    bool works = first < text.length;
    const bf16* base = qkv + (size_t)text.start * 3 * width + head * D;
    auto fetch_keys = [&](u32 stage, u32 j0) {
        bf16* to = stages + stage * 2 * KEYS * D;
        fetch<D, KEYS>(to, base + width, 3 * width, j0, text.length);
        fetch<D, KEYS>(to + KEYS * D, base + 2 * width, 3 * width, j0, text.length);
    };
    fetch<D, OWN>(own, base, 3 * width, text.first, text.length);
    fetch_keys(0, 0);
    float factor = scale * LOG2E, sums[D / 8][4], highest[2], sum[2] = {0.0f, 0.0f};
    clear<D>(sums);
    u32 queries[D / 16][4], key[2];
#pragma unroll
    for (u32 r = 0; r < 2; r++) {
        u32 i = first + g + 8 * r;
        highest[r] = -INFINITY;
        key[r] = drop.keys && i < text.length ? row_key(drop, text.start + i) : 0;
    }
    for (u32 j0 = 0, stage = 0; j0 < text.length; j0 += KEYS, stage ^= 1) {
        copies_arrive();
        __syncthreads(); // the tile is there for all, and nobody still reads the one before
        if (j0 + KEYS < text.length) fetch_keys(stage ^ 1, j0 + KEYS);
        if (!works) continue;
        if (j0 == 0) {
#pragma unroll
            for (u32 step = 0; step < D / 16; step++) load_matrices(queries[step], own + mine * D + (down ^ 16 * step));
        }
        const bf16* keys = stages + stage * 2 * KEYS * D;
        u32 left = text.length - j0;
        float s[KEYS / 16][2][4], top[2] = {highest[0], highest[1]};
#pragma unroll
        for (u32 n = 0; n < KEYS / 16; n++) {
            if (n * 16 >= left) continue;
            row_products<D>(s[n], queries, keys + n * 16 * D, across);
            if (n * 16 + 16 > left) {
#pragma unroll
                for (u32 e = 0; e < 8; e++) {
                    if (n * 16 + e / 4 * 8 + 2 * t + e % 2 >= left) s[n][e / 4][e % 4] = -INFINITY;
                }
            }
#pragma unroll
            for (u32 e = 0; e < 8; e++) top[e / 2 % 2] = fmaxf(top[e / 2 % 2], s[n][e / 4][e % 4]);
        }
        float shift[2];
#pragma unroll
        for (u32 r = 0; r < 2; r++) {
            top[r] = fmaxf(top[r], __shfl_xor_sync(0xffffffffu, top[r], 1));
            top[r] = fmaxf(top[r], __shfl_xor_sync(0xffffffffu, top[r], 2));
            shift[r] = top[r] * factor;
            float shrink = power_of_two(highest[r] * factor - shift[r]);
            highest[r] = top[r];
            sum[r] *= shrink;
#pragma unroll
            for (u32 n = 0; n < D / 8; n++) {
                sums[n][2 * r] *= shrink;
                sums[n][2 * r + 1] *= shrink;
            }
        }
#pragma unroll
        for (u32 n = 0; n < KEYS / 16; n++) {
            if (n * 16 >= left) continue;
            float p[8];
#pragma unroll
            for (u32 e = 0; e < 8; e++) {
                u32 r = e / 2 % 2;
                p[e] = power_of_two(s[n][e / 4][e % 4] * factor - shift[r]);
                sum[r] += p[e];
            }
            if (drop.keys) {
#pragma unroll
                for (u32 e = 0; e < 8; e++) {
                    u32 j = j0 + n * 16 + e / 4 * 8 + 2 * t + e % 2;
                    p[e] *= keep_factor(drop, key[e / 2 % 2], (head << 16) ^ j);
                }
            }
            u32 weights[4] = {pair(p[0], p[1]), pair(p[2], p[3]), pair(p[4], p[5]), pair(p[6], p[7])};
            add_rows<D>(sums, weights, keys + KEYS * D + n * 16 * D, down);
        }
    }
    if (!works) return;
#pragma unroll
    for (u32 r = 0; r < 2; r++) {
        u32 i = first + g + 8 * r;
        sum[r] = row_sum(sum[r]);
        if (t == 0 && i < text.length) lse[(size_t)head * tokens + text.start + i] = highest[r] * scale + logf(sum[r]);
    }
    write_sums<D>(sums, 1.0f / sum[0], 1.0f / sum[1], own + mine * D, out + (size_t)text.start * width + head * D, width, first,
                  text.length);
}

// The queries' gradient, and `delta` [heads, tokens], the sum of dout * out over a head's columns, for the keys' kernel.
template <u32 D>
__device__ void flash_queries(const bf16* qkv, const u32* offsets, const u32* tiles, const bf16* dout, const bf16* out,
                              const float* lse, float* delta, bf16* dqkv, u32 tokens, u32 width, float scale, Drop drop) {
    constexpr u32 OWN = Flash<D>::OWN, WALK = Flash<D>::WALK;
    bf16* own = reinterpret_cast<bf16*>(dynamic_shared);
    bf16* outer = own + OWN * D;
    bf16* stages = outer + OWN * D; // twice keys and values
    Text text = text_of(offsets, tiles);
    u32 head = blockIdx.y, lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
    u32 mine = threadIdx.x / WARP * 16, first = text.first + mine, down = lane_down<D>(), across = lane_across<D>();
    bool works = first < text.length;
    const bf16* base = qkv + (size_t)text.start * 3 * width + head * D;
    size_t columns = (size_t)text.start * width + head * D;
    auto fetch_keys = [&](u32 stage, u32 j0) {
        bf16* to = stages + stage * 2 * WALK * D;
        fetch<D, WALK>(to, base + width, 3 * width, j0, text.length);
        fetch<D, WALK>(to + WALK * D, base + 2 * width, 3 * width, j0, text.length);
    };
    bf16* context = stages + 2 * WALK * D; // until the second tile comes
    fetch<D, OWN>(own, base, 3 * width, text.first, text.length);
    fetch<D, OWN>(outer, dout + columns, width, text.first, text.length);
    fetch<D, OWN>(context, out + columns, width, text.first, text.length);
    fetch_keys(0, 0);
    u32 queries[D / 16][4], douts[D / 16][4], key[2];
    float along[2] = {0.0f, 0.0f}, base2[2];
    copies_arrive();
    __syncthreads();
    if (works) {
#pragma unroll
        for (u32 step = 0; step < D / 16; step++) {
            load_matrices(queries[step], own + mine * D + (down ^ 16 * step));
            load_matrices(douts[step], outer + mine * D + (down ^ 16 * step));
            u32 outs[4];
            load_matrices(outs, context + mine * D + (down ^ 16 * step));
#pragma unroll
            for (u32 e = 0; e < 4; e++) {
                along[e % 2] += low_of(douts[step][e]) * low_of(outs[e]) + high_of(douts[step][e]) * high_of(outs[e]);
            }
        }
#pragma unroll
        for (u32 r = 0; r < 2; r++) {
            u32 i = first + g + 8 * r;
            bool real = i < text.length;
            size_t at = (size_t)head * tokens + text.start + i;
            along[r] = row_sum(along[r]);
            if (real && t == 0) delta[at] = along[r];
            base2[r] = real ? lse[at] * LOG2E : INFINITY;
            key[r] = drop.keys && real ? row_key(drop, text.start + i) : 0;
        }
    }
    float factor = scale * LOG2E, sums[D / 8][4];
    clear<D>(sums);
    for (u32 j0 = 0, stage = 0; j0 < text.length; j0 += WALK, stage ^= 1) {
        copies_arrive();
        __syncthreads();
        if (j0 + WALK < text.length) fetch_keys(stage ^ 1, j0 + WALK);
        if (!works) continue;
        const bf16* keys = stages + stage * 2 * WALK * D;
        u32 left = text.length - j0;
#pragma unroll
        for (u32 n = 0; n < WALK / 16; n++) {
            if (n * 16 >= left) continue;
            float s[2][4], dp[2][4], ds[8];
            row_products<D>(s, queries, keys + n * 16 * D, across);
            row_products<D>(dp, douts, keys + WALK * D + n * 16 * D, across);
#pragma unroll
            for (u32 e = 0; e < 8; e++) {
                u32 r = e / 2 % 2, column = n * 16 + e / 4 * 8 + 2 * t + e % 2;
                float p = power_of_two(s[e / 4][e % 4] * factor - base2[r]), d = dp[e / 4][e % 4];
                if (drop.keys) d *= keep_factor(drop, key[r], (head << 16) ^ (j0 + column));
                ds[e] = p * (d - along[r]);
            }
            if (n * 16 + 16 > left) {
#pragma unroll
                for (u32 e = 0; e < 8; e++) {
                    if (n * 16 + e / 4 * 8 + 2 * t + e % 2 >= left) ds[e] = 0.0f;
                }
            }
            u32 weights[4] = {pair(ds[0], ds[1]), pair(ds[2], ds[3]), pair(ds[4], ds[5]), pair(ds[6], ds[7])};
            add_rows<D>(sums, weights, keys + n * 16 * D, down);
        }
    }
    if (!works) return;
    write_sums<D>(sums, scale, scale, own + mine * D, dqkv + (size_t)text.start * 3 * width + head * D, 3 * width, first,
                  text.length);
}

// The keys' and values' gradients: the scores are computed transposed, a key a row.
template <u32 D>
__device__ void flash_keys(const bf16* qkv, const u32* offsets, const u32* tiles, const bf16* dout, const float* lse,
                           const float* delta, bf16* dqkv, u32 tokens, u32 width, float scale, Drop drop) {
    constexpr u32 OWN = Flash<D>::OWN, WALK = Flash<D>::WALK;
    bf16* own = reinterpret_cast<bf16*>(dynamic_shared);
    bf16* own_values = own + OWN * D;
    bf16* stages = own_values + OWN * D; // twice queries and rows of dout
    float* bases = reinterpret_cast<float*>(stages + 4 * WALK * D);
    float* deltas = bases + 2 * WALK;
    u32* row_keys = reinterpret_cast<u32*>(deltas + 2 * WALK);
    Text text = text_of(offsets, tiles);
    u32 head = blockIdx.y, lane = threadIdx.x % WARP, g = lane / 4, t = lane % 4;
    u32 mine = threadIdx.x / WARP * 16, first = text.first + mine, down = lane_down<D>(), across = lane_across<D>();
    bool works = first < text.length;
    const bf16* base = qkv + (size_t)text.start * 3 * width + head * D;
    const bf16* dbase = dout + (size_t)text.start * width + head * D;
    auto fetch_queries = [&](u32 stage, u32 i0) {
        bf16* to = stages + stage * 2 * WALK * D;
        fetch<D, WALK>(to, base, 3 * width, i0, text.length);
        fetch<D, WALK>(to + WALK * D, dbase, width, i0, text.length);
    };
    // The first warp brings what else is to be known of each query, a lane a query.
    float next_base = 0.0f, next_delta = 0.0f;
    u64 next_seed = 0;
    auto read_query = [&](u32 i) {
        bool real = i < text.length;
        size_t at = (size_t)head * tokens + text.start + i;
        next_base = real ? lse[at] : INFINITY; // probabilities of 0 past the end
        next_delta = real ? delta[at] : 0.0f;
        next_seed = real && drop.keys ? drop.keys[text.start + i] : 0;
    };
    auto share_query = [&](u32 stage) {
        bases[stage * WALK + lane] = next_base * LOG2E;
        deltas[stage * WALK + lane] = next_delta;
        row_keys[stage * WALK + lane] = hash_key(drop, next_seed);
    };
    fetch<D, OWN>(own, base + width, 3 * width, text.first, text.length);
    fetch<D, OWN>(own_values, base + 2 * width, 3 * width, text.first, text.length);
    fetch_queries(0, 0);
    if (threadIdx.x < WALK) {
        read_query(lane);
        share_query(0);
    }
    u32 keys[D / 16][4], values[D / 16][4];
    float factor = scale * LOG2E, dk[D / 8][4], dv[D / 8][4];
    clear<D>(dk);
    clear<D>(dv);
    for (u32 i0 = 0, stage = 0; i0 < text.length; i0 += WALK, stage ^= 1) {
        copies_arrive();
        __syncthreads();
        bool more = i0 + WALK < text.length;
        if (more) fetch_queries(stage ^ 1, i0 + WALK);
        if (more && threadIdx.x < WALK) read_query(i0 + WALK + lane);
        if (works && i0 == 0) {
#pragma unroll
            for (u32 step = 0; step < D / 16; step++) {
                load_matrices(keys[step], own + mine * D + (down ^ 16 * step));
                load_matrices(values[step], own_values + mine * D + (down ^ 16 * step));
            }
        }
        const bf16* queries = stages + stage * 2 * WALK * D;
        u32 left = text.length - i0;
#pragma unroll
        for (u32 n = 0; n < WALK / 16; n++) {
            if (!works || n * 16 >= left) continue;
            float s[2][4], dp[2][4], p[8], ds[8];
            row_products<D>(s, keys, queries + n * 16 * D, across);
            row_products<D>(dp, values, queries + WALK * D + n * 16 * D, across);
#pragma unroll
            for (u32 e = 0; e < 8; e++) {
                u32 column = stage * WALK + n * 16 + e / 4 * 8 + 2 * t + e % 2;
                float weight = power_of_two(s[e / 4][e % 4] * factor - bases[column]), d = dp[e / 4][e % 4];
                float kept = drop.keys ? keep_factor(drop, row_keys[column], (head << 16) ^ (first + g + e / 2 % 2 * 8)) : 1.0f;
                p[e] = weight * kept;
                ds[e] = weight * (d * kept - deltas[column]);
            }
            u32 weights[4] = {pair(p[0], p[1]), pair(p[2], p[3]), pair(p[4], p[5]), pair(p[6], p[7])};
            add_rows<D>(dv, weights, queries + WALK * D + n * 16 * D, down);
            u32 dscores[4] = {pair(ds[0], ds[1]), pair(ds[2], ds[3]), pair(ds[4], ds[5]), pair(ds[6], ds[7])};
            add_rows<D>(dk, dscores, queries + n * 16 * D, down);
        }
        if (more && threadIdx.x < WALK) share_query(stage ^ 1);
    }
    if (!works) return;
    bf16* to = dqkv + (size_t)text.start * 3 * width + head * D;
    write_sums<D>(dk, scale, scale, own + mine * D, to + width, 3 * width, first, text.length);
    write_sums<D>(dv, 1.0f, 1.0f, own_values + mine * D, to + 2 * width, 3 * width, first, text.length);
}

#define FLASH(D)                                                                                                       \
    extern "C" __global__ void __launch_bounds__(THREADS) flash_forward_##D##_bf16(                                    \
        const bf16* qkv, const u32* offsets, const u32* tiles, bf16* out, float* lse, u32 tokens, u32 width,           \
        float scale, const u64* keys, u64 key, u32 threshold, float keep) {                                            \
        flash_forward<D>(qkv, offsets, tiles, out, lse, tokens, width, scale, Drop{keys, key, threshold, keep});       \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(THREADS) flash_queries_##D##_bf16(                                    \
        const bf16* qkv, const u32* offsets, const u32* tiles, const bf16* dout, const bf16* out, const float* lse,    \
        float* delta, bf16* dqkv, u32 tokens, u32 width, float scale, const u64* keys, u64 key, u32 threshold,         \
        float keep) {                                                                                                  \
        flash_queries<D>(qkv, offsets, tiles, dout, out, lse, delta, dqkv, tokens, width, scale,                       \
                         Drop{keys, key, threshold, keep});                                                            \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(THREADS) flash_keys_##D##_bf16(                                       \
        const bf16* qkv, const u32* offsets, const u32* tiles, const bf16* dout, const float* lse, const float* delta, \
        bf16* dqkv, u32 tokens, u32 width, float scale, const u64* keys, u64 key, u32 threshold, float keep) {         \
        flash_keys<D>(qkv, offsets, tiles, dout, lse, delta, dqkv, tokens, width, scale,                               \
                      Drop{keys, key, threshold, keep});                                                               \
    }
FLASH(32)
FLASH(64)
FLASH(128)
#undef FLASH
