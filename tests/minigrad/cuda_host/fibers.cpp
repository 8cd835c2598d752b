// A GPU for tests: the threads of one cluster after the other as fibers of one thread of the system.
//
// A fiber runs until it waits at a barrier, and a block as far as it gets without the others of its cluster; fibers and
// blocks take turns in the order of `order` (0: ascending, 1: descending, otherwise: shuffled after every barrier of the
// cluster, with this seed). Where a kernel is right the order changes nothing. What a kernel must not do ends the launch with a message: threads of a block that wait at different barriers, or end while
// others wait; a store into a block that has ended, or outside of shared memory; writing behind shared memory.
// Shared memory begins as NaN.
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include <memory>
#include <vector>

struct Index {
    unsigned x, y, z;
};

extern "C" {
Index host_thread, host_block;
float* host_shared;
int host_rank;
}

namespace {

constexpr size_t STACK = 32 * 1024;
constexpr int GUARD = 64;  // floats behind shared memory that nobody may write
constexpr uint32_t MARK = 0x7fc0beef;  // a NaN

enum State { READY, AT_BLOCK_BARRIER, AT_CLUSTER_BARRIER, ENDED };

struct Fiber {
    ucontext_t context;
    jmp_buf here;
    std::unique_ptr<char[]> stack;
    Index thread;
    int rank;
    State state;
    bool begun, arrived;
};

std::vector<Fiber> fibers;
std::vector<std::vector<float>> shared;
Fiber* current;
jmp_buf scheduler;
ucontext_t unused;
char message[256];
void (*entry)(void**);
void** entry_arguments;
int shared_floats;

void fail(const char* text) {
    if (!message[0]) snprintf(message, sizeof message, "%s (block %u of the cluster, thread %u)", text, current->rank, current->thread.x);
    current->state = ENDED;
    _longjmp(scheduler, 1);
}

void wait(State state) {
    current->state = state;
    if (!_setjmp(current->here)) _longjmp(scheduler, 1);
}

void body() {
    entry(entry_arguments);
    current->state = ENDED;
    _longjmp(scheduler, 1);
}

void resume(Fiber& fiber, Index first) {
    current = &fiber;
    host_thread = fiber.thread;
    host_block = {first.x + fiber.rank, first.y, first.z};
    host_rank = fiber.rank;
    host_shared = shared[fiber.rank].data();
    if (_setjmp(scheduler)) return;
    if (fiber.begun) _longjmp(fiber.here, 1);
    fiber.begun = true;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = STACK;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, body, 0);
    swapcontext(&unused, &fiber.context);
}

int in_state(State state, int first, int last) {
    int found = 0;
    for (int i = first; i < last; ++i) found += fibers[i].state == state;
    return found;
}

// Let a block run as far as it gets without the others.
void run_block(const std::vector<int>& turns, int rank, int threads, Index place) {
    int first = rank * threads;
    for (;;) {
        for (int turn : turns) {
            if (fibers[first + turn].state == READY) resume(fibers[first + turn], place);
            if (message[0]) return;
        }
        if (in_state(AT_BLOCK_BARRIER, first, first + threads) < threads) return;
        for (int i = first; i < first + threads; ++i) fibers[i].state = READY;
    }
}

}  // namespace

extern "C" {

void host_block_barrier() { wait(AT_BLOCK_BARRIER); }

void host_cluster_arrive() {
    if (current->arrived) fail("a thread arrives twice at the cluster's barrier");
    current->arrived = true;
}

void host_cluster_wait() {
    if (!current->arrived) fail("a thread waits at the cluster's barrier without having arrived");
    wait(AT_CLUSTER_BARRIER);
}

void host_store_to(int rank, float* place, float value) {
    long offset = place - host_shared;
    if (rank < 0 || rank >= static_cast<int>(shared.size())) fail("a store into a block that is not there");
    if (offset < 0 || offset >= shared_floats) fail("a store outside of shared memory");
    size_t threads = fibers.size() / shared.size();
    for (size_t i = 0; i < threads; ++i)
        if (fibers[rank * threads + i].state == ENDED) fail("a store into a block that has ended");
    shared[rank][offset] = value;
}

// Run a grid of [x, y, z] blocks, of which `cluster` along x belong together; null, or what went wrong.
const char* host_launch(
    void (*kernel)(void**), void** arguments, int x, int y, int z, int cluster, int threads, int shared_bytes, int order
) {
    entry = kernel;
    entry_arguments = arguments;
    message[0] = 0;
    shared_floats = (shared_bytes + 3) / 4;
    shared.assign(cluster, {});
    fibers.resize(cluster * threads);
    for (Fiber& fiber : fibers)
        if (!fiber.stack) fiber.stack.reset(new char[STACK]);
    std::vector<int> turns(threads), blocks(cluster);
    for (int i = 0; i < threads; ++i) turns[i] = order == 1 ? threads - 1 - i : i;
    for (int i = 0; i < cluster; ++i) blocks[i] = order == 1 ? cluster - 1 - i : i;
    uint32_t random = order;
    auto shuffle = [&](std::vector<int>& numbers) {
        for (size_t i = numbers.size() - 1; i > 0; --i) {
            random = random * 1664525u + 1013904223u;
            std::swap(numbers[i], numbers[(random >> 8) % (i + 1)]);
        }
    };
    for (int number = 0; number < x / cluster * y * z; ++number) {
        Index first{
            static_cast<unsigned>(number % (x / cluster) * cluster), static_cast<unsigned>(number / (x / cluster) % y),
            static_cast<unsigned>(number / (x / cluster * y))
        };
        for (auto& of_block : shared) {
            of_block.assign(shared_floats + GUARD, __builtin_nanf(""));
            for (int i = 0; i < GUARD; ++i) memcpy(&of_block[shared_floats + i], &MARK, sizeof MARK);
        }
        for (size_t i = 0; i < fibers.size(); ++i) {
            fibers[i].rank = i / threads;
            fibers[i].thread = {static_cast<unsigned>(i % threads), 0, 0};
            fibers[i].state = READY;
            fibers[i].begun = fibers[i].arrived = false;
        }
        do {
            if (order > 1) {
                shuffle(turns);
                shuffle(blocks);
            }
            for (Fiber& fiber : fibers)
                if (fiber.state == AT_CLUSTER_BARRIER) {
                    fiber.state = READY;
                    fiber.arrived = false;
                }
            for (int rank : blocks) {
                run_block(turns, rank, threads, first);
                if (message[0]) return message;
            }
        } while (in_state(AT_CLUSTER_BARRIER, 0, cluster * threads) == cluster * threads);
        for (Fiber& fiber : fibers)
            if (fiber.state != ENDED) {
                snprintf(
                    message, sizeof message, "thread %u of block %d waits at a barrier that others of its %s miss",
                    fiber.thread.x, fiber.rank, fiber.state == AT_BLOCK_BARRIER ? "block" : "cluster"
                );
                return message;
            }
        for (auto& of_block : shared)
            for (int i = 0; i < GUARD; ++i)
                if (memcmp(&of_block[shared_floats + i], &MARK, sizeof MARK)) return "a write behind shared memory";
    }
    return nullptr;
}
}
