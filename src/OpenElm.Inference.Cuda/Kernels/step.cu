// One token of one sequence through the whole model, in one kernel: every block stays on its multiprocessor and has rows of every matrix.
//
// What a block reads is fixed before the step begins, so weights, keys and values stream through rings in shared memory, one for each warp, by the
// copy engine, in the order of their use. A warp of its own asks for them and runs ahead: while blocks wait for each other, the next matrices are
// already on their way, and no warp that computes waits until the engine takes an order.
//
// Blocks exchange numbers through words: floats whose last bit says in which step they were written, an even or an odd one. Each phase of each
// layer has words of its own, so a word changes once a step, and who needs it reads it until it has changed; there is no other meeting.
//
// Phases of a layer: qkv · attention · out · gate and up · down. In attention every block has a KV head and a split of its past; a head's splits
// exchange their results, and each of them joins some elements.

constexpr int THREADS = 32 * WARPS;               // that compute; one more asks for what they read
constexpr int TILE_BYTES = 2 * PIECE_BYTES;                     // a piece of each of two rows, or keys and values of the same positions
constexpr int LANES = HEAD_DIM / 8, SIDE_BY_SIDE = 32 / LANES;   // of attention: lanes of a position, positions of a warp
constexpr int POSITION_BYTES = HEAD_DIM * sizeof(T), TILE_POSITIONS = PIECE_BYTES / POSITION_BYTES, ROUNDS = (TILE_POSITIONS + SIDE_BY_SIDE - 1) / SIDE_BY_SIDE;
constexpr int PAIR = GROUP % 2 == 0 ? 2 : 1;
constexpr int SHARE = HEAD_DIM + 4;                             // of a warp in a head: values, largest score, sum of weights, factor
constexpr int RESULT = GROUP * HEAD_DIM, LETTER = RESULT + 2 * GROUP; // what a split says: values, largest scores, sums of weights

// What a block reads of a matrix. A unit is two neighbouring rows, or a gate row with its up row; a tile is a piece of both of them.
// Tiles go to warps in turn, all units' first pieces first. In attention a unit is a warp's part of the past, its rows are keys and values.
struct __align__(16) Work
{
    const char* first;                                          // the first unit's
    int stride, second, row_bytes, piece_bytes;                 // bytes to the next unit, to the unit's second row, of a row, of a piece
    int units, pieces, warp, rows, begin, limit;                // the first tile's warp; how many rows, the first's number; bytes that there are
    int format, width, columns, reserved;                       // of packed rows: how, numbers of a row, and of a piece
};

struct Layer
{
    const float *attention_norm, *ffn_norm, *q_norm, *k_norm;
    int queries, keys, ffn, first;                              // first: KV head among those of all layers
    int words, splits;                                          // where the layer's words begin: qkv, letters of splits, heads, x, h, x
};

struct Model
{
    const Work* work;                                           // [blocks][qkv, slots of attention, out, gate and up, down of each layer; then the head]
    const Layer* layers;
    const T* embedding;
    const float *final_norm, *cos, *sin;
    float *words, *logits;
    int* chosen;                                                // on the host: [ring][token, bits of its logit]
    int *state;                                                 // token, position
    long long* profile;                                         // null, or cycles of the first block: begin, eleven of each layer, head's numbers there, end
    u64* ends;                                                  // best logit; arrivals at the end
    int layer_count, own_rows, partials, candidates;            // most rows of a block in the residual; most sums of pieces
    float eps;
    u32 step;
    int slots, reserved;                                        // splits of KV heads that a block has in a layer
};

#ifndef EMULATED
__device__ __forceinline__ u32 shared_address(const void* p) { return (u32)__cvta_generic_to_shared(p); }

__device__ __forceinline__ void init_arrival(u64* barrier, int arrivals)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" :: "r"(shared_address(barrier)), "r"(arrivals) : "memory");
}

__device__ __forceinline__ void publish_arrivals() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }

// The barrier's phase ends when one thread has expected and all expected bytes are there.
__device__ __forceinline__ void expect(u64* barrier, int bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" :: "r"(shared_address(barrier)), "r"(bytes) : "memory");
}

// once: the second-level cache need not keep it.
__device__ __forceinline__ void copy_async(void* to, const void* from, int bytes, u64* barrier, bool once)
{
    u64 first, usual;
    asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(first));
    asm volatile("createpolicy.fractional.L2::evict_normal.b64 %0, 1.0;" : "=l"(usual));
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1], %2, [%3], %4;"
        :: "r"(shared_address(to)), "l"(from), "r"(bytes), "r"(shared_address(barrier)), "l"(once ? first : usual) : "memory");
}

__device__ __forceinline__ void arrive(u64* barrier)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" :: "r"(shared_address(barrier)) : "memory");
}

__device__ __forceinline__ bool has_arrived(u64* barrier, int parity)
{
    u32 there;
    asm volatile("{\n.reg .pred p;\nmbarrier.test_wait.parity.shared::cta.b64 p, [%1], %2;\nselp.u32 %0, 1, 0, p;\n}" : "=r"(there) : "r"(shared_address(barrier)), "r"(parity) : "memory");
    return there != 0;
}

// All warps that compute.
__device__ __forceinline__ void meet() { asm volatile("bar.sync 1, %0;" :: "n"(THREADS) : "memory"); }

__device__ __forceinline__ void await_arrival(u64* barrier, int parity)
{
    asm volatile(
        "{\n.reg .pred p;\nAGAIN:\nmbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n@p bra DONE;\nbra AGAIN;\nDONE:\n}"
        :: "r"(shared_address(barrier)), "r"(parity) : "memory");
}

__device__ __forceinline__ u32 read_word(const float* p)
{
    u32 bits;
    asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];" : "=r"(bits) : "l"(p) : "memory");
    return bits;
}

__device__ __forceinline__ void read_words(const float* p, u32 (&w)[4])
{
    asm volatile("ld.relaxed.gpu.global.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(w[0]), "=r"(w[1]), "=r"(w[2]), "=r"(w[3]) : "l"(p) : "memory");
}

__device__ __forceinline__ void write_word(float* p, u32 bits) { asm volatile("st.relaxed.gpu.global.u32 [%0], %1;" :: "l"(p), "r"(bits) : "memory"); }

__device__ __forceinline__ void rest() { }

__device__ __forceinline__ long long cycles() { return clock64(); }
#endif

__device__ __forceinline__ u32 word(float x, u32 step) { return __float_as_uint(x) & ~1u | step & 1; }

__device__ __forceinline__ bool is_new(u32 word, u32 step) { return ((word ^ step) & 1) == 0; }

__device__ __forceinline__ float await_word(const float* p, u32 step)
{
    u32 w;
    while (!is_new(w = read_word(p), step)) rest();
    return bits_to_float(w);
}

__device__ __forceinline__ char* shared_memory()
{
    DYNAMIC_SHARED(char, shared);
    return shared;
}

// Shared memory begins with it; then come the block's work, layers, its rows of the residual, sums of pieces, and what is multiplied.
struct __align__(16) Stage
{
    char ring[WARPS][RING][TILE_BYTES];
    u64 full[WARPS][RING], free[WARPS][RING];
    float squares[WARPS];
    Model model;
    T* cache;
    int capacity, position, count;                              // count: of work
    int layers_at, residual_at, partial_at, planes_at, reserved;
    long long* profile;                                         // of the first block's first thread; null elsewhere and mostly

    __device__ void note()
    {
        if (threadIdx.x == 0 && profile) *profile++ = cycles();
    }

    __device__ Work* work() const { return (Work*)(shared_memory() + sizeof(Stage)); }
    __device__ Layer* layers() const { return (Layer*)(shared_memory() + layers_at); }
    __device__ float* residual() const { return (float*)(shared_memory() + residual_at); }
    __device__ float* partial() const { return (float*)(shared_memory() + partial_at); }
    __device__ float* planes() const { return (float*)(shared_memory() + planes_at); }

    // What a phase leaves: qkv, letters of splits, heads, the residual, the activated, the residual.
    __device__ float* words(const Layer& l, int phase) const
    {
        float* at = model.words + l.words;
        if (phase > 0) at += (l.queries + 2 * l.keys) * HEAD_DIM;
        if (phase > 1) at += (l.keys * l.splits * LETTER + 3) / 4 * 4;
        if (phase > 2) at += l.queries * HEAD_DIM;
        if (phase > 3) at += MODEL_DIM;
        if (phase > 4) at += l.ffn;
        return at;
    }

    __device__ T* keys(const Layer& l, int kv) const { return cache + (size_t)2 * (l.first + kv) * capacity * HEAD_DIM; }
};

__device__ __forceinline__ Stage& stage_of_block() { return *(Stage*)shared_memory(); }

// A block's part of a KV head's past: none where there are more blocks than splits.
__device__ void share_past(const Stage& stage, const Layer& layer, int item, Work& w)
{
    w = Work{};
    w.begin = -1;                                               // later steps read it again
    int each = (stage.position + layer.splits * WARPS - 1) / (layer.splits * WARPS), begin = item % layer.splits * WARPS * each;
    if (item >= layer.keys * layer.splits || each == 0 || begin >= stage.position) return;
    w.first = (const char*)(stage.keys(layer, item / layer.splits) + (size_t)begin * HEAD_DIM);
    w.stride = w.row_bytes = each * POSITION_BYTES;
    w.second = stage.capacity * POSITION_BYTES;
    w.piece_bytes = TILE_POSITIONS * POSITION_BYTES;
    w.units = WARPS;
    w.pieces = (each + TILE_POSITIONS - 1) / TILE_POSITIONS;
    w.rows = 2 * WARPS;
    w.limit = (stage.position - begin) * POSITION_BYTES;
}

// Of a tile; none behind the end of the past.
__device__ __forceinline__ int bytes_of(const Work& w, int unit, int piece)
{
    int from = piece * w.piece_bytes, bytes = w.row_bytes - from, rest = w.limit - unit * w.stride - from;
    if (rest < bytes) bytes = rest;
    return bytes < w.piece_bytes ? bytes : w.piece_bytes;
}

// On to a tile that there is, from one that need not be.
__device__ __forceinline__ bool find(const Work& w, int& unit, int& piece)
{
    while (unit >= w.units && piece < w.pieces) unit -= w.units, piece++;
    return piece < w.pieces;
}

// Asks for all tiles of a step: two lanes for each warp's ring, which have a row of the tile each.
__device__ __noinline__ void ask()
{
    Stage& stage = stage_of_block();
    int lane = threadIdx.x % 32, warp = lane / 2, half = lane % 2;
    int number = 0, unit = (warp - stage.work()[0].warp) & (WARPS - 1), piece = 0, place = 0, parity = 1, bytes = 0; // parity: of the barriers' past
    const char* from = nullptr;
    bool once = true;
    if (warp >= WARPS) return;
#pragma unroll 1
    while (true)
    {
#pragma unroll 1
        while (bytes <= 0 && number < stage.count)
        {
            const Work w = stage.work()[number];
            if (!find(w, unit, piece))
            {
                number++;
                piece = 0;
                if (number < stage.count) unit = (warp - stage.work()[number].warp) & (WARPS - 1);
                continue;
            }
            bytes = bytes_of(w, unit, piece);
            int second = half && 2 * unit + 1 < w.rows ? w.second : 0; // an odd last row twice
            from = w.first + unit * w.stride + piece * w.piece_bytes + second;
            once = w.begin >= 0;
            unit += WARPS;
        }
        if (bytes <= 0) return;
        // No lane waits for another: their warps may wait for each other.
        if (has_arrived(&stage.free[warp][place], parity))
        {
            u64* full = &stage.full[warp][place];
            if (half == 0) expect(full, 2 * bytes);
            copy_async(stage.ring[warp][place] + half * PIECE_BYTES, from, bytes, full, once);
            bytes = 0;
            if (++place == RING) place = 0, parity ^= 1;
        }
        else rest();
    }
}

// What a warp has used of its ring.
struct Stream
{
    int place, parity;

    // Waits for the next tile.
    __device__ const char* take() const
    {
        Stage& stage = stage_of_block();
        int warp = threadIdx.x / 32;
        await_arrival(&stage.full[warp][place], parity);
        return stage.ring[warp][place];
    }

    // The tile has been read.
    __device__ void leave()
    {
        __syncwarp();
        if (threadIdx.x % 32 == 0) arrive(&stage_of_block().free[threadIdx.x / 32][place]);
        if (++place == RING)
        {
            place = 0;
            parity ^= 1;
        }
    }
};

// Half a warp sums each of two rows.
__device__ __forceinline__ void put_sums(float sum, float other, float* partial)
{
    int lane = threadIdx.x % 32;
    bool upper = lane >= 16;
    float own = upper ? other : sum, given = upper ? sum : other;
    own += __shfl_xor_sync(0xffffffff, given, 16);
#pragma unroll
    for (int mask = 8; mask > 0; mask >>= 1) own += __shfl_xor_sync(0xffffffff, own, mask);
    if (lane % 16 == 0) partial[upper] = own;
}

// partial[piece][row] = row's piece · the planes' piece, for the warp's tiles of the block's work.
__device__ __noinline__ Stream multiply(Stream stream, int number)
{
    const Stage& stage = stage_of_block();
    const Work w = stage.work()[number];
    const Float4* x = (const Float4*)stage.planes();
    float* partial = stage.partial();
    int vectors = w.row_bytes / 16, per_piece = w.piece_bytes / 16, lane = threadIdx.x % 32, unit = (threadIdx.x / 32 - w.warp) & (WARPS - 1), piece = 0;
#pragma unroll 1
    for (; find(w, unit, piece); unit += WARPS)
    {
        int first = piece * per_piece, count = vectors - first < per_piece ? vectors - first : per_piece;
        const Word4 *rows = (const Word4*)stream.take(), *others = rows + PIECE_BYTES / 16;
        float sum = 0, other = 0;
#pragma unroll
        for (int i = 0; i < (PIECE_BYTES / 16 + 31) / 32; i++)
        {
            int v = lane + 32 * i;
            if (v >= count) break;
            Word4 p = rows[v], q = others[v];
            Float4 a = x[first + v];
#if BF16
            Float4 b = x[vectors + first + v];
            sum += bits_to_float(p.x << 16) * a.x + bits_to_float(p.x & 0xffff0000) * a.y + bits_to_float(p.y << 16) * a.z + bits_to_float(p.y & 0xffff0000) * a.w;
            other += bits_to_float(q.x << 16) * a.x + bits_to_float(q.x & 0xffff0000) * a.y + bits_to_float(q.y << 16) * a.z + bits_to_float(q.y & 0xffff0000) * a.w;
            sum += bits_to_float(p.z << 16) * b.x + bits_to_float(p.z & 0xffff0000) * b.y + bits_to_float(p.w << 16) * b.z + bits_to_float(p.w & 0xffff0000) * b.w;
            other += bits_to_float(q.z << 16) * b.x + bits_to_float(q.z & 0xffff0000) * b.y + bits_to_float(q.w << 16) * b.z + bits_to_float(q.w & 0xffff0000) * b.w;
#else
            sum += bits_to_float(p.x) * a.x + bits_to_float(p.y) * a.y + bits_to_float(p.z) * a.z + bits_to_float(p.w) * a.w;
            other += bits_to_float(q.x) * a.x + bits_to_float(q.y) * a.y + bits_to_float(q.z) * a.z + bits_to_float(q.w) * a.w;
#endif
        }
        stream.leave();
        put_sums(sum, other, partial + 2 * (piece * w.units + unit));
    }
    meet();
    return stream;
}

// The same for packed rows: whole numbers of 8 bits by four.
__device__ __noinline__ Stream multiply_packed(Stream stream, int number)
{
    const Stage& stage = stage_of_block();
    const Work w = stage.work()[number];
    const char* planes = (const char*)stage.planes();
    int lane = threadIdx.x % 32, unit = (threadIdx.x / 32 - w.warp) & (WARPS - 1), piece = 0;
#pragma unroll 1
    for (; find(w, unit, piece); unit += WARPS)
    {
        int first = piece * w.columns, count = w.width - first < w.columns ? w.width - first : w.columns;
        const char* tile = stream.take();
        const Word4* x = (const Word4*)(planes + first);
        const Float2* scales = (const Float2*)(planes + w.width) + first / 32;
        float sum[2] = {};
        if (w.format == BYTES)
        {
#pragma unroll 2
            for (int v = lane; v < count / 16; v += 32)
            {
                Word4 a = x[v];
                float scale = scales[v / 2].x;
#pragma unroll
                for (int r = 0; r < 2; r++)
                {
                    const char* row = tile + r * PIECE_BYTES;
                    Word4 b = ((const Word4*)row)[v];
                    int whole = __dp4a((int)b.x, (int)a.x, __dp4a((int)b.y, (int)a.y, __dp4a((int)b.z, (int)a.z, __dp4a((int)b.w, (int)a.w, 0))));
                    sum[r] += whole * (half_to_float(((const u16*)(row + count))[v / 2]) * scale);
                }
            }
        }
        else
        {
#pragma unroll 2
            for (int v = lane; v < count / 32; v += 32)
            {
                Word4 low = x[2 * v], high = x[2 * v + 1];
                Float2 scale = scales[v];
#pragma unroll
                for (int r = 0; r < 2; r++)
                {
                    const char* row = tile + r * PIECE_BYTES;
                    Word4 b = ((const Word4*)row)[v];
                    const u16* halves = (const u16*)(row + count / 2);
                    constexpr u32 NIBBLE = 0x0f0f0f0f;
                    int whole = __dp4a((int)(b.x & NIBBLE), (int)low.x, __dp4a((int)(b.y & NIBBLE), (int)low.y, __dp4a((int)(b.z & NIBBLE), (int)low.z, __dp4a((int)(b.w & NIBBLE), (int)low.w, 0))));
                    whole = __dp4a((int)(b.x >> 4 & NIBBLE), (int)high.x, __dp4a((int)(b.y >> 4 & NIBBLE), (int)high.y, __dp4a((int)(b.z >> 4 & NIBBLE), (int)high.z, __dp4a((int)(b.w >> 4 & NIBBLE), (int)high.w, whole))));
                    sum[r] += half_to_float(halves[v]) * (scale.x * whole) - half_to_float(halves[count / 32 + v]) * scale.y;
                }
            }
        }
        stream.leave();
        put_sums(sum[0], sum[1], stage.partial() + 2 * (piece * w.units + unit));
    }
    meet();
    return stream;
}

// Where element i of a vector of width elements lies in the planes of halves.
__device__ __forceinline__ int plane(int i, int width)
{
#if BF16
    return (i % 8 / 4) * (width / 2) + i / 8 * 4 + i % 4;
#else
    return i;
#endif
}

// Waits for a vector of words, four to a thread; put(i, first element, its four). While some are missing, one lane of a warp looks.
template <int BATCH, class Put>
__device__ __forceinline__ void receive(const float* words, int width, u32 step, Put put)
{
    int lane = threadIdx.x % 32;
#pragma unroll 1
    for (int base = threadIdx.x; base - lane < width / 4; base += BATCH * THREADS)
    {
        u32 w[BATCH][4];
#pragma unroll
        for (int i = 0; i < BATCH; i++)
            if (base + i * THREADS < width / 4) read_words(words + 4 * (base + i * THREADS), w[i]);
#pragma unroll
        for (int i = 0; i < BATCH; i++)
        {
            if (base - lane + i * THREADS >= width / 4) break;
            int at = 4 * (base + i * THREADS);
            while (true)
            {
                bool missing = at < width && !(is_new(w[i][0], step) && is_new(w[i][1], step) && is_new(w[i][2], step) && is_new(w[i][3], step));
                u32 all = __ballot_sync(0xffffffff, missing);
                if (all == 0) break;
                if (lane == 31 - __clz((int)all)) await_word(words + at + 3, step);
                __syncwarp();
                if (missing) read_words(words + at, w[i]);
            }
            if (at < width) put(i, at, Float4{ bits_to_float(w[i][0]), bits_to_float(w[i][1]), bits_to_float(w[i][2]), bits_to_float(w[i][3]) });
        }
    }
}

// What packed rows are multiplied with: bytes, then for each 32 their scale and the sum of what they stand for. Eight lanes have 32 numbers.
__device__ __forceinline__ void put_packed(char* planes, int at, int width, const Float4& x)
{
    float largest = fmaxf(fmaxf(fabsf(x.x), fabsf(x.y)), fmaxf(fabsf(x.z), fabsf(x.w)));
#pragma unroll
    for (int mask = 1; mask < 8; mask <<= 1) largest = fmaxf(largest, __shfl_xor_sync(0xffffffff, largest, mask));
    float inverse = largest > 0 ? __fdividef(127.0f, largest) : 0;
    int a = __float2int_rn(x.x * inverse), b = __float2int_rn(x.y * inverse), c = __float2int_rn(x.z * inverse), d = __float2int_rn(x.w * inverse);
    int sum = a + b + c + d;
#pragma unroll
    for (int mask = 1; mask < 8; mask <<= 1) sum += __shfl_xor_sync(0xffffffff, sum, mask);
    *(u32*)(planes + at) = (u32)(a & 255) | (u32)(b & 255) << 8 | (u32)(c & 255) << 16 | (u32)(d & 255) << 24;
    float scale = largest / 127.0f;
    if (threadIdx.x % 8 == 0) ((Float2*)(planes + width))[at / 32] = Float2{ scale, scale * sum };
}

// A thread's share, of four floats each, of a vector of the residual's width.
constexpr int QUARTERS = (MODEL_DIM / 4 + THREADS - 1) / THREADS;

// The planes = the residual · a norm's weights; the norm's scale comes behind the product, from the sums of squares of each warp.
// words: null for the first layer, which takes a row of the embedding.
__device__ __noinline__ void receive_normed(const float* words, const T* embedded, const float* weights, int number)
{
    Stage& stage = stage_of_block();
    float *planes = stage.planes(), squares = 0;
    bool packed = PACKED && stage.work()[number].format != PLAIN;
    Float4 w[QUARTERS];
#pragma unroll
    for (int i = 0; i < QUARTERS; i++)
    {
        int at = threadIdx.x + i * THREADS;
        if (at < MODEL_DIM / 4) w[i] = ((const Float4*)weights)[at];
    }
    auto put = [&](int i, int at, const Float4& x)
    {
        squares += x.x * x.x + x.y * x.y + x.z * x.z + x.w * x.w;
        Float4 y = { x.x * w[i].x, x.y * w[i].y, x.z * w[i].z, x.w * w[i].w };
        if (packed) put_packed((char*)planes, at, MODEL_DIM, y);
        else *(Float4*)(planes + plane(at, MODEL_DIM)) = y;
    };
    if (words) receive<QUARTERS>(words, MODEL_DIM, stage.model.step, put);
    else
#pragma unroll
        for (int i = 0; i < QUARTERS; i++)
        {
            int at = 4 * (threadIdx.x + i * THREADS);
            if (at < MODEL_DIM) put(i, at, Float4{ widen(embedded[at]), widen(embedded[at + 1]), widen(embedded[at + 2]), widen(embedded[at + 3]) });
        }
    squares = sum_of_warp(squares);
    if (threadIdx.x % 32 == 0) stage.squares[threadIdx.x / 32] = squares;
    meet();
}

__device__ __noinline__ void receive_plain(const float* words, int width, int number)
{
    Stage& stage = stage_of_block();
    float* planes = stage.planes();
    if (!PACKED || stage.work()[number].format == PLAIN) receive<4>(words, width, stage.model.step, [&](int, int at, const Float4& four) { *(Float4*)(planes + plane(at, width)) = four; });
    else receive<2>(words, width, stage.model.step, [&](int, int at, const Float4& four) { put_packed((char*)planes, at, width, four); });
    meet();
}

// A row of the block's, from the sums of its pieces.
__device__ __forceinline__ float sum_of_row(const Stage& stage, const Work& work, int unit, int second)
{
    const float* partial = stage.partial() + 2 * unit + second;
    float sum = 0;
#pragma unroll 4
    for (int i = 0; i < work.pieces; i++) sum += partial[2 * i * work.units];
    return sum;
}

// A norm's.
__device__ __forceinline__ float scale(const Stage& stage)
{
    float squares = 0;
#pragma unroll
    for (int i = 0; i < WARPS; i++) squares += stage.squares[i];
    return rsqrtf(squares / MODEL_DIM + stage.model.eps);
}

// What becomes of the rows of a product.
enum Kind { NORMED, ADDED, ACTIVATED };

// The block's rows, to everyone.
__device__ __noinline__ void send(Kind kind, int number, float* words)
{
    Stage& stage = stage_of_block();
    const Work& work = stage.work()[number];
    bool glued = GATED && kind == ACTIVATED;
    int rows = glued ? work.rows / 2 : work.rows;
    for (int i = threadIdx.x; i < rows; i += THREADS)
    {
        float y = sum_of_row(stage, work, glued ? i : i / 2, glued ? 0 : i % 2);
        if (kind == ADDED) y = stage.residual()[i] += y;
        else y *= scale(stage);
        if (kind == ACTIVATED) y = silu(y) * (glued ? scale(stage) * sum_of_row(stage, work, i, 1) : 1);
        write_word(words + work.begin + i, word(y, stage.model.step));
    }
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

    // put(element, value)
    template <class Put>
    __device__ void apply(const float* from, u32 step, bool normed, float eps, int lane, Put put) const
    {
        float a[OWN], b[OWN], squares = 0;
#pragma unroll
        for (int i = 0; i < OWN; i++)
        {
            int at = lane + 32 * i;
            a[i] = at < HALF ? await_word(from + at, step) : 0;
            b[i] = at < HALF ? await_word(from + at + HALF, step) : 0;
            squares += a[i] * a[i] + b[i] * b[i];
        }
        float scale = normed ? rsqrtf(sum_of_warp(squares) / HEAD_DIM + eps) : 1;
#pragma unroll
        for (int i = 0; i < OWN; i++)
        {
            int at = lane + 32 * i;
            if (at >= HALF) continue;
            float x = a[i] * scale * wa[i], y = b[i] * scale * wb[i];
            put(at, x * c[i] - y * s[i]);
            put(at + HALF, y * c[i] + x * s[i]);
        }
    }
};

// Sums positions side by side: lanes give half of their heads away and take the other half's, as long as there are halves; then they are put to share.
template <int MASK, int HEADS>
__device__ __forceinline__ void gather_sides(float (&y)[HEADS][8], float* share, int lane)
{
    if constexpr (MASK < LANES)
    {
#pragma unroll
        for (int g = 0; g < HEADS; g++)
        {
            *(Float4*)(share + g * SHARE + lane % LANES * 8) = Float4{ y[g][0], y[g][1], y[g][2], y[g][3] };
            *(Float4*)(share + g * SHARE + lane % LANES * 8 + 4) = Float4{ y[g][4], y[g][5], y[g][6], y[g][7] };
        }
    }
    else if constexpr (HEADS % 2 == 0)
    {
        constexpr int HALF = HEADS / 2;
        bool upper = lane & MASK;
        float kept[HALF][8];
#pragma unroll
        for (int g = 0; g < HALF; g++)
#pragma unroll
            for (int j = 0; j < 8; j++)
            {
                float given = upper ? y[g][j] : y[g + HALF][j];
                kept[g][j] = (upper ? y[g + HALF][j] : y[g][j]) + __shfl_xor_sync(0xffffffff, given, MASK);
            }
        gather_sides<MASK / 2, HALF>(kept, share + (upper ? HALF * SHARE : 0), lane);
    }
    else
    {
#pragma unroll
        for (int g = 0; g < HEADS; g++)
#pragma unroll
            for (int j = 0; j < 8; j++) y[g][j] += __shfl_xor_sync(0xffffffff, y[g][j], MASK);
        gather_sides<MASK / 2, HEADS>(y, share, lane);
    }
}

// Attention of a block's split of a KV head: each warp has some positions. The planes hold queries [GROUP][HEAD_DIM], the new key and value as they
// are stored, then [WARPS][GROUP][SHARE].
__device__ __noinline__ Stream attend(Stream stream, int layer_number, int number, int item)
{
    Stage& stage = stage_of_block();
    const Model& model = stage.model;
    const Layer& layer = stage.layers()[layer_number];
    const Work& w = stage.work()[number];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, splits = layer.splits, kv = item / splits, split = item - kv * splits;
    float *q = stage.planes(), *shares = q + GROUP * HEAD_DIM + 2 * HEAD_DIM;
    T *new_key = (T*)(q + GROUP * HEAD_DIM), *new_value = new_key + HEAD_DIM;
    for (int role = warp; role < GROUP + 2; role += WARPS)
    {
        int head = role < GROUP ? kv * GROUP + role : role == GROUP ? layer.queries + kv : layer.queries + layer.keys + kv;
        const float* from = stage.words(layer, 0) + head * HEAD_DIM;
        bool normed = layer.q_norm != nullptr;
        T* stored = stage.keys(layer, kv) + (size_t)(stage.position + (role == GROUP ? 0 : stage.capacity)) * HEAD_DIM;
        auto keep = [&](T* own, int at, float x)
        {
            T rounded;
            narrow(x, rounded);
            own[at] = rounded;
            if (split == 0) stored[at] = rounded;
        };
        if (role <= GROUP)
        {
            Rotation rotation;
            rotation.load(role < GROUP ? layer.q_norm : layer.k_norm, model, stage.position, lane);
            float factor = 1.44269504f * rsqrtf((float)HEAD_DIM);   // powers of two instead of e
            rotation.apply(from, model.step, normed, model.eps, lane, [&](int at, float x)
            {
                if (role < GROUP) q[role * HEAD_DIM + at] = x * factor;
                else keep(new_key, at, x);
            });
        }
        else
            for (int i = lane; i < HEAD_DIM; i += 32) keep(new_value, i, await_word(from + i, model.step));
    }
    meet();
    if (item == 0) stage.note();

    int part = lane % LANES * 8, side = lane / LANES;
    float y[GROUP][8] = {}, most[GROUP], sum[GROUP] = {};
#pragma unroll
    for (int g = 0; g < GROUP; g++) most[g] = -INFINITE;
    int extra = split == splits - 1 && warp == WARPS - 1 ? 1 : 0;   // the new position
#pragma unroll 1
    for (int t = 0; t < w.pieces + extra; t++)
    {
        int count = t < w.pieces ? bytes_of(w, warp, t) / POSITION_BYTES : 1;
        if (count <= 0) continue;
        const T *keys = new_key, *values = new_value;
        if (t < w.pieces)
        {
            keys = (const T*)stream.take();
            values = (const T*)((const char*)keys + PIECE_BYTES);
        }
        // Two heads at a time, for the registers' sake.
#pragma unroll
        for (int h = 0; h < GROUP; h += PAIR)
        {
            float scores[ROUNDS][PAIR];
#pragma unroll
            for (int i = 0; i < ROUNDS; i++)
            {
                int p = i * SIDE_BY_SIDE + side;
#pragma unroll
                for (int g = 0; g < PAIR; g++) scores[i][g] = -INFINITE;
                if (i * SIDE_BY_SIDE >= count) continue;
                float k[8] = {};
                if (p < count) load8(keys + p * HEAD_DIM + part, k);
#pragma unroll
                for (int g = 0; g < PAIR; g++)
                {
                    Float4 a = *(const Float4*)(q + (h + g) * HEAD_DIM + part), b = *(const Float4*)(q + (h + g) * HEAD_DIM + part + 4);
                    float score = a.x * k[0] + a.y * k[1] + a.z * k[2] + a.w * k[3] + (b.x * k[4] + b.y * k[5] + b.z * k[6] + b.w * k[7]);
#pragma unroll
                    for (int mask = LANES / 2; mask > 0; mask >>= 1) score += __shfl_xor_sync(0xffffffff, score, mask);
                    if (p < count) scores[i][g] = score;
                }
            }
#pragma unroll
            for (int g = 0; g < PAIR; g++)
            {
                float larger = most[h + g];
#pragma unroll
                for (int i = 0; i < ROUNDS; i++) larger = fmaxf(larger, scores[i][g]);
#pragma unroll
                for (int mask = LANES; mask < 32; mask <<= 1) larger = fmaxf(larger, __shfl_xor_sync(0xffffffff, larger, mask));
                float before = power(most[h + g] - larger);
                most[h + g] = larger;
                sum[h + g] *= before;
#pragma unroll
                for (int i = 0; i < 8; i++) y[h + g][i] *= before;
#pragma unroll
                for (int i = 0; i < ROUNDS; i++) sum[h + g] += scores[i][g] = power(scores[i][g] - larger);
            }
#pragma unroll
            for (int i = 0; i < ROUNDS; i++)
            {
                int p = i * SIDE_BY_SIDE + side;
                if (i * SIDE_BY_SIDE >= count) continue;
                float v[8] = {};
                if (p < count) load8(values + p * HEAD_DIM + part, v);
#pragma unroll
                for (int g = 0; g < PAIR; g++)
#pragma unroll
                    for (int j = 0; j < 8; j++) y[h + g][j] += scores[i][g] * v[j];
            }
        }
        if (t < w.pieces) stream.leave();
    }

#pragma unroll
    for (int mask = 16; mask >= LANES; mask >>= 1)
#pragma unroll
        for (int g = 0; g < GROUP; g++) sum[g] += __shfl_xor_sync(0xffffffff, sum[g], mask);
    gather_sides<16, GROUP>(y, shares + warp * GROUP * SHARE, lane);
#pragma unroll
    for (int g = 0; g < GROUP; g++)
        if (lane == g)
        {
            shares[(warp * GROUP + g) * SHARE + HEAD_DIM] = most[g];
            shares[(warp * GROUP + g) * SHARE + HEAD_DIM + 1] = sum[g];
        }
    meet();

    // Warps.
    if (threadIdx.x < (WARPS * GROUP + 31) / 32 * 32)
    {
        // A head's shares of the warps lie side by side in a part of a warp.
        bool mine = threadIdx.x < WARPS * GROUP;
        int g = mine ? threadIdx.x / WARPS : 0;
        float* share = shares + (threadIdx.x % WARPS * GROUP + g) * SHARE;
        float own = share[HEAD_DIM], larger = own;
#pragma unroll
        for (int mask = WARPS / 2; mask > 0; mask >>= 1) larger = fmaxf(larger, __shfl_xor_sync(0xffffffff, larger, mask));
        float factor = power(own - larger), total = share[HEAD_DIM + 1] * factor;
#pragma unroll
        for (int mask = WARPS / 2; mask > 0; mask >>= 1) total += __shfl_xor_sync(0xffffffff, total, mask);
        if (mine) share[HEAD_DIM + 2] = factor;
        if (mine && threadIdx.x % WARPS == 0)
        {
            float* letter = stage.words(layer, 1) + item * LETTER + RESULT + g;
            write_word(letter, word(larger, model.step));
            write_word(letter + GROUP, word(total, model.step));
        }
    }
    meet();
#pragma unroll 1
    for (int i = threadIdx.x; i < RESULT; i += THREADS)
    {
        int g = i / HEAD_DIM, column = i % HEAD_DIM;
        float total = 0;
#pragma unroll
        for (int other = 0; other < WARPS; other++)
        {
            const float* share = shares + (other * GROUP + g) * SHARE;
            total += share[column] * share[HEAD_DIM + 2];
        }
        write_word(stage.words(layer, 1) + item * LETTER + i, word(total, model.step));
    }
    meet();                                            // the planes are free
    if (item == 0) stage.note();

    // Splits: each joins some elements, a warp one at a time, a lane for each letter.
    const float* letter = stage.words(layer, 1) + (kv * splits + lane) * LETTER;
#pragma unroll 1
    for (int i = split + warp * splits; i < RESULT; i += WARPS * splits)
    {
        bool has = lane < splits;
        int g = i / HEAD_DIM;
        float own = has ? await_word(letter + RESULT + g, model.step) : -INFINITE, weights = has ? await_word(letter + RESULT + GROUP + g, model.step) : 0;
        float value = has ? await_word(letter + i, model.step) : 0, larger = own;
#pragma unroll
        for (int mask = 16; mask > 0; mask >>= 1) larger = fmaxf(larger, __shfl_xor_sync(0xffffffff, larger, mask));
        float factor = power(own - larger), total = sum_of_warp(value * factor), all = sum_of_warp(weights * factor);
        if (lane == 0) write_word(stage.words(layer, 2) + kv * RESULT + i, word(__fdividef(total, all), model.step));
    }
    if (item == 0) stage.note();
    return stream;
}

// The larger the logit, the larger the key; of equal logits the first id wins.
__device__ __forceinline__ u64 rank(float logit, int id)
{
    u32 bits = __float_as_uint(logit);
    return (u64)(bits & 0x80000000 ? ~bits : bits | 0x80000000) << 32 | (u32)~id;
}

// token: −1 takes the token and the position that the step before chose. place: where the choice goes on the host.
extern "C" __global__ __launch_bounds__(THREADS + 32, 1) void decode_step(const __grid_constant__ Model model, T* cache, int capacity, int token, int position, int place)
{
    Stage& stage = stage_of_block();
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, per_layer = 4 + model.slots, count = per_layer * model.layer_count + 1;
    if (token < 0)
    {
        token = model.state[0];
        position = model.state[1];
    }
    int layers_at = (int)sizeof(Stage) + count * (int)sizeof(Work);
    u64 *to_work = (u64*)(shared_memory() + sizeof(Stage)), *to_layers = (u64*)(shared_memory() + layers_at);
    for (int i = threadIdx.x; i < count * (int)(sizeof(Work) / 8); i += THREADS + 32) to_work[i] = ((const u64*)(model.work + (size_t)blockIdx.x * count))[i];
    for (int i = threadIdx.x; i < model.layer_count * (int)(sizeof(Layer) / 8); i += THREADS + 32) to_layers[i] = ((const u64*)model.layers)[i];
    for (int i = threadIdx.x; i < 2 * WARPS * RING; i += THREADS + 32) init_arrival(&stage.full[0][0] + i, 1);
    if (threadIdx.x == 0)
    {
        stage.model = model;
        stage.cache = cache;
        stage.capacity = capacity;
        stage.position = position;
        stage.count = count;
        stage.layers_at = layers_at;
        stage.residual_at = layers_at + model.layer_count * (int)sizeof(Layer);
        stage.partial_at = stage.residual_at + model.own_rows * (int)sizeof(float);
        stage.planes_at = (stage.partial_at + model.partials * (int)sizeof(float) + 127) / 128 * 128;
    }
    publish_arrivals();
    if (threadIdx.x == 0)
    {
        stage.profile = blockIdx.x == 0 ? model.profile : nullptr;
        stage.note();
    }
    __syncthreads();
    for (int i = threadIdx.x; i < model.layer_count * model.slots; i += THREADS + 32)
    {
        int l = i / model.slots, slot = i % model.slots;
        share_past(stage, stage.layers()[l], blockIdx.x + slot * gridDim.x, stage.work()[l * per_layer + 1 + slot]);
    }
    __syncthreads();
    if (warp == WARPS)
    {
        ask();
        return;
    }
    Stream stream = { 0, 0 };

    const T* embedded = model.embedding + (size_t)token * MODEL_DIM;
    float* residual = stage.residual();
    const Work& out = stage.work()[per_layer - 3];
    for (int i = threadIdx.x; i < out.rows; i += THREADS) residual[i] = widen(embedded[out.begin + i]);
    auto phase = [&](Kind kind, int number, float* to)
    {
        stage.note();
        stream = !PACKED || stage.work()[number].format == PLAIN ? multiply(stream, number) : multiply_packed(stream, number);
        send(kind, number, to);
        stage.note();
    };
    float* x = nullptr;                                         // the residual's words
    for (int l = 0, first = 0; l < model.layer_count; l++, first += per_layer)
    {
        const Layer& layer = stage.layers()[l];
        receive_normed(x, embedded, layer.attention_norm, first);
        phase(NORMED, first, stage.words(layer, 0));
        for (int slot = 0, item = blockIdx.x; slot < model.slots && item < layer.keys * layer.splits; slot++, item += gridDim.x) stream = attend(stream, l, first + 1 + slot, item);
        receive_plain(stage.words(layer, 2), layer.queries * HEAD_DIM, first + per_layer - 3);
        phase(ADDED, first + per_layer - 3, stage.words(layer, 3));
        receive_normed(stage.words(layer, 3), nullptr, layer.ffn_norm, first + per_layer - 2);
        phase(ACTIVATED, first + per_layer - 2, stage.words(layer, 4));
        receive_plain(stage.words(layer, 4), layer.ffn, first + per_layer - 1);
        phase(ADDED, first + per_layer - 1, x = stage.words(layer, 5));
    }

    receive_normed(x, nullptr, model.final_norm, count - 1);
    stage.note();
    stream = !PACKED || stage.work()[count - 1].format == PLAIN ? multiply(stream, count - 1) : multiply_packed(stream, count - 1);
    const Work& head = stage.work()[count - 1];
    u64 best = 0;
    for (int i = threadIdx.x; i < head.rows; i += THREADS)
    {
        float y = scale(stage) * sum_of_row(stage, head, i / 2, i % 2);
        int row = head.begin + i;
        model.logits[row] = y;
        u64 key = rank(y, row);
        if (row < model.candidates && key > best) best = key;
    }
    stage.note();
#pragma unroll
    for (int mask = 16; mask > 0; mask >>= 1)
    {
        u64 other = __shfl_xor_sync(0xffffffff, best, mask);
        if (other > best) best = other;
    }
    u64* of_warps = (u64*)stage.planes();
    if (lane == 0) of_warps[warp] = best;
    meet();
    if (threadIdx.x != 0) return;
    for (int i = 1; i < WARPS; i++)
        if (of_warps[i] > best) best = of_warps[i];
    if (best) atomicMax(model.ends, best);
    __threadfence();
    if (atomicAdd(model.ends + 1, 1ull) % gridDim.x != gridDim.x - 1) return;
    __threadfence();
    best = atomicExch(model.ends, 0ull);
    u32 upper = (u32)(best >> 32);
    model.state[0] = (int)~(u32)best;
    model.state[1] = position + 1;
    model.chosen[2 * place] = (int)~(u32)best;
    model.chosen[2 * place + 1] = (int)(upper & 0x80000000 ? upper & 0x7fffffff : ~upper);
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
