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

// Four floats that another block wrote.
__device__ __forceinline__ Float4 fresh4(const float* p)
{
    Float4 x;
    asm volatile("ld.global.cg.v4.f32 {%0, %1, %2, %3}, [%4];" : "=f"(x.x), "=f"(x.y), "=f"(x.z), "=f"(x.w) : "l"(p) : "memory");
    return x;
}

// Into L2, for later.
__device__ __forceinline__ void fetch(const void* p) { asm volatile("prefetch.global.L2 [%0];" :: "l"(p)); }

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
        float sum = 0, other = 0;                               // two chains of sums
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
                other += bits_to_float(word.z << 16) * b.x + bits_to_float(word.z & 0xffff0000) * b.y + bits_to_float(word.w << 16) * b.z + bits_to_float(word.w & 0xffff0000) * b.w;
#else
                sum += bits_to_float(word.x) * a.x + bits_to_float(word.y) * a.y;
                other += bits_to_float(word.z) * a.z + bits_to_float(word.w) * a.w;
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
        return sum_of_warp(sum + other);
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
            arrive(counter);                                    // a release: it covers what the block's other threads wrote before they came
            while (look(counter) < target) rest();
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

// A block's share of four floats each of a vector of the residual's width.
constexpr int QUARTERS = (MODEL_DIM / 4 + THREADS - 1) / THREADS;

// What does not depend on other blocks is asked for before a meeting.
struct Factors
{
    Float4 own[QUARTERS];

    __device__ void load(const float* w)
    {
#pragma unroll
        for (int i = 0; i < QUARTERS; i++)
        {
            int at = threadIdx.x + i * THREADS;
            if (at < MODEL_DIM / 4) own[i] = ((const Float4*)w)[at];
        }
    }
};

// planes = norm(x) · w
template <class Source>
__device__ void normalise(Source x, const Factors& w, float* planes, float eps, float* scratch)
{
    Float4 own[QUARTERS];
    float squares = 0;
#pragma unroll
    for (int i = 0; i < QUARTERS; i++)
    {
        int at = threadIdx.x + i * THREADS;
        own[i] = at < MODEL_DIM / 4 ? x(4 * at) : Float4{ 0, 0, 0, 0 };
        squares += own[i].x * own[i].x + own[i].y * own[i].y + own[i].z * own[i].z + own[i].w * own[i].w;
    }
    float scale = 1 / sqrtf(sum_of_block(squares, scratch) / MODEL_DIM + eps);
#pragma unroll
    for (int i = 0; i < QUARTERS; i++)
    {
        int at = threadIdx.x + i * THREADS;
        if (at < MODEL_DIM / 4)
            *(Float4*)(planes + plane(4 * at, MODEL_DIM)) =
                Float4{ own[i].x * scale * w.own[i].x, own[i].y * scale * w.own[i].y, own[i].z * scale * w.own[i].z, own[i].w * scale * w.own[i].w };
    }
    __syncthreads();
}

// One head of queries or keys: norm, rotation; by one warp.
struct Rotation
{
    static constexpr int HALF = HEAD_DIM / 2, OWN = (HALF + 31) / 32;
    float wa[OWN], wb[OWN], c[OWN], s[OWN];

    __device__ void load(const float* w, const Model& model, int position, int lane)
    {
#pragma unroll
        for (int i = 0; i < OWN; i++)
        {
            int at = lane + 32 * i;
            if (at >= HALF) continue;
            wa[i] = w ? w[at] : 1;
            wb[i] = w ? w[at + HALF] : 1;
            c[i] = model.cos[(size_t)position * HALF + at];
            s[i] = model.sin[(size_t)position * HALF + at];
        }
    }

    // to: [HEAD_DIM].
    __device__ void apply(const float* from, bool normed, float eps, float factor, float* to, int lane) const
    {
        float a[OWN], b[OWN], squares = 0;
#pragma unroll
        for (int i = 0; i < OWN; i++)
        {
            int at = lane + 32 * i;
            a[i] = at < HALF ? fresh(from + at) : 0;
            b[i] = at < HALF ? fresh(from + at + HALF) : 0;
            squares += a[i] * a[i] + b[i] * b[i];
        }
        float scale = normed ? 1 / sqrtf(sum_of_warp(squares) / HEAD_DIM + eps) : 1;
#pragma unroll
        for (int i = 0; i < OWN; i++)
        {
            int at = lane + 32 * i;
            if (at >= HALF) continue;
            float x = a[i] * scale * wa[i], y = b[i] * scale * wb[i];
            to[at] = (x * c[i] - y * s[i]) * factor;
            to[at + HALF] = (y * c[i] + x * s[i]) * factor;
        }
    }
};

struct __align__(16) Eight { T x[8]; };

__device__ __forceinline__ int splits_of(int length)
{
    int splits = (length + SPLIT - 1) / SPLIT;
    return splits < MOST_SPLITS ? splits : MOST_SPLITS;
}

// Attention of one split of one KV head: its positions' share of softmax and values, unscaled.
// scratch: [GROUP + 2][HEAD_DIM], then [WARPS][GROUP][HEAD_DIM + 4]: values, largest score, sum of weights, factor.
struct Attention
{
    static constexpr int EARLY = 2, SHARE = HEAD_DIM + 4;       // EARLY: positions of a lane that are asked for before the meeting
    int lane, warp, part, begin, end, position, kv, split;
    bool active;
    T *keys, *values;
    Eight k[EARLY], v[EARLY];
    Rotation rotation;

    __device__ bool old(int p) const { return p < end && p < position; }

    __device__ int first() const { return begin + warp * SIDE_BY_SIDE + lane / LANES; }

    // Past keys and values, and what a head is normalised and rotated with, do not depend on this step.
    __device__ void load(const Model& model, const Layer& layer, T* cache, int capacity, int position_, int item)
    {
        position = position_;
        int length = position + 1, splits = splits_of(length), each = (length + splits - 1) / splits;
        active = item < layer.keys * splits;
        if (!active) return;
        lane = threadIdx.x % 32, warp = threadIdx.x / 32, part = lane % LANES * 8;
        kv = item / splits, split = item % splits;
        begin = split * each, end = begin + each < length ? begin + each : length;
        keys = cache + (size_t)2 * (layer.first + kv) * capacity * HEAD_DIM;
        values = keys + (size_t)capacity * HEAD_DIM;
#pragma unroll
        for (int i = 0; i < EARLY; i++)
        {
            int p = first() + i * WARPS * SIDE_BY_SIDE;
            if (!old(p)) continue;
            k[i] = *(const Eight*)(keys + (size_t)p * HEAD_DIM + part);
            v[i] = *(const Eight*)(values + (size_t)p * HEAD_DIM + part);
        }
        for (int p = first() + EARLY * WARPS * SIDE_BY_SIDE; old(p); p += WARPS * SIDE_BY_SIDE)
        {
            fetch(keys + (size_t)p * HEAD_DIM + part);
            fetch(values + (size_t)p * HEAD_DIM + part);
        }
        if (warp <= GROUP) rotation.load(warp < GROUP ? layer.q_norm : layer.k_norm, model, position, lane);
    }

    __device__ void run(const Model& model, const Layer& layer, float* scratch)
    {
        if (!active) return;
        float *q = scratch, *key = scratch + GROUP * HEAD_DIM, *value = key + HEAD_DIM, *shares = value + HEAD_DIM;
        const float* k_new = model.qkv + (size_t)(layer.queries + kv) * HEAD_DIM;
        bool normed = layer.q_norm != nullptr;
        if (warp < GROUP) rotation.apply(model.qkv + (size_t)(kv * GROUP + warp) * HEAD_DIM, normed, model.eps, 1 / sqrtf((float)HEAD_DIM), q + warp * HEAD_DIM, lane);
        else if (warp == GROUP) rotation.apply(k_new, normed, model.eps, 1, key, lane);
        else if (warp == GROUP + 1)
            for (int i = lane; i < HEAD_DIM; i += 32) value[i] = fresh(k_new + (size_t)layer.keys * HEAD_DIM + i);
        __syncthreads();
        if (end == position + 1)
            for (int i = threadIdx.x; i < 2 * HEAD_DIM; i += THREADS)
                narrow(i < HEAD_DIM ? key[i] : value[i - HEAD_DIM], (i < HEAD_DIM ? keys : values)[(size_t)position * HEAD_DIM + i % HEAD_DIM]);

        float y[GROUP][8] = {}, most[GROUP], sum[GROUP] = {};
#pragma unroll
        for (int g = 0; g < GROUP; g++) most[g] = -INFINITE;
        auto add = [&](int p, const Eight& known_k, const Eight& known_v)
        {
            bool there = p < end;
            float k[8] = {}, v[8] = {};
            if (there)
#pragma unroll
                for (int i = 0; i < 8; i++)
                {
                    T new_k, new_v;
                    narrow(key[part + i], new_k);               // as it is read back later
                    narrow(value[part + i], new_v);
                    k[i] = widen(p < position ? known_k.x[i] : new_k);
                    v[i] = widen(p < position ? known_v.x[i] : new_v);
                }
#pragma unroll
            for (int g = 0; g < GROUP; g++)
            {
                Float4 a = *(const Float4*)(q + g * HEAD_DIM + part), b = *(const Float4*)(q + g * HEAD_DIM + part + 4);
                float score = a.x * k[0] + a.y * k[1] + a.z * k[2] + a.w * k[3] + b.x * k[4] + b.y * k[5] + b.z * k[6] + b.w * k[7];
#pragma unroll
                for (int mask = LANES / 2; mask > 0; mask >>= 1) score += __shfl_xor_sync(0xffffffff, score, mask);
                if (!there) continue;
                float larger = fmaxf(most[g], score), before = expf(most[g] - larger), weight = expf(score - larger);
                most[g] = larger;
                sum[g] = sum[g] * before + weight;
#pragma unroll
                for (int i = 0; i < 8; i++) y[g][i] = y[g][i] * before + weight * v[i];
            }
        };
        constexpr int STRIDE = WARPS * SIDE_BY_SIDE;
#pragma unroll
        for (int i = 0; i < EARLY; i++)
            if (begin + warp * SIDE_BY_SIDE + i * STRIDE < end) add(first() + i * STRIDE, k[i], v[i]);
        for (int at = begin + warp * SIDE_BY_SIDE + EARLY * STRIDE; at < end; at += STRIDE)
        {
            int p = at + lane / LANES;
            Eight late_k = {}, late_v = {};
            if (old(p))
            {
                late_k = *(const Eight*)(keys + (size_t)p * HEAD_DIM + part);
                late_v = *(const Eight*)(values + (size_t)p * HEAD_DIM + part);
            }
            add(p, late_k, late_v);
        }
        // Positions side by side, then warps.
#pragma unroll
        for (int g = 0; g < GROUP; g++)
        {
            float larger = most[g];
#pragma unroll
            for (int mask = LANES; mask < 32; mask <<= 1) larger = fmaxf(larger, __shfl_xor_sync(0xffffffff, larger, mask));
            float before = expf(most[g] - larger);
            sum[g] *= before;
#pragma unroll
            for (int i = 0; i < 8; i++) y[g][i] *= before;
#pragma unroll
            for (int mask = LANES; mask < 32; mask <<= 1)
            {
                sum[g] += __shfl_xor_sync(0xffffffff, sum[g], mask);
#pragma unroll
                for (int i = 0; i < 8; i++) y[g][i] += __shfl_xor_sync(0xffffffff, y[g][i], mask);
            }
            float* share = shares + (warp * GROUP + g) * SHARE;
            if (lane < LANES)
#pragma unroll
                for (int i = 0; i < 8; i++) share[part + i] = y[g][i];
            if (lane == 0)
            {
                share[HEAD_DIM] = larger;
                share[HEAD_DIM + 1] = sum[g];
            }
        }
        __syncthreads();
        if (threadIdx.x < (WARPS * GROUP + 31) / 32 * 32)
        {
            // A head's shares of the warps lie side by side in half a warp.
            bool mine = threadIdx.x < WARPS * GROUP;
            int g = mine ? threadIdx.x / WARPS : 0;
            float* share = shares + (threadIdx.x % WARPS * GROUP + g) * SHARE;
            float own = share[HEAD_DIM], larger = own;
#pragma unroll
            for (int mask = WARPS / 2; mask > 0; mask >>= 1) larger = fmaxf(larger, __shfl_xor_sync(0xffffffff, larger, mask));
            float factor = expf(own - larger), total = share[HEAD_DIM + 1] * factor;
#pragma unroll
            for (int mask = WARPS / 2; mask > 0; mask >>= 1) total += __shfl_xor_sync(0xffffffff, total, mask);
            if (mine) share[HEAD_DIM + 2] = factor;
            if (mine && threadIdx.x % WARPS == 0)
            {
                size_t at = (size_t)(kv * GROUP + g) * MOST_SPLITS + split;
                model.extremes[2 * at] = larger;
                model.extremes[2 * at + 1] = total;
            }
        }
        __syncthreads();
        for (int i = threadIdx.x; i < GROUP * HEAD_DIM; i += THREADS)
        {
            int g = i / HEAD_DIM, column = i % HEAD_DIM;
            float total = 0;
#pragma unroll
            for (int w = 0; w < WARPS; w++)
            {
                const float* share = shares + (w * GROUP + g) * SHARE;
                total += share[column] * share[HEAD_DIM + 2];
            }
            model.partial[((size_t)(kv * GROUP + g) * MOST_SPLITS + split) * HEAD_DIM + column] = total;
        }
        __syncthreads();
    }
};

// planes = attention's result, from its splits. factors: [queries, MOST_SPLITS], behind the planes.
__device__ void gather(const Model& model, const Layer& layer, int position, float* planes, float* factors)
{
    constexpr int OWN = 1;                                      // four floats of all splits at once
    int splits = splits_of(position + 1), width = layer.queries * HEAD_DIM;
    for (int base = 0; base < width / 4; base += OWN * THREADS)
    {
        Float4 part[OWN][MOST_SPLITS];
#pragma unroll
        for (int i = 0; i < OWN; i++)
#pragma unroll
            for (int split = 0; split < MOST_SPLITS; split++)
            {
                int at = 4 * (base + i * THREADS + (int)threadIdx.x);
                if (at < width && split < splits) part[i][split] = fresh4(model.partial + ((size_t)(at / HEAD_DIM) * MOST_SPLITS + split) * HEAD_DIM + at % HEAD_DIM);
                else part[i][split] = Float4{ 0, 0, 0, 0 };
            }
        if (base == 0)
        {
            for (int i = threadIdx.x; i < (layer.queries * MOST_SPLITS + 31) / 32 * 32; i += THREADS)
            {
                bool there = i % MOST_SPLITS < splits && i < layer.queries * MOST_SPLITS;
                float own = there ? fresh(model.extremes + 2 * i) : -INFINITE, weights = there ? fresh(model.extremes + 2 * i + 1) : 0, larger = own;
#pragma unroll
                for (int mask = 1; mask < MOST_SPLITS; mask <<= 1) larger = fmaxf(larger, __shfl_xor_sync(0xffffffff, larger, mask));
                float factor = expf(own - larger), sum = weights * factor;
#pragma unroll
                for (int mask = 1; mask < MOST_SPLITS; mask <<= 1) sum += __shfl_xor_sync(0xffffffff, sum, mask);
                if (i < layer.queries * MOST_SPLITS) factors[i] = factor / sum;
            }
            __syncthreads();
        }
#pragma unroll
        for (int i = 0; i < OWN; i++)
        {
            int at = 4 * (base + i * THREADS + (int)threadIdx.x);
            if (at >= width) continue;
            Float4 sum = { 0, 0, 0, 0 };
#pragma unroll
            for (int split = 0; split < MOST_SPLITS; split++)
            {
                float factor = factors[at / HEAD_DIM * MOST_SPLITS + split];
                sum.x += part[i][split].x * factor;
                sum.y += part[i][split].y * factor;
                sum.z += part[i][split].z * factor;
                sum.w += part[i][split].w * factor;
            }
            *(Float4*)(planes + plane(at, width)) = sum;
        }
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
    Layer* layers = (Layer*)(matrices + count + 1);             // rounded up to 16 bytes, as matrices have 24
    float* scratch = (float*)(layers + model.layer_count);
    float* gathered = scratch + WARPS;
    float* planes = (float*)(((size_t)(gathered + MOST_QUERIES * MOST_SPLITS) + 127) / 128 * 128);
    if (token < 0)
    {
        token = model.state[0];
        position = model.state[1];
    }
    for (int i = threadIdx.x; i < count; i += THREADS) matrices[i] = model.matrices[i];
    for (int i = threadIdx.x; i < model.layer_count; i += THREADS) layers[i] = model.layers[i];
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
    Factors factors;
    factors.load(layers[0].attention_norm);
    for (int l = 0; l < model.layer_count; l++)
    {
        const Layer& layer = layers[l];
        const Matrix* m = matrices + 4 * l;
        auto first = [&](const Matrix& matrix) { int unit = stream.slot - matrix.offset; return unit < 0 ? unit + stream.slots : unit; };
        auto residual = [&](int i) { return fresh4(model.x + i); };

        if (l == 0) normalise([&](int i) { return Float4{ widen(embedded[i]), widen(embedded[i + 1]), widen(embedded[i + 2]), widen(embedded[i + 3]) }; }, factors, planes, model.eps, scratch);
        else normalise(residual, factors, planes, model.eps, scratch);
        for (int row = first(m[0]); row < m[0].units; row += stream.slots)
        {
            float y = stream.product((const Float4*)planes, MODEL_DIM);
            if (lane == 0) model.qkv[row] = y;
        }
        {
            Attention attention;
            attention.load(model, layer, cache, capacity, position, blockIdx.x);
            meeting.wait();
            attention.run(model, layer, planes);
            for (int item = blockIdx.x + gridDim.x; item < layer.keys * splits_of(position + 1); item += gridDim.x)
            {
                attention.load(model, layer, cache, capacity, position, item);
                attention.run(model, layer, planes);
            }
        }
        meeting.wait();

        gather(model, layer, position, planes, gathered);
        for (int row = first(m[1]); row < m[1].units; row += stream.slots)
        {
            float before = l == 0 ? widen(embedded[row]) : fresh(model.x + row), y = stream.product((const Float4*)planes, m[1].width);
            if (lane == 0) model.x[row] = before + y;
        }
        factors.load(layer.ffn_norm);
        meeting.wait();

        normalise(residual, factors, planes, model.eps, scratch);
        for (int unit = first(m[2]); unit < m[2].units; unit += stream.slots)
        {
            float y = silu(stream.product((const Float4*)planes, MODEL_DIM));
            if (GLUED == 2) y *= stream.product((const Float4*)planes, MODEL_DIM);
            if (lane == 0) model.h[unit] = y;
        }
        meeting.wait();

#pragma unroll 4
        for (int i = 4 * threadIdx.x; i < layer.ffn; i += 4 * THREADS) *(Float4*)(planes + plane(i, layer.ffn)) = fresh4(model.h + i);
        __syncthreads();
        for (int row = first(m[3]); row < m[3].units; row += stream.slots)
        {
            float before = fresh(model.x + row), y = stream.product((const Float4*)planes, m[3].width);
            if (lane == 0) model.x[row] = before + y;
        }
        factors.load(l + 1 < model.layer_count ? layers[l + 1].attention_norm : model.final_norm);
        meeting.wait();
    }

    normalise([&](int i) { return fresh4(model.x + i); }, factors, planes, model.eps, scratch);
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
