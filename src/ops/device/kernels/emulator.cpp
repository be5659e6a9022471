// Runs kernels on the CPU, for tests on machines without a GPU.
//
// stdin: name, grid x, grid y, threads, shared bytes, number of arguments (all u64; the name as length and bytes); then
// each argument: its kind as below, then nothing for null, 8 bytes of a number, a buffer, or the number of buffers and each. A
// buffer: type of its elements, how far its address lies behind a multiple of 256, length, bytes. stdout: every buffer in order, as
// it is afterwards. One request a process.
//
// Every launch runs in several orders of its blocks and threads, and ends with an error where the order changes a byte: then
// a barrier is missing, or two threads write to one place. Around each buffer and behind the shared memory lies a margin that is filled
// otherwise for each order: what is written there is found, and so is what is read there and changes a result. Addresses, the launch's
// size and the arguments' types are those of a GPU.
#define POLYMIX_EMULATOR
#include "kernels.cu"

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <string>
#include <type_traits>
#include <ucontext.h>
#include <vector>

Dim threadIdx, blockIdx, blockDim, gridDim;
unsigned char* dynamic_shared;

namespace {
template <class... T> [[noreturn]] void refuse(int status, const char* format, T... values) {
    fprintf(stderr, format, values...);
    _Exit(status); // without destructors: a thread's stack is among what they would free
}

struct Barrier {
    unsigned size, arrived = 0, generation = 0;
};
struct Copy {
    bf16* to;
    const bf16* from;
    bool real;
};
struct Thread {
    std::vector<Copy> copies; // begun and not made
    ucontext_t context;
    std::vector<char> stack;
    unsigned index;
    bool done;
};
// What the lanes of a warp hand over to an instruction that they do together, and what they get.
struct Lane {
    int instruction;
    const bf16* row;
    u32 a[4], b[2], loaded[4];
    float c[4];
};
ucontext_t scheduler;
std::vector<Thread> threads;
Thread* current;
Barrier block_barrier;
std::vector<Barrier> warp_barriers;
std::vector<float> lanes;
std::vector<Lane> handed;
std::function<void()> body;
size_t shared_size;

void yield() { swapcontext(&current->context, &scheduler); }

void wait_at(Barrier& barrier) {
    unsigned mine = barrier.generation;
    if (++barrier.arrived == barrier.size) {
        barrier.arrived = 0;
        barrier.generation++;
        return;
    }
    while (barrier.generation == mine) yield();
}

void entry() {
    body();
    current->done = true;
    yield();
}

// One order of running: as they are numbered, backwards, or shuffled anew each time.
unsigned order = 0;
constexpr unsigned ORDERS = 4;
u32 state;
u32 random_number() { return state = state * 1664525u + 1013904223u; }
std::vector<unsigned> arranged(unsigned count) {
    std::vector<unsigned> numbers(count);
    for (unsigned i = 0; i < count; i++) numbers[i] = order == 1 ? count - 1 - i : i;
    for (unsigned i = count; order > 1 && i > 1; i--) std::swap(numbers[i - 1], numbers[(random_number() >> 8) % i]);
    return numbers;
}

void run_block(unsigned count) {
    block_barrier = {count};
    warp_barriers.assign((count + 31) / 32, {});
    for (unsigned w = 0; w < warp_barriers.size(); w++) warp_barriers[w].size = std::min(32u, count - 32 * w);
    lanes.assign(count, 0.0f);
    handed.assign(count, {});
    for (Thread& thread : threads) {
        getcontext(&thread.context);
        thread.context.uc_stack.ss_sp = thread.stack.data();
        thread.context.uc_stack.ss_size = thread.stack.size();
        thread.context.uc_link = nullptr;
        thread.done = false;
        makecontext(&thread.context, entry, 0);
    }
    for (unsigned left = count, idle = 0; left > 0;) {
        for (unsigned index : arranged(count)) {
            Thread& thread = threads[index];
            if (thread.done) continue;
            current = &thread;
            threadIdx.x = thread.index;
            swapcontext(&scheduler, &thread.context);
            if (thread.done) left--, idle = 0;
            if (thread.done && !thread.copies.empty()) refuse(10, "a thread ends while its copies are under way\n");
        }
        // A barrier that some threads never reach would hang on a GPU; here it ends.
        if (++idle > 100000) refuse(3, "threads wait at a barrier for ever\n");
    }
}

// What lies around memory that a launch may use, in every order something else: NaN, zero, 0.5 as f32 and bf16.
constexpr size_t MARGIN = 256;
u32 margin() { return order == 1 ? 0 : order == 2 ? 0x3f003f00 : 0x7fc07fc0; }

// Bytes between two margins, `shift` behind a multiple of 256.
struct Memory {
    std::vector<unsigned char> all;
    size_t begin = 0, size = 0;
    void make(size_t shift, size_t bytes) {
        size = bytes;
        all.resize(shift + size + 2 * MARGIN + 512);
        begin = (256 - (size_t)all.data() % 256) % 256 + MARGIN + shift;
    }
    unsigned char* data() { return all.data() + begin; }
    void surround() {
        for (size_t i = 0; i < all.size(); i++) {
            if (i < begin || i >= begin + size) all[i] = margin() >> (8 * (i % 4));
        }
    }
    bool is_surrounded() const {
        for (size_t i = 0; i < all.size(); i++) {
            if ((i < begin || i >= begin + size) && all[i] != (unsigned char)(margin() >> (8 * (i % 4)))) return false;
        }
        return true;
    }
};

enum Kind { NOTHING, BUFFER, POINTERS, NUMBER32, NUMBER64, FLOAT };
struct Buffer {
    Memory memory;
    u64 type;
    std::vector<unsigned char> before, after; // after the first order
};
struct Argument {
    u64 number = 0, kind;
    std::vector<Buffer> buffers;
    std::vector<u64> pointers;
};
std::vector<Argument> arguments;

// The numbers by which `emulator.rs` calls the types of elements.
template <class T> struct Element;
template <> struct Element<float> { static constexpr u64 TYPE = 1; };
template <> struct Element<bf16> { static constexpr u64 TYPE = 2; };
template <> struct Element<u32> { static constexpr u64 TYPE = 3; };
template <> struct Element<u64> { static constexpr u64 TYPE = 4; };
template <> struct Element<double> { static constexpr u64 TYPE = 5; };

// An argument, which must be what the kernel takes: a GPU reads as many bytes as the parameter has, whatever is there.
template <class T> T take(size_t index) {
    Argument& a = arguments[index];
    T value{};
    bool fits;
    if constexpr (std::is_pointer_v<T>) {
        typedef std::remove_const_t<std::remove_pointer_t<T>> E;
        fits = a.kind == NOTHING || (a.kind == POINTERS && std::is_same_v<E, u64>) ||
               (a.kind == BUFFER && a.buffers[0].type == Element<E>::TYPE);
        if (a.kind == BUFFER) value = (T)a.buffers[0].memory.data();
        if (a.kind == POINTERS) value = (T)a.pointers.data();
    } else {
        fits = a.kind == (std::is_same_v<T, float> ? FLOAT : sizeof(T) == 8 ? NUMBER64 : NUMBER32);
        memcpy(&value, &a.number, sizeof(T));
    }
    if (!fits) refuse(4, "argument %zu has another type than the kernel's parameter\n", index);
    return value;
}

template <class... A, size_t... I> void call(void (*kernel)(A...), std::index_sequence<I...>) {
    kernel(take<A>(I)...);
}
template <class... A> std::function<void()> wrap(void (*kernel)(A...)) {
    return [kernel] {
        if (arguments.size() != sizeof...(A)) refuse(4, "%zu arguments, not %zu\n", sizeof...(A), arguments.size());
        call(kernel, std::index_sequence_for<A...>{});
    };
}

u64 read_u64() {
    u64 value = 0;
    if (fread(&value, 8, 1, stdin) != 1) refuse(2, "the request ends early\n");
    return value;
}
std::vector<unsigned char> read_bytes() {
    std::vector<unsigned char> bytes(read_u64());
    if (!bytes.empty() && fread(bytes.data(), bytes.size(), 1, stdin) != 1) refuse(2, "the request ends early\n");
    return bytes;
}
void read_buffer(Argument& a) {
    Buffer& buffer = a.buffers.emplace_back();
    buffer.type = read_u64();
    u64 shift = read_u64();
    buffer.before = read_bytes();
    buffer.memory.make(shift % 256, buffer.before.size());
}
} // namespace

void __syncthreads() { wait_at(block_barrier); }
void check_aligned(const void* address, unsigned bytes) {
    if ((size_t)address % bytes) refuse(7, "an access that must be aligned to %u bytes is not\n", bytes);
}
void sync_warp() { wait_at(warp_barriers[threadIdx.x / 32]); }
float exchange(float value, unsigned lane) {
    unsigned warp = threadIdx.x / 32;
    lanes[threadIdx.x] = value;
    wait_at(warp_barriers[warp]);
    float theirs = lanes[warp * 32 + lane];
    wait_at(warp_barriers[warp]);
    return theirs;
}

namespace {
template <class F> void together(int instruction, F run) {
    unsigned warp = threadIdx.x / 32;
    Barrier& barrier = warp_barriers[warp];
    handed[threadIdx.x].instruction = instruction;
    if (barrier.arrived + 1 == barrier.size) {
        Lane* all = &handed[warp * 32];
        for (unsigned l = 0; l < 32; l++) {
            if (barrier.size != 32 || all[l].instruction != instruction) refuse(11, "not all lanes of a warp do the same\n");
        }
        run(all);
    }
    wait_at(barrier);
}

// One of two bf16 in a register.
float half_of(u32 bits, int which) { return __uint_as_float(which ? bits & 0xffff0000u : bits << 16); }

// ldmatrix: eight lanes a matrix hand over its rows' addresses.
void load_four(u32 (&to)[4], const bf16* row, bool transposed) {
    check_aligned(row, 16);
    const unsigned char* byte = (const unsigned char*)row;
    if (byte < dynamic_shared || byte + 16 > dynamic_shared + shared_size) refuse(9, "a matrix beyond the shared memory\n");
    Lane& mine = handed[threadIdx.x];
    mine.row = row;
    together(transposed ? 1 : 2, [&](Lane* all) {
        for (int m = 0; m < 4; m++) {
            unsigned banks = 0;
            for (int r = 0; r < 8; r++) banks |= 1u << ((size_t)all[8 * m + r].row / 16 % 8);
            if (banks != 0xff) refuse(12, "rows of a matrix lie in the same banks\n");
            for (int l = 0; l < 32; l++) {
                int group = l / 4, first = l % 4 * 2;
                bf16 low = transposed ? all[8 * m + first].row[group] : all[8 * m + group].row[first];
                bf16 high = transposed ? all[8 * m + first + 1].row[group] : all[8 * m + group].row[first + 1];
                all[l].loaded[m] = low.bits | (u32)high.bits << 16;
            }
        }
    });
    std::copy(mine.loaded, mine.loaded + 4, to);
}

void make(const Copy& copy) {
    if (copy.real) memcpy(copy.to, copy.from, 16);
    else memset(copy.to, 0, 16);
}
} // namespace

void load_matrices(u32 (&to)[4], const bf16* row) { load_four(to, row, false); }
void load_transposed(u32 (&to)[4], const bf16* row) { load_four(to, row, true); }

// mma.m16n8k16: every element of A, B and C from the lane and register that hold it.
void multiply_add(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    Lane& mine = handed[threadIdx.x];
    std::copy(a, a + 4, mine.a);
    std::copy(c, c + 4, mine.c);
    mine.b[0] = b0, mine.b[1] = b1;
    together(3, [](Lane* all) {
        float left[16][16], right[16][8];
        for (int l = 0; l < 32; l++) {
            int group = l / 4, in_group = l % 4;
            for (int i = 0; i < 8; i++) {
                int row = i < 2 || (i >= 4 && i < 6) ? group : group + 8;
                int column = in_group * 2 + (i & 1) + (i >= 4 ? 8 : 0);
                left[row][column] = half_of(all[l].a[i / 2], i & 1);
            }
            for (int i = 0; i < 4; i++) {
                right[in_group * 2 + (i & 1) + (i >= 2 ? 8 : 0)][group] = half_of(all[l].b[i / 2], i & 1);
            }
        }
        for (int l = 0; l < 32; l++) {
            for (int i = 0; i < 4; i++) {
                int row = i < 2 ? l / 4 : l / 4 + 8, column = l % 4 * 2 + (i & 1);
                for (int k = 0; k < 16; k++) all[l].c[i] += left[row][k] * right[k][column];
            }
        }
    });
    std::copy(mine.c, mine.c + 4, c);
}

void begin_copy(bf16* to, const bf16* from, bool real) {
    check_aligned(to, 16);
    check_aligned(from, 16);
    Copy copy{to, from, real};
    if (order == 1 || (order > 1 && random_number() >> 31)) make(copy);
    else current->copies.push_back(copy);
}
void copies_arrive() {
    for (const Copy& copy : current->copies) make(copy);
    current->copies.clear();
}

// Kernels that are wrong, to know that the emulator finds such: neighbours read what no barrier says is there,
void without_barrier(float* out) {
    float* shared = (float*)dynamic_shared;
    shared[threadIdx.x] = threadIdx.x;
    out[threadIdx.x] = shared[(threadIdx.x + 1) % blockDim.x];
}
void without_warp_barrier(float* out) {
    float* shared = (float*)dynamic_shared;
    Tile<bf16> tile;
    tile.zero();
    tile.store(shared, 16);
    out[threadIdx.x] = shared[(threadIdx.x + 1) % 32];
}
// sixteen bytes are moved wherever they lie, a tile begins at its second number,
void unaligned_pack(float* out) {
    if (threadIdx.x == 0) store_pack(out, load_pack(out));
}
void unaligned_tile(float*) {
    Tile<bf16> tile;
    tile.zero();
    tile.store((float*)dynamic_shared + 1, 16);
}
// the number behind the last is written or read, in the argument and in shared memory,
void writes_behind(float* out) { out[threadIdx.x + 1] = threadIdx.x; }
void writes_before(float* out) { out[(int)threadIdx.x - 1] = threadIdx.x; }
void reads_behind(float* out) {
    float next = out[threadIdx.x + 1];
    __syncthreads();
    out[threadIdx.x] = fmaxf(next, 0.0f);
}
void shares_behind(float*) { ((float*)dynamic_shared)[threadIdx.x + 256] = 1.0f; }
// a copy is read before it arrived, lanes load rows that lie in the same banks, or part ways,
void without_arrival(float* out) {
    bf16* shared = (bf16*)dynamic_shared;
    begin_copy(shared + 8 * threadIdx.x, (const bf16*)out + 8 * (threadIdx.x % 4), true);
    __syncthreads();
    float first = ((float*)shared)[4 * threadIdx.x];
    copies_arrive();
    __syncthreads();
    out[threadIdx.x] = fmaxf(first, -1.0f);
}
void never_arrives(float* out) { begin_copy((bf16*)dynamic_shared, (const bf16*)out, true); }
void in_same_banks(float*) {
    u32 to[4];
    load_matrices(to, (bf16*)dynamic_shared + threadIdx.x % 4 * 64);
}
void parted_lanes(float*) {
    u32 to[4];
    if (threadIdx.x % 2) load_matrices(to, (bf16*)dynamic_shared + threadIdx.x * 8);
    else load_transposed(to, (bf16*)dynamic_shared + threadIdx.x * 8);
}
// and one that does nothing, for launches that are wrong.
void takes_wide(u64, float*) {}

// The warp's instructions by themselves. Registers in, registers out: of each lane four, two and four; sixteen bytes of shared memory a
// lane in, four registers out; and a product A [16, 16] B [16, 8] by what `mma.cuh` says of both.
void registers_of_mma(const u32* a, const u32* b, float* c) {
    u32 lane = threadIdx.x, left[4];
    float sums[4];
    std::copy(a + 4 * lane, a + 4 * lane + 4, left);
    std::copy(c + 4 * lane, c + 4 * lane + 4, sums);
    multiply_add(sums, left, b[2 * lane], b[2 * lane + 1]);
    std::copy(sums, sums + 4, c + 4 * lane);
}
void registers_of_ldmatrix(const bf16* rows, u32* plain, u32* transposed) {
    bf16* mine = (bf16*)dynamic_shared + 8 * threadIdx.x;
    share_pack(mine, load_pack(rows + 8 * threadIdx.x));
    u32 to[4];
    load_matrices(to, mine);
    std::copy(to, to + 4, plain + 4 * threadIdx.x);
    load_transposed(to, mine);
    std::copy(to, to + 4, transposed + 4 * threadIdx.x);
}

int main() {
#define BOTH(name) {#name "_f32", wrap(name##_f32)}, {#name "_bf16", wrap(name##_bf16)}
#define HEADS(T, D)                                                                   \
    {"attention_forward_" #D "_" #T, wrap(attention_forward_##D##_##T)},              \
        {"attention_queries_" #D "_" #T, wrap(attention_queries_##D##_##T)},          \
        {"attention_keys_" #D "_" #T, wrap(attention_keys_##D##_##T)}
#define FLASH_HEADS(D)                                                     \
    {"flash_forward_" #D "_bf16", wrap(flash_forward_##D##_bf16)},         \
        {"flash_queries_" #D "_bf16", wrap(flash_queries_##D##_bf16)},     \
        {"flash_keys_" #D "_bf16", wrap(flash_keys_##D##_bf16)}
    std::map<std::string, std::function<void()>> kernels = {
        BOTH(add_norm), BOTH(add_norm_backward), BOTH(column_sums), {"sum_parts", wrap(sum_parts)},
        BOTH(add_norm_24), BOTH(add_norm_32), BOTH(add_norm_backward_24), BOTH(add_norm_backward_32),
        BOTH(add_bias), BOTH(bias_gelu), BOTH(gelu_backward), BOTH(dropout),
        BOTH(embed), BOTH(scatter_rows), {"scatter_parts", wrap(scatter_parts)}, BOTH(pool), BOTH(pool_backward), {"cross_entropy", wrap(cross_entropy)},
        {"squares", wrap(squares)}, {"clip", wrap(clip)}, {"adamw", wrap(adamw)}, BOTH(attention_delta),
        {"without_barrier", wrap(without_barrier)}, {"without_warp_barrier", wrap(without_warp_barrier)},
        {"unaligned_pack", wrap(unaligned_pack)}, {"unaligned_tile", wrap(unaligned_tile)},
        {"writes_behind", wrap(writes_behind)}, {"writes_before", wrap(writes_before)},
        {"without_arrival", wrap(without_arrival)}, {"never_arrives", wrap(never_arrives)},
        {"in_same_banks", wrap(in_same_banks)}, {"parted_lanes", wrap(parted_lanes)},
        {"registers_of_mma", wrap(registers_of_mma)}, {"registers_of_ldmatrix", wrap(registers_of_ldmatrix)},
        FLASH_HEADS(32), FLASH_HEADS(64), FLASH_HEADS(128),
        {"reads_behind", wrap(reads_behind)}, {"shares_behind", wrap(shares_behind)}, {"takes_wide", wrap(takes_wide)},
        HEADS(f32, 32), HEADS(f32, 64), HEADS(bf16, 32), HEADS(bf16, 64), HEADS(bf16, 128),
    };
    std::vector<unsigned char> name = read_bytes();
    auto kernel = kernels.find(std::string(name.begin(), name.end()));
    if (kernel == kernels.end()) refuse(5, "no such kernel\n");
    body = kernel->second;
    gridDim = {(unsigned)read_u64(), (unsigned)read_u64(), 1};
    blockDim.x = read_u64();
    u64 size = read_u64();
    // What every GPU takes that the kernels run on (CUDA's programming guide, compute capabilities).
    if (blockDim.x < 1 || blockDim.x > 1024) refuse(8, "blocks of %u threads\n", blockDim.x);
    if (gridDim.x < 1 || gridDim.x > 0x7fffffff || gridDim.y < 1 || gridDim.y > 65535) {
        refuse(8, "a grid of %u by %u blocks\n", gridDim.x, gridDim.y);
    }
    if (size > 99 * 1024) refuse(8, "%llu bytes of shared memory\n", size);
    Memory shared;
    shared.make(0, size);
    dynamic_shared = shared.data();
    shared_size = size;
    arguments.resize(read_u64());
    for (Argument& a : arguments) {
        a.kind = read_u64();
        if (a.kind >= NUMBER32) a.number = read_u64();
        else for (u64 n = a.kind == POINTERS ? read_u64() : a.kind; n > 0; n--) read_buffer(a);
    }
    for (Argument& a : arguments) {
        for (Buffer& buffer : a.buffers) a.pointers.push_back((u64)buffer.memory.data());
    }
    threads.resize(blockDim.x);
    for (unsigned i = 0; i < blockDim.x; i++) {
        threads[i].index = i;
        threads[i].stack.resize(256 * 1024);
    }
    auto each_buffer = [&](auto use) {
        for (size_t a = 0; a < arguments.size(); a++) {
            for (Buffer& buffer : arguments[a].buffers) use(buffer, a);
        }
    };
    for (order = 0; order < ORDERS; order++) {
        state = order;
        // In place: the arguments hold pointers into them.
        each_buffer([&](Buffer& buffer, size_t) {
            std::copy(buffer.before.begin(), buffer.before.end(), buffer.memory.data());
            buffer.memory.surround();
        });
        shared.surround();
        for (unsigned block : arranged(gridDim.x * gridDim.y)) {
            blockIdx = {block % gridDim.x, block / gridDim.x, 0};
            for (size_t i = 0; i < size; i++) shared.data()[i] = i % 2 ? 0x7f : 0xc0; // NaN where nothing was written
            run_block(blockDim.x);
        }
        if (!shared.is_surrounded()) refuse(9, "it writes beyond its shared memory\n");
        each_buffer([&](Buffer& buffer, size_t argument) {
            if (!buffer.memory.is_surrounded()) refuse(9, "it writes beyond argument %zu\n", argument);
            std::vector<unsigned char> after(buffer.memory.data(), buffer.memory.data() + buffer.memory.size);
            if (order == 0) buffer.after = after;
            else if (after != buffer.after) {
                refuse(6, "the result depends on the order of threads or blocks, or on what lies around argument or shared memory\n");
            }
        });
    }
    each_buffer([&](Buffer& buffer, size_t) { fwrite(buffer.after.data(), 1, buffer.after.size(), stdout); });
    return 0;
}
