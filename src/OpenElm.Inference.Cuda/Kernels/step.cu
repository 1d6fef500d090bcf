// One token of one sequence through the whole model, in one kernel: every block stays on its multiprocessor, and blocks meet at barriers.
//
// Each warp owns rows of every matrix and streams them through a ring of its own in shared memory, by the copy engine, in the order in which
// it will use them. The order is known beforehand, so the stream runs ahead across barriers: while blocks wait for each other, the next
// matrix is already on its way. A barrier costs latency, not bandwidth.
//
// Phases of a layer: qkv · attention · out · gate and up · down. Everything that goes from block to block is float and read past L1.

constexpr int WARPS = 16, THREADS = 32 * WARPS;
constexpr int PER_VECTOR = 16 / sizeof(T);                      // elements of 16 bytes
constexpr int CHUNK_VECTORS = CHUNK_BYTES / 16;
constexpr int LANES = HEAD_DIM / 8, SIDE_BY_SIDE = 32 / LANES;   // of attention: lanes of a position, positions of a warp
constexpr int MOST_SPLITS = 8, SPLIT = 128;
constexpr int GLUED = GATED ? 2 : 1;

// A matrix of the stream: [rows, width]. A unit is a row, or a gate row with its up row.
struct Matrix
{
    const T* weights;
    int units, width, offset, reserved;                         // offset: the first unit's warp
};

struct Layer
{
    const float *attention_norm, *ffn_norm, *q_norm, *k_norm;
    int queries, keys, ffn, first;                              // first: KV head among those of all layers
};

struct Model
{
    const Matrix* matrices;                                     // qkv, out, gate and up, down of each layer; then the head
    const Layer* layers;
    const T* embedding;
    const float *final_norm, *cos, *sin;
    float *x, *qkv, *partial, *extremes, *h, *logits;           // partial: [queries, splits, HEAD_DIM], extremes: [queries, splits, 2]
    int* chosen;                                                // on the host: [ring][token, bits of its logit]
    int *state;                                                 // token, position
    long long* profile;                                         // null, or cycles of the first block: begin, then [meetings][come, gone], then end
    u64* meeting;                                               // arrivals at barriers; best logit; arrivals at the end
    int layer_count, width, vocab, candidates;
    float eps;
    int reserved;
};

#ifndef EMULATED
__device__ __forceinline__ u32 shared_address(const void* p) { return (u32)__cvta_generic_to_shared(p); }

__device__ __forceinline__ void init_arrival(u64* barrier)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" :: "r"(shared_address(barrier)) : "memory");
}

__device__ __forceinline__ void publish_arrivals() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }

__device__ __forceinline__ void copy_async(void* to, const void* from, int bytes, u64* barrier)
{
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" :: "r"(shared_address(barrier)), "r"(bytes) : "memory");
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];"
        :: "r"(shared_address(to)), "l"(from), "r"(bytes), "r"(shared_address(barrier)) : "memory");
}

__device__ __forceinline__ void await_arrival(u64* barrier, int parity)
{
    asm volatile(
        "{\n.reg .pred p;\nAGAIN:\nmbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n@p bra DONE;\nbra AGAIN;\nDONE:\n}"
        :: "r"(shared_address(barrier)), "r"(parity) : "memory");
}

__device__ __forceinline__ void arrive(u64* counter) { asm volatile("red.release.gpu.global.add.u64 [%0], 1;" :: "l"(counter) : "memory"); }

__device__ __forceinline__ u64 look(const u64* counter)
{
    u64 value;
    asm volatile("ld.acquire.gpu.global.u64 %0, [%1];" : "=l"(value) : "l"(counter) : "memory");
    return value;
}

__device__ __forceinline__ void rest() { }

__device__ __forceinline__ long long cycles() { return clock64(); }
#endif

__device__ __forceinline__ float fresh(const float* p) { return __ldcg(p); }

// The stream of one warp: what comes next, chunk by chunk.
struct Cursor
{
    int matrix, unit, part, vector;                             // part: 1 is the up row; vector: the chunk's first

    __device__ void begin(const Matrix* matrices, int count, int slot, int slots)
    {
        matrix = -1;
        next_matrix(matrices, count, slot, slots);
    }

    __device__ void next_matrix(const Matrix* matrices, int count, int slot, int slots)
    {
        part = vector = 0;
        while (++matrix < count)
        {
            unit = slot - matrices[matrix].offset;
            if (unit < 0) unit += slots;
            if (unit < matrices[matrix].units) return;
        }
    }

    __device__ void next(const Matrix* matrices, int count, int slot, int slots)
    {
        const Matrix& m = matrices[matrix];
        if ((vector += CHUNK_VECTORS) < m.width / PER_VECTOR) return;
        vector = 0;
        if (GLUED == 2 && matrix % 4 == 2 && part == 0 && matrix < count - 1)
        {
            part = 1;
            return;
        }
        part = 0;
        if ((unit += slots) >= m.units) next_matrix(matrices, count, slot, slots);
    }
};

struct Stream
{
    char* ring;
    u64* full;
    const Matrix* matrices;
    int count, slot, slots, lane;
    Cursor ahead;
    int filled, taken, filling, taking, parity;                 // filling, taking: places in the ring

    __device__ void fill()
    {
        if (ahead.matrix >= count) return;
        const Matrix& m = matrices[ahead.matrix];
        int vectors = m.width / PER_VECTOR - ahead.vector;
        if (vectors > CHUNK_VECTORS) vectors = CHUNK_VECTORS;
        if (lane == 0)
            copy_async(ring + filling * CHUNK_BYTES, m.weights + ((size_t)ahead.unit + (size_t)ahead.part * m.units) * m.width + (size_t)ahead.vector * PER_VECTOR, vectors * 16, full + filling);
        ahead.next(matrices, count, slot, slots);
        if (++filling == RING) filling = 0;
    }

    // row · x, for the warp's next row; x: two planes of vectors' halves.
    __device__ float product(const Float4* x, int width)
    {
        int vectors = width / PER_VECTOR;
        float sum = 0;
        for (int first = 0; first < vectors; first += CHUNK_VECTORS)
        {
            int end = vectors - first < CHUNK_VECTORS ? vectors - first : CHUNK_VECTORS;
            await_arrival(full + taking, parity);
            const Word4* w = (const Word4*)(ring + taking * CHUNK_BYTES);
#pragma unroll 4
            for (int v = lane; v < end; v += 32)
            {
                Word4 word = w[v];
                Float4 a = x[first + v];
#if BF16
                Float4 b = x[vectors + first + v];
                sum += bits_to_float(word.x << 16) * a.x + bits_to_float(word.x & 0xffff0000) * a.y + bits_to_float(word.y << 16) * a.z + bits_to_float(word.y & 0xffff0000) * a.w;
                sum += bits_to_float(word.z << 16) * b.x + bits_to_float(word.z & 0xffff0000) * b.y + bits_to_float(word.w << 16) * b.z + bits_to_float(word.w & 0xffff0000) * b.w;
#else
                sum += bits_to_float(word.x) * a.x + bits_to_float(word.y) * a.y + bits_to_float(word.z) * a.z + bits_to_float(word.w) * a.w;
#endif
            }
            __syncwarp();
            if (++taking == RING)
            {
                taking = 0;
                parity ^= 1;
            }
            fill();
        }
        return sum_of_warp(sum);
    }
};

// Where element i of a vector of width elements lies in the planes of halves.
__device__ __forceinline__ int plane(int i, int width)
{
#if BF16
    return (i % 8 / 4) * (width / 2) + i / 8 * 4 + i % 4;
#else
    return i;
#endif
}

struct Meeting
{
    u64* counter;
    long long* profile;
    u64 target;

    __device__ void note()
    {
        if (profile && blockIdx.x == 0) *profile++ = cycles();
    }

    __device__ void begin()
    {
        // A block that has not come yet sees how often all have met before.
        target = look(counter) / gridDim.x * gridDim.x;
    }

    // All that blocks have written before is there for all after.
    __device__ void wait()
    {
        __syncthreads();
        if (threadIdx.x == 0)
        {
            note();
            target += gridDim.x;
            __threadfence();
            arrive(counter);
            while (look(counter) < target) rest();
            __threadfence();
            note();
        }
        __syncthreads();
    }
};

// The sum over a block.
__device__ float sum_of_block(float x, float* scratch)
{
    x = sum_of_warp(x);
    if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = x;
    __syncthreads();
    float sum = 0;
#pragma unroll
    for (int i = 0; i < WARPS; i++) sum += scratch[i];
    return sum;
}

// planes = norm(x) · w
template <class Source>
__device__ void normalise(Source x, const float* w, float* planes, int width, float eps, float* scratch)
{
    constexpr int OWN = (MODEL_DIM + THREADS - 1) / THREADS;
    float own[OWN], squares = 0;
#pragma unroll
    for (int i = 0; i < OWN; i++)
    {
        int at = threadIdx.x + i * THREADS;
        own[i] = at < width ? x(at) : 0;
        squares += own[i] * own[i];
    }
    float scale = 1 / sqrtf(sum_of_block(squares, scratch) / width + eps);
#pragma unroll
    for (int i = 0; i < OWN; i++)
    {
        int at = threadIdx.x + i * THREADS;
        if (at < width) planes[plane(at, width)] = own[i] * scale * w[at];
    }
    __syncthreads();
}

// One head of queries or keys: norm, rotation; by one warp. to: [HEAD_DIM].
__device__ void rotate(const float* from, const float* w, const Model& model, int position, float factor, float* to, int lane)
{
    constexpr int HALF = HEAD_DIM / 2;
    float scale = 1;
    if (w)
    {
        float squares = 0;
        for (int i = lane; i < HEAD_DIM; i += 32)
        {
            float x = fresh(from + i);
            squares += x * x;
        }
        scale = 1 / sqrtf(sum_of_warp(squares) / HEAD_DIM + model.eps);
    }
    for (int i = lane; i < HALF; i += 32)
    {
        float a = fresh(from + i) * scale * (w ? w[i] : 1), b = fresh(from + i + HALF) * scale * (w ? w[i + HALF] : 1);
        float c = model.cos[(size_t)position * HALF + i], s = model.sin[(size_t)position * HALF + i];
        to[i] = (a * c - b * s) * factor;
        to[i + HALF] = (b * c + a * s) * factor;
    }
}

__device__ __forceinline__ int splits_of(int length)
{
    int splits = (length + SPLIT - 1) / SPLIT;
    return splits < MOST_SPLITS ? splits : MOST_SPLITS;
}

// Attention of one split of one KV head: its positions' share of softmax and values, unscaled. scratch: [GROUP + 2][HEAD_DIM], then [WARPS][GROUP][HEAD_DIM + 2].
__device__ void attend(const Model& model, const Layer& layer, T* cache, int capacity, int position, int item, float* scratch)
{
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, length = position + 1;
    int splits = splits_of(length), each = (length + splits - 1) / splits, kv = item / splits, split = item % splits;
    int begin = split * each, end = begin + each < length ? begin + each : length;
    float *q = scratch, *key = scratch + GROUP * HEAD_DIM, *value = key + HEAD_DIM, *shares = value + HEAD_DIM;
    const float* k_new = model.qkv + (size_t)(layer.queries + kv) * HEAD_DIM;
    for (int head = warp; head < GROUP + 2; head += WARPS)
    {
        if (head < GROUP) rotate(model.qkv + (size_t)(kv * GROUP + head) * HEAD_DIM, layer.q_norm, model, position, 1 / sqrtf((float)HEAD_DIM), q + head * HEAD_DIM, lane);
        else if (head == GROUP) rotate(k_new, layer.k_norm, model, position, 1, key, lane);
        else
            for (int i = lane; i < HEAD_DIM; i += 32) value[i] = fresh(k_new + (size_t)layer.keys * HEAD_DIM + i);
    }
    __syncthreads();
    T* keys = cache + (size_t)2 * (layer.first + kv) * capacity * HEAD_DIM;
    T* values = keys + (size_t)capacity * HEAD_DIM;
    if (end == length)
        for (int i = threadIdx.x; i < 2 * HEAD_DIM; i += THREADS)
            narrow(i < HEAD_DIM ? key[i] : value[i - HEAD_DIM], (i < HEAD_DIM ? keys : values)[(size_t)position * HEAD_DIM + i % HEAD_DIM]);

    int part = lane % LANES * 8;
    float own[GROUP][8], y[GROUP][8] = {}, most[GROUP], sum[GROUP] = {};
#pragma unroll
    for (int g = 0; g < GROUP; g++)
    {
        most[g] = -INFINITE;
#pragma unroll
        for (int i = 0; i < 8; i++) own[g][i] = q[g * HEAD_DIM + part + i];
    }
    for (int at = begin + warp * SIDE_BY_SIDE; at < end; at += WARPS * SIDE_BY_SIDE)
    {
        int p = at + lane / LANES;
        bool active = p < end;
        float k[8] = {}, v[8] = {};
        if (active && p < position)
        {
            load8(keys + (size_t)p * HEAD_DIM + part, k);
            load8(values + (size_t)p * HEAD_DIM + part, v);
        }
        else if (active)
        {
            // As it is read back later.
#pragma unroll
            for (int i = 0; i < 8; i++)
            {
                T rounded;
                narrow(key[part + i], rounded);
                k[i] = widen(rounded);
                narrow(value[part + i], rounded);
                v[i] = widen(rounded);
            }
        }
#pragma unroll
        for (int g = 0; g < GROUP; g++)
        {
            float score = 0;
#pragma unroll
            for (int i = 0; i < 8; i++) score += own[g][i] * k[i];
#pragma unroll
            for (int mask = LANES / 2; mask > 0; mask >>= 1) score += __shfl_xor_sync(0xffffffff, score, mask);
            if (!active) continue;
            float larger = fmaxf(most[g], score), before = expf(most[g] - larger), weight = expf(score - larger);
            most[g] = larger;
            sum[g] = sum[g] * before + weight;
#pragma unroll
            for (int i = 0; i < 8; i++) y[g][i] = y[g][i] * before + weight * v[i];
        }
    }
    // Positions side by side, then warps.
#pragma unroll
    for (int g = 0; g < GROUP; g++)
    {
#pragma unroll
        for (int mask = LANES; mask < 32; mask <<= 1)
        {
            float larger = fmaxf(most[g], __shfl_xor_sync(0xffffffff, most[g], mask)), before = expf(most[g] - larger);
            sum[g] *= before;
            sum[g] += __shfl_xor_sync(0xffffffff, sum[g], mask);
#pragma unroll
            for (int i = 0; i < 8; i++)
            {
                y[g][i] *= before;
                y[g][i] += __shfl_xor_sync(0xffffffff, y[g][i], mask);
            }
            most[g] = larger;
        }
        float* share = shares + (warp * GROUP + g) * (HEAD_DIM + 2);
        if (lane < LANES)
#pragma unroll
            for (int i = 0; i < 8; i++) share[part + i] = y[g][i];
        if (lane == 0)
        {
            share[HEAD_DIM] = most[g];
            share[HEAD_DIM + 1] = sum[g];
        }
    }
    __syncthreads();
    for (int i = threadIdx.x; i < GROUP * HEAD_DIM; i += THREADS)
    {
        int g = i / HEAD_DIM, column = i % HEAD_DIM;
        float larger = -INFINITE, total = 0, weights = 0;
        for (int w = 0; w < WARPS; w++) larger = fmaxf(larger, shares[(w * GROUP + g) * (HEAD_DIM + 2) + HEAD_DIM]);
        for (int w = 0; w < WARPS; w++)
        {
            const float* share = shares + (w * GROUP + g) * (HEAD_DIM + 2);
            float factor = expf(share[HEAD_DIM] - larger);
            total += share[column] * factor;
            weights += share[HEAD_DIM + 1] * factor;
        }
        size_t at = (size_t)(kv * GROUP + g) * MOST_SPLITS + split;
        model.partial[at * HEAD_DIM + column] = total;
        if (column == 0)
        {
            model.extremes[2 * at] = larger;
            model.extremes[2 * at + 1] = weights;
        }
    }
    __syncthreads();
}

// planes = attention's result, from its splits.
__device__ void gather(const Model& model, const Layer& layer, int position, float* planes)
{
    int splits = splits_of(position + 1), width = layer.queries * HEAD_DIM;
    for (int i = threadIdx.x; i < width; i += THREADS)
    {
        size_t at = (size_t)(i / HEAD_DIM) * MOST_SPLITS;
        float most[MOST_SPLITS], weight[MOST_SPLITS], part[MOST_SPLITS], larger = -INFINITE, sum = 0, weights = 0;
#pragma unroll
        for (int s = 0; s < MOST_SPLITS; s++)
        {
            bool there = s < splits;
            most[s] = there ? fresh(model.extremes + 2 * (at + s)) : -INFINITE;
            weight[s] = there ? fresh(model.extremes + 2 * (at + s) + 1) : 0;
            part[s] = there ? fresh(model.partial + (at + s) * HEAD_DIM + i % HEAD_DIM) : 0;
        }
#pragma unroll
        for (int s = 0; s < MOST_SPLITS; s++) larger = fmaxf(larger, most[s]);
#pragma unroll
        for (int s = 0; s < MOST_SPLITS; s++)
        {
            float factor = expf(most[s] - larger);
            sum += part[s] * factor;
            weights += weight[s] * factor;
        }
        planes[plane(i, width)] = sum / weights;
    }
    __syncthreads();
}

// The larger the logit, the larger the key; of equal logits the first id wins.
__device__ __forceinline__ u64 rank(float logit, int id)
{
    u32 bits = __float_as_uint(logit);
    return (u64)(bits & 0x80000000 ? ~bits : bits | 0x80000000) << 32 | (u32)~id;
}

// token: −1 takes the token and the position that the step before chose. place: where the choice goes on the host.
extern "C" __global__ __launch_bounds__(THREADS, 1) void decode_step(const __grid_constant__ Model model, T* cache, int capacity, int token, int position, int place)
{
    DYNAMIC_SHARED(char, shared);
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, count = 4 * model.layer_count + 1;
    char* ring = shared;
    u64* full = (u64*)(shared + (size_t)WARPS * RING * CHUNK_BYTES);
    Matrix* matrices = (Matrix*)(full + WARPS * RING);
    float* scratch = (float*)(matrices + count);
    float* planes = (float*)(((size_t)(scratch + WARPS) + 127) / 128 * 128);
    if (token < 0)
    {
        token = model.state[0];
        position = model.state[1];
    }
    for (int i = threadIdx.x; i < count; i += THREADS) matrices[i] = model.matrices[i];
    for (int i = threadIdx.x; i < WARPS * RING; i += THREADS) init_arrival(full + i);
    publish_arrivals();
    Meeting meeting = { model.meeting, model.profile };
    if (threadIdx.x == 0)
    {
        meeting.begin();
        meeting.note();
    }
    __syncthreads();

    Stream stream = { ring + (size_t)warp * RING * CHUNK_BYTES, full + warp * RING, matrices, count, warp * (int)gridDim.x + (int)blockIdx.x, WARPS * (int)gridDim.x, lane };
    stream.ahead.begin(matrices, count, stream.slot, stream.slots);
    for (int i = 0; i < RING; i++) stream.fill();

    const T* embedded = model.embedding + (size_t)token * MODEL_DIM;
    for (int l = 0; l < model.layer_count; l++)
    {
        Layer layer = model.layers[l];
        const Matrix* m = matrices + 4 * l;
        auto first = [&](const Matrix& matrix) { int unit = stream.slot - matrix.offset; return unit < 0 ? unit + stream.slots : unit; };
        auto residual = [&](int i) { return l == 0 ? widen(embedded[i]) : fresh(model.x + i); };

        normalise(residual, layer.attention_norm, planes, MODEL_DIM, model.eps, scratch);
        for (int row = first(m[0]); row < m[0].units; row += stream.slots)
        {
            float y = stream.product((const Float4*)planes, MODEL_DIM);
            if (lane == 0) model.qkv[row] = y;
        }
        meeting.wait();

        for (int item = blockIdx.x; item < layer.keys * splits_of(position + 1); item += gridDim.x) attend(model, layer, cache, capacity, position, item, planes);
        meeting.wait();

        gather(model, layer, position, planes);
        for (int row = first(m[1]); row < m[1].units; row += stream.slots)
        {
            float before = residual(row), y = stream.product((const Float4*)planes, m[1].width);
            if (lane == 0) model.x[row] = before + y;
        }
        meeting.wait();

        normalise([&](int i) { return fresh(model.x + i); }, layer.ffn_norm, planes, MODEL_DIM, model.eps, scratch);
        for (int unit = first(m[2]); unit < m[2].units; unit += stream.slots)
        {
            float y = silu(stream.product((const Float4*)planes, MODEL_DIM));
            if (GLUED == 2) y *= stream.product((const Float4*)planes, MODEL_DIM);
            if (lane == 0) model.h[unit] = y;
        }
        meeting.wait();

        for (int i = threadIdx.x; i < layer.ffn; i += THREADS) planes[plane(i, layer.ffn)] = fresh(model.h + i);
        __syncthreads();
        for (int row = first(m[3]); row < m[3].units; row += stream.slots)
        {
            float before = fresh(model.x + row), y = stream.product((const Float4*)planes, m[3].width);
            if (lane == 0) model.x[row] = before + y;
        }
        meeting.wait();
    }

    normalise([&](int i) { return fresh(model.x + i); }, model.final_norm, planes, MODEL_DIM, model.eps, scratch);
    const Matrix& head = matrices[count - 1];
    u64 best = 0;
    int begin = stream.slot - head.offset;
    for (int row = begin < 0 ? begin + stream.slots : begin; row < head.units; row += stream.slots)
    {
        float y = stream.product((const Float4*)planes, MODEL_DIM);
        if (lane == 0)
        {
            model.logits[row] = y;
            u64 key = rank(y, row);
            if (row < model.candidates && key > best) best = key;
        }
    }
    if (threadIdx.x == 0) meeting.note();
    if (lane == 0 && best) atomicMax(model.meeting + 1, best);
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0 && atomicAdd(model.meeting + 2, 1ull) % gridDim.x == gridDim.x - 1)
    {
        __threadfence();
        best = atomicExch(model.meeting + 1, 0ull);
        u32 upper = (u32)(best >> 32);
        model.state[0] = (int)~(u32)best;
        model.state[1] = position + 1;
        model.chosen[2 * place] = (int)~(u32)best;
        model.chosen[2 * place + 1] = (int)(upper & 0x80000000 ? upper & 0x7fffffff : ~upper);
    }
}

// Reads 16 bytes a thread, as fast as memory gives them: the ceiling.
extern "C" __global__ void read_all(const Word4* from, int thousands, u32* nowhere)
{
    u32 sum = 0;
    size_t count = (size_t)thousands * 1024, step = (size_t)gridDim.x * blockDim.x;
#pragma unroll 8
    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step)
    {
        Word4 word = from[i];
        sum += word.x ^ word.y ^ word.z ^ word.w;
    }
    if (sum == 0x12345678) *nowhere = sum;
}
