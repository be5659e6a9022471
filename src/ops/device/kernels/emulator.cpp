// Runs kernels on the CPU, for tests on machines without a GPU.
//
// stdin: name, grid x, grid y, threads, shared bytes, number of arguments (all u64; the name as length and bytes); then
// each argument: kind 0 (a number, 8 bytes), 1 (a buffer: length, bytes), 2 (pointers: number of buffers, each a
// buffer). stdout: every buffer in order, as it is afterwards. One request a process.
//
// Every launch runs in several orders of its blocks and threads, and ends with an error where the order changes a byte: then
// a barrier is missing, or two threads write to one place.
#define POLYMIX_EMULATOR
#include "kernels.cu"

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <string>
#include <ucontext.h>
#include <vector>

Dim threadIdx, blockIdx, blockDim, gridDim;
unsigned char* dynamic_shared;

namespace {
struct Barrier {
    unsigned size, arrived = 0, generation = 0;
};
struct Thread {
    ucontext_t context;
    std::vector<char> stack;
    unsigned index;
    bool done;
};
ucontext_t scheduler;
std::vector<Thread> threads;
Thread* current;
Barrier block_barrier;
std::vector<Barrier> warp_barriers;
std::vector<float> lanes;
std::function<void()> body;

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
        }
        // A barrier that some threads never reach would hang on a GPU; here it ends.
        if (++idle > 100000) fprintf(stderr, "threads wait at a barrier for ever\n"), exit(3);
    }
}

struct Argument {
    u64 number = 0;
    std::vector<std::vector<unsigned char>> buffers;
    std::vector<u64> pointers;
    int kind;
};
std::vector<Argument> arguments;

template <class T> T take(size_t index) {
    Argument& a = arguments[index];
    T value;
    u64 raw = a.number;
    if (a.kind == 1) raw = a.buffers[0].empty() ? 0 : (u64)a.buffers[0].data();
    if (a.kind == 2) raw = (u64)a.pointers.data();
    memcpy(&value, &raw, sizeof(T));
    return value;
}

template <class... A, size_t... I> void call(void (*kernel)(A...), std::index_sequence<I...>) {
    kernel(take<A>(I)...);
}
template <class... A> std::function<void()> wrap(void (*kernel)(A...)) {
    return [kernel] {
        if (arguments.size() != sizeof...(A)) fprintf(stderr, "%zu arguments, not %zu\n", sizeof...(A), arguments.size()), exit(4);
        call(kernel, std::index_sequence_for<A...>{});
    };
}

u64 read_u64() {
    u64 value = 0;
    if (fread(&value, 8, 1, stdin) != 1) fprintf(stderr, "the request ends early\n"), exit(2);
    return value;
}
std::vector<unsigned char> read_bytes() {
    std::vector<unsigned char> bytes(read_u64());
    if (!bytes.empty() && fread(bytes.data(), bytes.size(), 1, stdin) != 1) exit(2);
    return bytes;
}
} // namespace

void __syncthreads() { wait_at(block_barrier); }
void sync_warp() { wait_at(warp_barriers[threadIdx.x / 32]); }
float exchange(float value, unsigned lane) {
    unsigned warp = threadIdx.x / 32;
    lanes[threadIdx.x] = value;
    wait_at(warp_barriers[warp]);
    float theirs = lanes[warp * 32 + lane];
    wait_at(warp_barriers[warp]);
    return theirs;
}

// Two kernels that are wrong, to know that the emulator finds such: neighbours read what no barrier says is there.
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

int main() {
#define BOTH(name) {#name "_f32", wrap(name##_f32)}, {#name "_bf16", wrap(name##_bf16)}
#define HEADS(T, D)                                                                   \
    {"attention_forward_" #D "_" #T, wrap(attention_forward_##D##_##T)},              \
        {"attention_queries_" #D "_" #T, wrap(attention_queries_##D##_##T)},          \
        {"attention_keys_" #D "_" #T, wrap(attention_keys_##D##_##T)}
    std::map<std::string, std::function<void()>> kernels = {
        BOTH(add_norm), BOTH(add_norm_backward), BOTH(column_sums), {"sum_chunks", wrap(sum_chunks)},
        BOTH(add_bias), BOTH(bias_gelu), BOTH(gelu_backward), BOTH(dropout),
        BOTH(embed), BOTH(scatter_rows), BOTH(pool), BOTH(pool_backward), {"cross_entropy", wrap(cross_entropy)},
        {"squares", wrap(squares)}, {"adamw", wrap(adamw)}, BOTH(attention_delta),
        {"without_barrier", wrap(without_barrier)}, {"without_warp_barrier", wrap(without_warp_barrier)},
        HEADS(f32, 32), HEADS(f32, 64), HEADS(bf16, 32), HEADS(bf16, 64), HEADS(bf16, 128),
    };
    std::vector<unsigned char> name = read_bytes();
    auto kernel = kernels.find(std::string(name.begin(), name.end()));
    if (kernel == kernels.end()) return fprintf(stderr, "no such kernel\n"), 5;
    body = kernel->second;
    gridDim = {(unsigned)read_u64(), (unsigned)read_u64(), 1};
    blockDim.x = read_u64();
    u64 shared = read_u64();
    std::vector<u64> shared_memory(shared / 8 + 1);
    dynamic_shared = (unsigned char*)shared_memory.data();
    arguments.resize(read_u64());
    for (Argument& a : arguments) {
        a.kind = read_u64();
        if (a.kind == 0) a.number = read_u64();
        else for (u64 n = a.kind == 1 ? 1 : read_u64(); n > 0; n--) a.buffers.push_back(read_bytes());
    }
    for (Argument& a : arguments) {
        for (auto& buffer : a.buffers) a.pointers.push_back((u64)buffer.data());
    }
    threads.resize(blockDim.x);
    for (unsigned i = 0; i < blockDim.x; i++) {
        threads[i].index = i;
        threads[i].stack.resize(256 * 1024);
    }
    auto each_buffer = [&](auto use) {
        for (Argument& a : arguments) {
            for (auto& buffer : a.buffers) use(buffer);
        }
    };
    std::vector<std::vector<unsigned char>> before, first;
    each_buffer([&](auto& buffer) { before.push_back(buffer); });
    for (order = 0; order < ORDERS; order++) {
        state = order;
        size_t next = 0;
        // In place: the arguments hold pointers into them.
        each_buffer([&](auto& buffer) { std::copy(before[next].begin(), before[next].end(), buffer.begin()), next++; });
        for (unsigned block : arranged(gridDim.x * gridDim.y)) {
            blockIdx = {block % gridDim.x, block / gridDim.x, 0};
            std::fill(shared_memory.begin(), shared_memory.end(), 0x7fc07fc07fc07fc0ull); // NaN where nothing was written
            run_block(blockDim.x);
        }
        next = 0;
        each_buffer([&](auto& buffer) {
            if (order == 0) first.push_back(buffer);
            else if (buffer != first[next]) fprintf(stderr, "the result depends on the order of threads or blocks\n"), exit(6);
            next++;
        });
    }
    for (auto& buffer : first) fwrite(buffer.data(), 1, buffer.size(), stdout);
    return 0;
}
