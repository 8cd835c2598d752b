// A recurrence over a whole sequence: what the cells share. One of two kernels comes of it:
//
// persistent  One launch runs all steps. A cluster of CLUSTER blocks has ROWS rows of the batch of one run. Each block
//             has UNITS units; the recurrent weights of their sums stay in its threads' registers, a thread with those
//             of COLUMNS sums and INNER numbers of the state. A step is
//                 partial sums of state @ weights, a thread by itself
//                 [block]    partial sums added up in the order of the state's numbers; the cell's formulas;
//                            what they give is written into the state of all blocks of the cluster
//                 [cluster]  and so on
//             where [ ] are barriers. The state is kept twice, since a block may be a product ahead of another.
// STEPWISE    One launch is one step, for states whose weights fit no registers; array code makes the product before.
//
// A row's numbers do not depend on which tile, block of rows or run it is in: every sum has one order, which H and the
// cluster fix. Nothing is added to memory that others add to.
//
// A cell is a struct with
//     SUMS        sums that a unit needs: the columns of the product are unit * SUMS + sum
//     VALUES      numbers that a unit adds to the state: the state's numbers are value * H + unit
//     LANES       states of a row, which go through the same product
//     FIRST       whether there is a product before the first step, of what `start` gives
//     LAST        whether there is one after the last step, for `finish`
//     TRANSPOSED  whether the weights are wanted [VALUES * H, SUMS * H]^T
//     Constant, Carry, Input, Output
//                 floats of a unit: those of the run (in shared memory); and of one row, those that it carries from
//                 step to step, those that a step reads from memory, and those that it writes (all in registers)
// and functions of the same names as their uses below. Pointers of a cell are to arrays [R, T, B, n H] or [R, B, n H],
// C order, and weights to [R, ...].
#pragma once

// One unit of one row of one run, and where its numbers lie.
struct Place {
    int run, row, unit;  // the row is one of the batch
    int T, B, H;

    // In an array [R, T, B, parts * H].
    INLINE long long at(int t, int parts, int part) const {
        return ((static_cast<long long>(run) * T + t) * B + row) * (parts * H) + part * H + unit;
    }
    // In an array [R, B, parts * H].
    INLINE long long at_row(int parts, int part) const {
        return (static_cast<long long>(run) * B + row) * (parts * H) + part * H + unit;
    }
    // In an array [R, parts * H].
    INLINE long long at_run(int parts, int part) const {
        return static_cast<long long>(run) * (parts * H) + part * H + unit;
    }
};

// The gradient by a state at step t that does not come through later ones, from g [R, G, B, parts * H]; where G is 1, g
// is that by the last state alone.
INLINE float direct(const float* g, const Place& p, int t, int G, int parts, int part) {
    if (G == p.T) return g[p.at(t, parts, part)];
    return t == p.T - 1 ? g[p.at_row(parts, part)] : 0.0f;
}

#ifdef STEPWISE

// One step of one run (R = 1): sums [LANES, B, SUMS * H] -> values [LANES, B, VALUES * H]; carried [B, H, .] is what
// the cell carries from step to step. `steps` itself as the step finishes the sequence.
template <class Cell>
INLINE void recur(
    const Cell& cell, const float* sums, float* values, float* carried, int step, int steps, int T, int B, int H
) {
    int index = blockIdx.x * THREADS + threadIdx.x;
    if (index >= B * H) return;
    Place place{0, index / H, index % H, T, B, H};
    float sum[Cell::LANES * Cell::SUMS], value[Cell::LANES * Cell::VALUES];
    for (int lane = 0; lane < Cell::LANES; ++lane)
        for (int j = 0; j < Cell::SUMS; ++j)
            sum[lane * Cell::SUMS + j] = sums[(lane * B + place.row) * Cell::SUMS * H + j * H + place.unit];
    auto* kept = reinterpret_cast<typename Cell::Carry*>(carried) + index;
    typename Cell::Carry carry;
    if (step == 0)
        cell.start(place, carry, value);
    else
        carry = *kept;
    if (step == steps) {
        cell.finish(place, carry, sum);
        return;
    }
    typename Cell::Output output;
    cell.step(cell.constant(place), cell.load(place, step), carry, sum, value, output);
    cell.store(place, step, output);
    *kept = carry;
    for (int lane = 0; lane < Cell::LANES; ++lane)
        for (int v = 0; v < Cell::VALUES; ++v)
            values[(lane * B + place.row) * Cell::VALUES * H + v * H + place.unit] = value[lane * Cell::VALUES + v];
}

#define KERNEL(CELL, PARAMETERS, ARGUMENTS)                                                                            \
    ENTRY program(                                                                                                     \
        PARAMETERS, const float* sums, float* values, float* carried, int step, int steps, int T, int B, int H         \
    ) {                                                                                                                \
        recur(CELL{ARGUMENTS}, sums, values, carried, step, steps, T, B, H);                                           \
    }

#else

// How the work is laid out; `minigrad.kernels.cuda.geometry` computes the same for the size of the shared memory.
template <class Cell>
struct Layout {
    static constexpr int UNITS = (HIDDEN + CLUSTER - 1) / CLUSTER;  // of a block
    static constexpr int GROUPS = (UNITS * Cell::SUMS + COLUMNS - 1) / COLUMNS;
    static constexpr int WIDTH = HIDDEN * Cell::VALUES;  // of a state
    static constexpr int SPLITS = (WIDTH + INNER - 1) / INNER;
    // Threads of a warp read the numbers of several splits at once: an odd number of 16 bytes keeps these in other banks.
    static constexpr int CHUNK = INNER / 4 % 2 ? INNER : INNER + 4;
    static constexpr int LINE = SPLITS * CHUNK;  // of a state in shared memory
    static constexpr int PITCH = (GROUPS * COLUMNS + 3) / 4 * 4;  // of a row of partial sums
    static constexpr int TALL = ROWS * Cell::LANES;  // rows of the product
    static_assert(GROUPS * SPLITS <= THREADS && ROWS * UNITS <= THREADS && INNER % 4 == 0, "this does not fit");

    // What the weights leave of 128 registers: whether what a step reads is asked for before the product of the step
    // before; rows whose sums a thread adds up at once; partial sums that it reads at once.
    static constexpr int WEIGHTS = COLUMNS * INNER;
    static constexpr bool EARLY = WEIGHTS + 2 * static_cast<int>(sizeof(typename Cell::Input)) <= 64;
    static constexpr bool ROOM = WEIGHTS <= 48;
    static constexpr int DEPTH = TALL % 4 == 0 && ROOM ? 4 : TALL % 2 == 0 ? 2 : TALL % 3 == 0 && ROOM ? 3 : 1;
    static constexpr int AT_ONCE = ROOM || Cell::SUMS == 1 ? 8 : 4;
};

// The partial sums of this thread, for all rows of the tile.
template <class Cell>
INLINE void product(const float (&weights)[INNER][COLUMNS], const float* state, float* partial, int split, int group) {
    using L = Layout<Cell>;
    const float4* numbers = reinterpret_cast<const float4*>(state + split * L::CHUNK);
    float* out = partial + split * L::TALL * L::PITCH + group * COLUMNS;
#pragma unroll 1
    for (int top = 0; top < L::TALL; top += L::DEPTH) {
        float sums[L::DEPTH][COLUMNS];
#pragma unroll
        for (int row = 0; row < L::DEPTH; ++row)
#pragma unroll
            for (int column = 0; column < COLUMNS; ++column) sums[row][column] = 0.0f;
#pragma unroll
        for (int k = 0; k < INNER; k += 4)
#pragma unroll
            for (int row = 0; row < L::DEPTH; ++row) {
                float4 four = numbers[((top + row) * L::LINE + k) / 4];
#pragma unroll
                for (int column = 0; column < COLUMNS; ++column) {
                    float sum = sums[row][column];
                    sum = fmaf(four.x, weights[k][column], sum);
                    sum = fmaf(four.y, weights[k + 1][column], sum);
                    sum = fmaf(four.z, weights[k + 2][column], sum);
                    sums[row][column] = fmaf(four.w, weights[k + 3][column], sum);
                }
            }
#pragma unroll
        for (int row = 0; row < L::DEPTH; ++row) {
            float* line = out + (top + row) * L::PITCH;
            if (COLUMNS == 4) {
                *reinterpret_cast<float4*>(line) =
                    float4{sums[row][0], sums[row][1 % COLUMNS], sums[row][2 % COLUMNS], sums[row][3 % COLUMNS]};
            } else {
#pragma unroll
                for (int column = 0; column < COLUMNS; ++column) line[column] = sums[row][column];
            }
        }
    }
}

// The sums of one unit in one row of the product: those of all splits, added up in their order.
template <class Cell>
INLINE void add_up(const float* partial, int row, int unit, float* sums) {
    using L = Layout<Cell>;
    const float* first = partial + row * L::PITCH + unit * Cell::SUMS;
    if (Cell::SUMS == 4) {
        float4 sum{0.0f, 0.0f, 0.0f, 0.0f};
#pragma unroll L::AT_ONCE
        for (int split = 0; split < L::SPLITS; ++split) {
            float4 next = *reinterpret_cast<const float4*>(first + split * L::TALL * L::PITCH);
            sum.x += next.x;
            sum.y += next.y;
            sum.z += next.z;
            sum.w += next.w;
        }
        sums[0] = sum.x;
        sums[1 % Cell::SUMS] = sum.y;
        sums[2 % Cell::SUMS] = sum.z;
        sums[3 % Cell::SUMS] = sum.w;
    } else {
        // Two chains: additions of one wait for each other.
#pragma unroll
        for (int j = 0; j < Cell::SUMS; ++j) {
            float even = 0.0f, odd = 0.0f;
#pragma unroll L::AT_ONCE / 2
            for (int split = 0; split < L::SPLITS; split += 2) {
                even += first[split * L::TALL * L::PITCH + j];
                if (split + 1 < L::SPLITS) odd += first[(split + 1) * L::TALL * L::PITCH + j];
            }
            sums[j] = even + odd;
        }
    }
}

// Numbers of one unit, into a state of every block of the cluster.
template <class Cell>
INLINE void hand_on(float* states, int row, int unit, const float* values) {
    using L = Layout<Cell>;
#pragma unroll
    for (int lane = 0; lane < Cell::LANES; ++lane)
#pragma unroll
        for (int v = 0; v < Cell::VALUES; ++v) {
            int k = v * HIDDEN + unit;
            float* place = states + (lane * ROWS + row) * L::LINE + k / INNER * L::CHUNK + k % INNER;
#pragma unroll
            for (int rank = 0; rank < CLUSTER; ++rank) store_to(rank, place, values[lane * Cell::VALUES + v]);
        }
}

// A grid of [CLUSTER, tiles of ROWS rows, R] blocks.
template <class Cell>
INLINE void recur(const Cell& cell, const float* W, int steps, int T, int B) {
    using L = Layout<Cell>;
    const int thread = threadIdx.x, split = thread / L::GROUPS, group = thread % L::GROUPS, run = blockIdx.z;
    const int least = cluster_rank() * L::UNITS;  // the first unit of this block
    float* states = shared_memory();
    float* partial = states + 2 * L::TALL * L::LINE;
    auto* constants = reinterpret_cast<typename Cell::Constant*>(partial + L::SPLITS * L::TALL * L::PITCH);
    auto state_at = [=](int step) { return states + (step % 2) * L::TALL * L::LINE; };

    float weights[INNER][COLUMNS];
#pragma unroll
    for (int column = 0; column < COLUMNS; ++column) {
        const int n = group * COLUMNS + column, at = least + n / Cell::SUMS, k = split * INNER;
        const bool ours = split < L::SPLITS && n < L::UNITS * Cell::SUMS && at < HIDDEN;
        constexpr int LENGTH = Cell::SUMS * HIDDEN;
        const float* first = W + static_cast<long long>(run) * L::WIDTH * LENGTH +
                             (Cell::TRANSPOSED ? at * L::WIDTH + k : k * LENGTH + n % Cell::SUMS * HIDDEN + at);
#pragma unroll
        for (int i = 0; i < INNER; ++i)
            weights[i][column] = ours && k + i < L::WIDTH ? first[Cell::TRANSPOSED ? i : i * LENGTH] : 0.0f;
    }

    // What this thread has: one unit of one row, or none. That of a row behind the batch holds zeros.
    const int row = thread / L::UNITS, unit = thread % L::UNITS;
    const Place place{run, static_cast<int>(blockIdx.y) * ROWS + row, least + unit, T, B, HIDDEN};
    const bool there = row < ROWS && (HIDDEN % CLUSTER == 0 || place.unit < HIDDEN), inside = there && place.row < B;
    typename Cell::Carry carry = {};
    typename Cell::Input ahead = {};

    // Numbers between and behind those of the state meet weights of zero: they must not be NaN.
    for (int i = thread; i < 2 * L::TALL * L::LINE; i += THREADS) states[i] = 0.0f;
    for (int n = thread; n < L::UNITS; n += THREADS)
        if (least + n < HIDDEN) constants[n] = cell.constant(Place{run, 0, least + n, T, B, HIDDEN});
    cluster_arrive();
    cluster_wait();  // all blocks run, and their zeros are written, before others write there
    if (inside) {
        float values[Cell::LANES * Cell::VALUES];
        cell.start(place, carry, values);
        ahead = cell.load(place, 0);
        if (Cell::FIRST) hand_on<Cell>(state_at(0), row, place.unit, values);
    }
    if (Cell::FIRST) {
        cluster_arrive();
        cluster_wait();
    }

#pragma unroll 1
    for (int step = 0; step < steps + Cell::LAST; ++step) {
        const bool multiplies = Cell::FIRST || step > 0;
        typename Cell::Input now = ahead;
        if (L::EARLY && inside && step + 1 < steps) ahead = cell.load(place, step + 1);
        if (multiplies && split < L::SPLITS) product<Cell>(weights, state_at(step), partial, split, group);
        block_barrier();

        float sums[Cell::LANES * Cell::SUMS] = {}, values[Cell::LANES * Cell::VALUES];
        if (multiplies && there)
#pragma unroll
            for (int lane = 0; lane < Cell::LANES; ++lane)
                add_up<Cell>(partial, lane * ROWS + row, unit, sums + lane * Cell::SUMS);
        if (step == steps) {
            if (inside) cell.finish(place, carry, sums);
            break;
        }
        typename Cell::Output output;
        if (there) {
            cell.step(constants[unit], now, carry, sums, values, output);
            hand_on<Cell>(state_at(step + 1), row, place.unit, values);
        }
        // Only what others read goes before the barrier: it would wait for everything written before it.
        cluster_arrive();
        if (inside) {
            if (!L::EARLY && step + 1 < steps) ahead = cell.load(place, step + 1);
            cell.store(place, step, output);
        }
        cluster_wait();
    }
}

#define KERNEL(CELL, PARAMETERS, ARGUMENTS)                                                                            \
    ENTRY program(PARAMETERS, const float* W, int steps, int T, int B) {                                               \
        recur(CELL{ARGUMENTS}, W, steps, T, B);                                                                        \
    }

#endif

#define LIST(...) __VA_ARGS__
