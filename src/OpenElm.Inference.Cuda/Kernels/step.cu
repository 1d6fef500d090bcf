// One token of one sequence through the whole model, in one kernel: every block stays on its multiprocessor and has rows of every matrix.
//
// What a block reads is fixed before the step begins, so each warp streams its share of weights, keys and values through a ring of its own in
// shared memory, by the copy engine, in the order in which it will use them. The stream runs ahead: while blocks wait for each other, the next
// matrices are already on their way.
//
// Blocks exchange numbers through words of 64 bits: a float and the number of the step that wrote it. Who needs a number reads its word until
// the step is right; there is no other meeting. Each phase of each layer has words of its own, so none is written twice in a step.
//
// Phases of a layer: qkv · attention · out · gate and up · down. Attention of a KV head belongs to a cluster of blocks, which share the past.

constexpr int WARPS = 16, THREADS = 32 * WARPS;
constexpr int PIECE_VECTORS = PIECE_BYTES / 16;
constexpr int TILE_BYTES = 2 * PIECE_BYTES;                     // a piece of each of two rows, or keys and values of the same positions
constexpr int LANES = HEAD_DIM / 8, SIDE_BY_SIDE = 32 / LANES;   // of attention: lanes of a position, positions of a warp
constexpr int TILE_POSITIONS = PIECE_BYTES / (HEAD_DIM * sizeof(T)), ROUNDS = (TILE_POSITIONS + SIDE_BY_SIDE - 1) / SIDE_BY_SIDE;
constexpr int SHARE = HEAD_DIM + 4;                             // values, largest score, sum of weights, factor

// A block's rows of a matrix. A unit is two neighbouring rows, or a gate row with its up row; a tile is a piece of both of them.
struct Work
{
    const char* first;                                          // the first unit's
    int stride, second, row_bytes;                              // bytes to the next unit, to the unit's second row, and of a row
    int tiles, pieces, warp, rows, begin;                       // pieces of a row; the first tile's warp; how many rows, and the first's number
    u32 inverse, reserved;                                      // of pieces, of 2³²; 0 for one piece

    __device__ int unit(int tile) const { return inverse ? (int)__umulhi((u32)tile, inverse) : tile; }
};

struct Layer
{
    const float *attention_norm, *ffn_norm, *q_norm, *k_norm;
    int queries, keys, ffn, first;                              // first: KV head among those of all layers
    int words, own_head;                                        // where the layer's words begin: qkv, heads, x, h, x; own_head: of the block's cluster, the first
};

struct Model
{
    const Work* work;                                           // [blocks][qkv, out, gate and up, down of each layer; then the head]
    const Layer* layers;
    const T* embedding;
    const float *final_norm, *cos, *sin;
    u64* words;                                                 // of all layers
    float* logits;
    int* chosen;                                                // on the host: [ring][token, bits of its logit]
    int *state;                                                 // token, position
    long long* profile;                                         // null, or cycles of the first block: begin, [phases but attention][numbers there, rows done], end
    u64* ends;                                                  // best logit; arrivals at the end
    int layer_count, own_rows, partials, candidates;            // most rows of a block in the residual; most sums of pieces
    float eps;
    u32 step;
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

__device__ __forceinline__ void copy_async(void* to, const void* from, int bytes, u64* barrier)
{
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];"
        :: "r"(shared_address(to)), "l"(from), "r"(bytes), "r"(shared_address(barrier)) : "memory");
}

__device__ __forceinline__ void await_arrival(u64* barrier, int parity)
{
    asm volatile(
        "{\n.reg .pred p;\nAGAIN:\nmbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n@p bra DONE;\nbra AGAIN;\nDONE:\n}"
        :: "r"(shared_address(barrier)), "r"(parity) : "memory");
}

// Two words, each of them whole.
__device__ __forceinline__ void read_words(const u64* p, u64& a, u64& b)
{
    asm volatile("ld.relaxed.gpu.global.v2.u64 {%0, %1}, [%2];" : "=l"(a), "=l"(b) : "l"(p) : "memory");
}

__device__ __forceinline__ u64 read_word(const u64* p)
{
    u64 a;
    asm volatile("ld.relaxed.gpu.global.u64 %0, [%1];" : "=l"(a) : "l"(p) : "memory");
    return a;
}

__device__ __forceinline__ void write_word(u64* p, u64 a) { asm volatile("st.relaxed.gpu.global.u64 [%0], %1;" :: "l"(p), "l"(a) : "memory"); }

__device__ __forceinline__ void come_to_cluster() { asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory"); }

__device__ __forceinline__ void meet_cluster() { asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory"); }

// Puts x to the same place in another block of the cluster, whose barrier counts its bytes.
__device__ __forceinline__ void push(float* own, int rank, float x, u64* barrier)
{
    u32 to, counted;
    asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(to) : "r"(shared_address(own)), "r"(rank));
    asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(counted) : "r"(shared_address(barrier)), "r"(rank));
    asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.b32 [%0], %1, [%2];" :: "r"(to), "r"(__float_as_uint(x)), "r"(counted) : "memory");
}

__device__ __forceinline__ void rest() { }

__device__ __forceinline__ long long cycles() { return clock64(); }
#endif

__device__ __forceinline__ u64 word(float x, u32 step) { return (u64)step << 32 | __float_as_uint(x); }
__device__ __forceinline__ float content(u64 word) { return bits_to_float((u32)word); }

__device__ __forceinline__ float await_word(const u64* p, u32 step)
{
    u64 w;
    while ((u32)((w = read_word(p)) >> 32) != step) rest();
    return content(w);
}

// How the past is dealt to the warps of a cluster.
struct Past
{
    T* cache;
    int capacity, count, each, tiles;                           // positions before this token; of a warp; tiles of a warp

    __device__ void begin(T* cache_, int capacity_, int position)
    {
        cache = cache_, capacity = capacity_, count = position;
        each = (count + CLUSTER * WARPS - 1) / (CLUSTER * WARPS);
        tiles = (each + TILE_POSITIONS - 1) / TILE_POSITIONS;
    }

    __device__ static int clusters() { return gridDim.x / CLUSTER; }

    // A cluster's first KV head. Layers take turns, so that all clusters have about as many heads.
    __device__ static int own_head(int first)
    {
        int head = ((int)blockIdx.x / CLUSTER - first) % clusters();
        return head < 0 ? head + clusters() : head;
    }

    __device__ T* keys(const Layer& layer, int kv) const { return cache + (size_t)2 * (layer.first + kv) * capacity * HEAD_DIM; }

    __device__ int first(int warp, int tile) const { return ((int)blockIdx.x % CLUSTER * WARPS + warp) * each + tile * TILE_POSITIONS; }

    // Positions of a warp's tile; none, or fewer than others, at the end.
    __device__ int positions(int warp, int tile) const
    {
        int begin = first(warp, tile), end = first(warp, 0) + each;
        if (end > count) end = count;
        return end - begin < TILE_POSITIONS ? end - begin : TILE_POSITIONS;
    }
};

// The tile that a warp asks for next: five phases a layer, the second is attention.
struct Cursor
{
    int phase, tile, head, place;
};

// What a cluster's blocks send to the one that has a slice of a KV head's result: values, largest scores and sums of weights.
constexpr int SLICE = GROUP * HEAD_DIM / CLUSTER, LETTER = SLICE + 2 * GROUP;

__device__ __forceinline__ char* shared_memory()
{
    DYNAMIC_SHARED(char, shared);
    return shared;
}

// Shared memory begins with it; then come the block's work, layers, its rows of the residual, sums of pieces, and what is multiplied.
struct Stage
{
    char ring[WARPS][RING][TILE_BYTES];
    u64 full[WARPS][RING], received[2];
    Cursor ahead[WARPS];
    float squares[WARPS], inbox[2][CLUSTER][LETTER];
    Past past;
    Model model;
    int layer_count, layers_at, residual_at, partial_at, planes_at, reserved;

    __device__ const Work* work() const { return (const Work*)(shared_memory() + sizeof(Stage)); }
    __device__ const Layer* layers() const { return (const Layer*)(shared_memory() + layers_at); }
    __device__ float* residual() const { return (float*)(shared_memory() + residual_at); }
    __device__ float* partial() const { return (float*)(shared_memory() + partial_at); }
    __device__ float* planes() const { return (float*)(shared_memory() + planes_at); }

    // What a phase leaves: qkv, heads, the residual, the activated, the residual.
    __device__ u64* words(int layer, int phase) const
    {
        const Layer& l = layers()[layer];
        u64* at = model.words + l.words;
        if (phase > 0) at += (l.queries + 2 * l.keys) * HEAD_DIM;
        if (phase > 1) at += l.queries * HEAD_DIM;
        if (phase > 2) at += MODEL_DIM;
        if (phase > 3) at += l.ffn;
        return at;
    }

    __device__ const Work& work_of(int phase) const { return work()[phase / 5 * 4 + (phase % 5 == 0 ? 0 : phase % 5 - 1)]; }

    __device__ bool is_attention(int phase) const { return phase % 5 == 1 && phase < 5 * layer_count; }

    __device__ void enter(Cursor& c, int warp, int phase) const
    {
        c.phase = phase;
        if (phase > 5 * layer_count) return;
        if (is_attention(phase)) c.tile = 0, c.head = layers()[phase / 5].own_head;
        else c.tile = (warp - work_of(phase).warp) & (WARPS - 1);
    }
};

__device__ __forceinline__ Stage& stage_of_block() { return *(Stage*)shared_memory(); }

// Asks for the next tiles of a warp's stream, as far as there are any.
__device__ __noinline__ void fill(int times)
{
    Stage& stage = stage_of_block();
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    Cursor c = stage.ahead[warp];
    while (times > 0 && c.phase <= 5 * stage.layer_count)
    {
        const char* from;
        size_t second;
        int bytes;
        if (stage.is_attention(c.phase))
        {
            const Past& past = stage.past;
            const Layer& layer = stage.layers()[c.phase / 5];
            int positions = c.head < layer.keys && c.tile < past.tiles ? past.positions(warp, c.tile) : 0;
            if (positions <= 0)
            {
                c.tile = 0;
                c.head += Past::clusters();
                if (c.head >= layer.keys) stage.enter(c, warp, c.phase + 1);
                continue;
            }
            from = (const char*)(past.keys(layer, c.head) + (size_t)past.first(warp, c.tile) * HEAD_DIM);
            second = (size_t)past.capacity * HEAD_DIM * sizeof(T);
            bytes = positions * HEAD_DIM * (int)sizeof(T);
            c.tile++;
        }
        else
        {
            const Work& w = stage.work_of(c.phase);
            if (c.tile >= w.tiles)
            {
                stage.enter(c, warp, c.phase + 1);
                continue;
            }
            int unit = w.unit(c.tile), piece = c.tile - unit * w.pieces;
            from = w.first + (size_t)unit * w.stride + piece * PIECE_BYTES;
            second = 2 * unit + 1 < w.rows ? w.second : 0;      // an odd last row twice
            bytes = w.row_bytes - piece * PIECE_BYTES;
            if (bytes > PIECE_BYTES) bytes = PIECE_BYTES;
            c.tile += WARPS;
        }
        u64* full = &stage.full[warp][c.place];
        if (lane == 0) expect(full, 2 * bytes);
        if (lane < 2) copy_async(stage.ring[warp][c.place] + lane * PIECE_BYTES, from + lane * second, bytes, full);
        if (++c.place == RING) c.place = 0;
        times--;
    }
    __syncwarp();
    if (lane == 0) stage.ahead[warp] = c;
    __syncwarp();
}

// What a warp has used of its stream.
struct Stream
{
    int place, parity, free, attended;                          // free: places that can be asked for anew

    __device__ void settle()
    {
        if (free > 0) fill(free);
        free = 0;
    }

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
        free++;
        if (++place == RING)
        {
            place = 0;
            parity ^= 1;
        }
    }
};

// partial[tile][row] = row's piece · the planes' piece, for the warp's tiles of the block's work.
__device__ __noinline__ Stream multiply(Stream stream, int number)
{
    const Stage& stage = stage_of_block();
    const Work w = stage.work()[number];
    const Float4* x = (const Float4*)stage.planes();
    float* partial = stage.partial();
    int vectors = w.row_bytes / 16, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll 1
    for (int t = (warp - w.warp) & (WARPS - 1); t < w.tiles; t += WARPS)
    {
        stream.settle();
        int first = (t - w.unit(t) * w.pieces) * PIECE_VECTORS, count = vectors - first < PIECE_VECTORS ? vectors - first : PIECE_VECTORS;
        const Word4 *rows = (const Word4*)stream.take(), *others = rows + PIECE_VECTORS;
        float sum = 0, other = 0;
#pragma unroll
        for (int i = 0; i < (PIECE_VECTORS + 31) / 32; i++)
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
        // Half a warp sums each row.
        bool upper = lane >= 16;
        float own = upper ? other : sum, given = upper ? sum : other;
        own += __shfl_xor_sync(0xffffffff, given, 16);
#pragma unroll
        for (int mask = 8; mask > 0; mask >>= 1) own += __shfl_xor_sync(0xffffffff, own, mask);
        if (lane % 16 == 0) partial[2 * t + upper] = own;
    }
    __syncthreads();
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

// Waits for a vector of words, four to a thread; put(i, first element, its four).
template <int BATCH, class Put>
__device__ __forceinline__ void receive(const u64* words, int width, u32 step, Put put)
{
#pragma unroll 1
    for (int base = threadIdx.x; base < width / 4; base += BATCH * THREADS)
    {
        u64 w[BATCH][4];
#pragma unroll
        for (int i = 0; i < BATCH; i++)
        {
            const u64* from = words + 4 * (base + i * THREADS);
            if (base + i * THREADS >= width / 4) continue;
            read_words(from, w[i][0], w[i][1]);
            read_words(from + 2, w[i][2], w[i][3]);
        }
#pragma unroll
        for (int i = 0; i < BATCH; i++)
        {
            const u64* from = words + 4 * (base + i * THREADS);
            if (base + i * THREADS >= width / 4) continue;
            while ((u32)(w[i][0] >> 32) != step || (u32)(w[i][1] >> 32) != step || (u32)(w[i][2] >> 32) != step || (u32)(w[i][3] >> 32) != step)
            {
                rest();
                read_words(from, w[i][0], w[i][1]);
                read_words(from + 2, w[i][2], w[i][3]);
            }
            put(i, 4 * (base + i * THREADS), Float4{ content(w[i][0]), content(w[i][1]), content(w[i][2]), content(w[i][3]) });
        }
    }
}

// A thread's share, of four floats each, of a vector of the residual's width.
constexpr int QUARTERS = (MODEL_DIM / 4 + THREADS - 1) / THREADS;

// The planes = the residual · a norm's weights; the norm's scale comes behind the product, from the sums of squares of each warp.
// words: null for the first layer, which takes a row of the embedding.
__device__ __noinline__ void receive_normed(const u64* words, const T* embedded, const float* weights)
{
    Stage& stage = stage_of_block();
    float *planes = stage.planes(), squares = 0;
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
        *(Float4*)(planes + plane(at, MODEL_DIM)) = Float4{ x.x * w[i].x, x.y * w[i].y, x.z * w[i].z, x.w * w[i].w };
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
    __syncthreads();
}

__device__ __noinline__ void receive_plain(const u64* words, int width)
{
    Stage& stage = stage_of_block();
    float* planes = stage.planes();
    receive<4>(words, width, stage.model.step, [&](int, int at, const Float4& four) { *(Float4*)(planes + plane(at, width)) = four; });
    __syncthreads();
}

// A row of the block's, from the sums of its pieces.
__device__ __forceinline__ float sum_of_row(const Stage& stage, const Work& work, int unit, int second)
{
    const float* partial = stage.partial() + 2 * unit * work.pieces + second;
    float sum = 0;
#pragma unroll 1
    for (int i = 0; i < work.pieces; i++) sum += partial[2 * i];
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
__device__ __noinline__ void send(Kind kind, int number, u64* words)
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
    __device__ void apply(const u64* from, u32 step, bool normed, float eps, int lane, Put put) const
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

// Attention of one KV head, by a cluster: each warp has some positions. The planes hold queries [GROUP][HEAD_DIM], the new key and value as they
// are stored, then [WARPS][GROUP][SHARE].
__device__ __noinline__ Stream attend(Stream stream, int layer_number, int kv)
{
    Stage& stage = stage_of_block();
    const Past& past = stage.past;
    const Model& model = stage.model;
    const Layer& layer = stage.layers()[layer_number];
    int position = past.count;
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, rank = blockIdx.x % CLUSTER, box = stream.attended & 1;
    float *q = stage.planes(), *shares = q + GROUP * HEAD_DIM + 2 * HEAD_DIM;
    T *new_key = (T*)(q + GROUP * HEAD_DIM), *new_value = new_key + HEAD_DIM;
    if (threadIdx.x == 0) expect(stage.received + box, CLUSTER * LETTER * (int)sizeof(float));
    const u64* qkv = model.words + layer.words;
    if (warp < GROUP + 2)
    {
        int head = warp < GROUP ? kv * GROUP + warp : warp == GROUP ? layer.queries + kv : layer.queries + layer.keys + kv;
        const u64* from = qkv + (size_t)head * HEAD_DIM;
        bool normed = layer.q_norm != nullptr;
        T* stored = past.keys(layer, kv) + (size_t)position * HEAD_DIM + (warp == GROUP ? 0 : (size_t)past.capacity * HEAD_DIM);
        auto keep = [&](T* own, int at, float x)
        {
            T rounded;
            narrow(x, rounded);
            own[at] = rounded;
            if (rank == 0) stored[at] = rounded;
        };
        if (warp <= GROUP)
        {
            Rotation rotation;
            rotation.load(warp < GROUP ? layer.q_norm : layer.k_norm, model, position, lane);
            float factor = 1.44269504f * rsqrtf((float)HEAD_DIM);   // powers of two instead of e
            rotation.apply(from, model.step, normed, model.eps, lane, [&](int at, float x)
            {
                if (warp < GROUP) q[warp * HEAD_DIM + at] = x * factor;
                else keep(new_key, at, x);
            });
        }
        else
            for (int i = lane; i < HEAD_DIM; i += 32) keep(new_value, i, await_word(from + i, model.step));
    }
    __syncthreads();

    int part = lane % LANES * 8, side = lane / LANES;
    float y[GROUP][8] = {}, most[GROUP], sum[GROUP] = {};
#pragma unroll
    for (int g = 0; g < GROUP; g++) most[g] = -INFINITE;
    int tiles = past.tiles, extra = rank == CLUSTER - 1 && warp == WARPS - 1 ? 1 : 0;
#pragma unroll 1
    for (int t = 0; t < tiles + extra; t++)
    {
        int count = t < tiles ? past.positions(warp, t) : 1;
        if (count <= 0) continue;
        const T *keys = new_key, *values = new_value;
        if (t < tiles)
        {
            if (stream.free == RING) stream.settle();
            keys = (const T*)stream.take();
            values = (const T*)((const char*)keys + PIECE_BYTES);
        }
        float scores[ROUNDS][GROUP];
#pragma unroll
        for (int i = 0; i < ROUNDS; i++)
        {
            int p = i * SIDE_BY_SIDE + side;
            float k[8] = {};
            if (p < count) load8(keys + p * HEAD_DIM + part, k);
#pragma unroll
            for (int g = 0; g < GROUP; g++)
            {
                Float4 a = *(const Float4*)(q + g * HEAD_DIM + part), b = *(const Float4*)(q + g * HEAD_DIM + part + 4);
                float score = a.x * k[0] + a.y * k[1] + a.z * k[2] + a.w * k[3] + b.x * k[4] + b.y * k[5] + b.z * k[6] + b.w * k[7];
#pragma unroll
                for (int mask = LANES / 2; mask > 0; mask >>= 1) score += __shfl_xor_sync(0xffffffff, score, mask);
                scores[i][g] = p < count ? score : -INFINITE;
            }
        }
#pragma unroll
        for (int g = 0; g < GROUP; g++)
        {
            float larger = most[g];
#pragma unroll
            for (int i = 0; i < ROUNDS; i++) larger = fmaxf(larger, scores[i][g]);
#pragma unroll
            for (int mask = LANES; mask < 32; mask <<= 1) larger = fmaxf(larger, __shfl_xor_sync(0xffffffff, larger, mask));
            float before = exp2f(most[g] - larger);
            most[g] = larger;
            sum[g] *= before;
#pragma unroll
            for (int i = 0; i < 8; i++) y[g][i] *= before;
#pragma unroll
            for (int i = 0; i < ROUNDS; i++) sum[g] += scores[i][g] = exp2f(scores[i][g] - larger);
        }
#pragma unroll
        for (int i = 0; i < ROUNDS; i++)
        {
            int p = i * SIDE_BY_SIDE + side;
            float v[8] = {};
            if (p < count) load8(values + p * HEAD_DIM + part, v);
#pragma unroll
            for (int g = 0; g < GROUP; g++)
#pragma unroll
                for (int j = 0; j < 8; j++) y[g][j] += scores[i][g] * v[j];
        }
        if (t < tiles) stream.leave();
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
    __syncthreads();

    // Warps.
    if (threadIdx.x < (WARPS * GROUP + 31) / 32 * 32)
    {
        // A head's shares of the warps lie side by side in half a warp.
        bool mine = threadIdx.x < WARPS * GROUP;
        int g = mine ? threadIdx.x / WARPS : 0;
        float* share = shares + (threadIdx.x % WARPS * GROUP + g) * SHARE;
        float own = share[HEAD_DIM], larger = own;
#pragma unroll
        for (int mask = WARPS / 2; mask > 0; mask >>= 1) larger = fmaxf(larger, __shfl_xor_sync(0xffffffff, larger, mask));
        float factor = exp2f(own - larger), total = share[HEAD_DIM + 1] * factor;
#pragma unroll
        for (int mask = WARPS / 2; mask > 0; mask >>= 1) total += __shfl_xor_sync(0xffffffff, total, mask);
        if (mine) share[HEAD_DIM + 2] = factor;
        int other = threadIdx.x % WARPS;
        if (mine && other < CLUSTER)
        {
            push(&stage.inbox[box][rank][SLICE + g], other, larger, stage.received + box);
            push(&stage.inbox[box][rank][SLICE + GROUP + g], other, total, stage.received + box);
        }
    }
    __syncthreads();
#pragma unroll 1
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
        push(&stage.inbox[box][rank][i % SLICE], i / SLICE, total, stage.received + box);
    }
    __syncthreads();                                            // the planes are free

    // Blocks: each has a slice of the result.
    u64* heads = model.words + layer.words + (size_t)(layer.queries + 2 * layer.keys + kv * GROUP) * HEAD_DIM;
#pragma unroll 1
    for (int i = threadIdx.x; i < SLICE; i += THREADS)
    {
        await_arrival(stage.received + box, stream.attended / 2 & 1);
        int g = (rank * SLICE + i) / HEAD_DIM;
        float larger = -INFINITE, total = 0, all = 0;
#pragma unroll
        for (int r = 0; r < CLUSTER; r++) larger = fmaxf(larger, stage.inbox[box][r][SLICE + g]);
#pragma unroll
        for (int r = 0; r < CLUSTER; r++)
        {
            const float* letter = stage.inbox[box][r];
            float factor = exp2f(letter[SLICE + g] - larger);
            total += letter[i] * factor;
            all += letter[SLICE + GROUP + g] * factor;
        }
        write_word(heads + rank * SLICE + i, word(__fdividef(total, all), model.step));
    }
    stream.attended++;
    return stream;
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
    Stage& stage = stage_of_block();
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, count = 4 * model.layer_count + 1;
    if (token < 0)
    {
        token = model.state[0];
        position = model.state[1];
    }
    int layers_at = (int)sizeof(Stage) + count * (int)sizeof(Work);
    u64 *to_work = (u64*)(shared_memory() + sizeof(Stage)), *to_layers = (u64*)(shared_memory() + layers_at);
    for (int i = threadIdx.x; i < count * (int)(sizeof(Work) / 8); i += THREADS) to_work[i] = ((const u64*)(model.work + (size_t)blockIdx.x * count))[i];
    for (int i = threadIdx.x; i < model.layer_count * (int)(sizeof(Layer) / 8); i += THREADS) to_layers[i] = ((const u64*)model.layers)[i];
    __syncthreads();
    for (int i = threadIdx.x; i < model.layer_count; i += THREADS) ((Layer*)to_layers)[i].own_head = Past::own_head(model.layers[i].first);
    for (int i = threadIdx.x; i < WARPS * RING; i += THREADS) init_arrival(&stage.full[0][0] + i, 1);
    if (threadIdx.x == 0)
    {
        for (int i = 0; i < 2; i++) init_arrival(stage.received + i, 1);
        stage.model = model;
        stage.layer_count = model.layer_count;
        stage.layers_at = layers_at;
        stage.residual_at = layers_at + model.layer_count * (int)sizeof(Layer);
        stage.partial_at = stage.residual_at + model.own_rows * (int)sizeof(float);
        stage.planes_at = (stage.partial_at + model.partials * (int)sizeof(float) + 127) / 128 * 128;
        stage.past.begin(cache, capacity, position);
    }
    publish_arrivals();
    long long* profile = model.profile && blockIdx.x == 0 && threadIdx.x == 0 ? model.profile : nullptr;
    auto note = [&]() { if (profile) *profile++ = cycles(); };
    note();
    __syncthreads();
    come_to_cluster();
    if (lane == 0)
    {
        Cursor first = {};
        stage.enter(first, warp, 0);
        stage.ahead[warp] = first;
    }
    __syncwarp();
    Stream stream = { 0, 0, RING, 0 };
    stream.settle();

    const T* embedded = model.embedding + (size_t)token * MODEL_DIM;
    float* residual = stage.residual();
    const Work* work = stage.work();
    for (int i = threadIdx.x; i < work[1].rows; i += THREADS) residual[i] = widen(embedded[work[1].begin + i]);
    meet_cluster();
    auto phase = [&](Kind kind, int number, u64* to)
    {
        note();
        stream = multiply(stream, number);
        send(kind, number, to);
        note();
        stream.settle();
    };
    u64* x = nullptr;                                           // the residual's words
    for (int l = 0; l < stage.layer_count; l++)
    {
        receive_normed(x, embedded, stage.layers()[l].attention_norm);
        phase(NORMED, 4 * l, stage.words(l, 0));
        for (int kv = stage.layers()[l].own_head; kv < stage.layers()[l].keys; kv += Past::clusters()) stream = attend(stream, l, kv);
        stream.settle();
        receive_plain(stage.words(l, 1), stage.layers()[l].queries * HEAD_DIM);
        phase(ADDED, 4 * l + 1, stage.words(l, 2));
        receive_normed(stage.words(l, 2), nullptr, stage.layers()[l].ffn_norm);
        phase(ACTIVATED, 4 * l + 2, stage.words(l, 3));
        receive_plain(stage.words(l, 3), stage.layers()[l].ffn);
        phase(ADDED, 4 * l + 3, x = stage.words(l, 4));
    }

    receive_normed(x, nullptr, model.final_norm);
    note();
    stream = multiply(stream, count - 1);
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
    note();
#pragma unroll
    for (int mask = 16; mask > 0; mask >>= 1)
    {
        u64 other = __shfl_xor_sync(0xffffffff, best, mask);
        if (other > best) best = other;
    }
    u64* of_warps = (u64*)stage.planes();
    if (lane == 0) of_warps[warp] = best;
    __syncthreads();
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
