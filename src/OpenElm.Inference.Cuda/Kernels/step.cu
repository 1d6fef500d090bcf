// One token of one sequence through the whole model, in one kernel: every block stays on its multiprocessor and has rows of every matrix.
//
// What a block reads is fixed before the step begins, so weights, keys and values stream through a ring in shared memory, by the copy engine, in the
// order of their use. A warp of its own asks for them and runs ahead: while blocks wait for each other, the next matrices are already on their way.
//
// A tile is a piece of up to 16 rows: one order for the engine, which knows the matrices (TensorMap). All warps work on it: a warp has every WARPS-th chunk of
// 32 columns, of every tile, so it waits for those numbers of the activations alone, and nothing meets between their arrival and the products. The products
// are the tensor cores': rows of weights times columns that have the upper and the lower halves of the activations, two bfloat16 numbers that are 16 of a
// float's 24 bits.
//
// With two warps a scheduler, each instruction between the arrival of a number and the writing of what comes of it costs four to five cycles, and a layer had
// some 2,800 of them. So what can be done before numbers come is: the work's description is in registers, the first tile of a product and of the past have been
// loaded; and weights are operands as they are loaded. An H200: 270M 3,448 → 4,010 tokens/s, 450M 2,474 → 2,810, 1.1B 1,307 → 1,374, 3B 550 → 560. And what all
// phases do is as little as can be, in as little code as can be: 4,221, 2,907, 1,412, 578; bytes 3,439 → 4,345, 1.1B 1,494 → 1,831, 3B 676 → 804.
//
// Blocks exchange numbers through words: floats whose last bit says in which step they were written, an even or an odd one. Each phase of each
// layer has words of its own, so a word changes once a step, and who needs it reads it until it has changed; there is no other meeting.
//
// Phases of a layer: qkv · attention · out · gate and up · down. In attention every block has a KV head and a split of its past; a head's splits
// exchange their results, and each of them joins some elements.

// C: keys and values; in 8 bits each position of a head has a factor, behind its plane's positions.
#if CACHE8
typedef signed char C;
#else
typedef T C;
#endif

// Part of the kernel's body where that leaves registers to the products: 270M 2 % faster, and 5 % slower with packed rows.
#if PAIRS + QUADS
#define CALLED __noinline__
#else
#define CALLED __forceinline__
#endif
constexpr int THREADS = 32 * WARPS;                             // that compute; one more warp asks for what they read
constexpr float LARGE = 12582912;                               // the last bits of a float about as large are a whole number
constexpr int TILES = 64;                                       // on their way, and those that a warp is ahead of another, at most
constexpr int CHUNK = 32;                                       // of columns
#if BF16
constexpr int CHUNK_BYTES = CHUNK * sizeof(T);
#endif
constexpr int TILE_ROWS = 16;
constexpr int OPERAND_BYTES = 128;                              // of a chunk of activations: halves of bfloat16, or floats, or bytes and their scale
constexpr int NOTES = 11;                                       // of a layer's profile: numbers there and rows done of qkv; queries there, own past done, splits joined; then as qkv of the others
constexpr int TILE_POSITIONS = 16, POSITION_BYTES = HEAD_DIM * sizeof(C);
constexpr int QUERY_BYTES = 4 * (HEAD_DIM < CHUNK ? CHUNK : HEAD_DIM) + 64; // of a query: no bank conflicts
constexpr int RESULT = GROUP * HEAD_DIM, EIGHTS = RESULT / 8;   // what a split says of a KV head goes in eights
static_assert(WARPS % 4 == 0, "what warps have found of the past is read by 16 bytes");
constexpr int SHARE = HEAD_DIM + 8;                             // of a warp in a head; no bank conflicts
constexpr int LETTER = 12;                                      // eight values, largest score, sum of weights, two unused

// A product of a block: what it reads of the matrix, where the activations come from, and where its rows' results go. Rows go one by one, or in pairs of a
// gate row and its up row; a tile is a piece of some rows, which lie pitch bytes apart in the ring: half of the banks beyond whole turns of them.
struct __align__(16) Work
{
    const char* first;                                          // the first row
    const float *from, *norm;                                   // words; a norm's weights or null; LayerNorm: then sums of rows
    float* to;                                                  // words of the block's rows; logits
    int second, row_bytes, piece_bytes, pitch;                  // bytes to a gate row's up row or 0, of a row, of a piece, to the next row in the ring
    int pieces, rows, tile_rows, begin;                         // of the block: rows, of a tile at most, the number of its first result
    int format, width, columns, maps;                           // numbers of a row and of a piece; which maps its tiles have, and in the upper half its last one
};

// A matrix as the engine knows it: eights of bytes of a row, the rows of a pair, pairs; and the box of a tile.
struct __align__(64) TensorMap
{
    u64 words[16];
};

extern "C"
{
__constant__ TensorMap maps[MAPS];
}

struct __align__(16) Layer
{
    const float *q_norm, *k_norm, *qkv;
    float *letters, *heads;                                     // words: of the splits, and joined
    int queries, keys, first, splits;                           // first: KV head among those of all layers
    u64 reserved;
};

struct Model
{
    const Work* work;                                           // [blocks][qkv, out, gate and up, down of each layer; then the head]
    const Layer* layers;
    const T* embedding;
    const float *cos, *sin;
    int* chosen;                                                // on the host: [ring][token, bits of its logit]
    int *state;                                                 // token, position
    long long* profile;                                         // cycles of the first block: launch; of the last token begin, NOTES of each layer, head's numbers there, logits, choice
    u64* best;                                                  // words: each block's best logit
    int candidates;
    float eps;
    u32 step;
    int reserved;
};

#ifndef EMULATED
__device__ __forceinline__ u32 shared_address(const void* p) { return (u32)__cvta_generic_to_shared(p); }

// A place in shared memory, which stays in a register: the compiler would make it again for every use, at 30 cycles.
typedef u32 Shared;

__device__ __forceinline__ Shared shared_place(const void* p)
{
    u32 place;
    asm volatile("mov.u32 %0, %1;" : "=r"(place) : "r"(shared_address(p)));
    return place;
}

__device__ __forceinline__ void read_shared(Shared p, u32 (&to)[4])
{
    asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3]) : "r"(p) : "memory");
}

__device__ __forceinline__ void read_shared(Shared p, u32 (&to)[2])
{
    asm volatile("ld.shared.v2.u32 {%0, %1}, [%2];" : "=r"(to[0]), "=r"(to[1]) : "r"(p) : "memory");
}

// What stays in a register.
__device__ __forceinline__ int kept(int x)
{
    asm volatile("" : "+r"(x));
    return x;
}

__device__ __forceinline__ u32 read_shared(Shared p)
{
    u32 x;
    asm volatile("ld.shared.u32 %0, [%1];" : "=r"(x) : "r"(p) : "memory");
    return x;
}

__device__ __forceinline__ void write_shared(Shared p, float x) { asm volatile("st.shared.f32 [%0], %1;" :: "r"(p), "f"(x) : "memory"); }

__device__ __forceinline__ u32 read_shared_half(Shared p)
{
    u32 x;
    asm volatile("ld.shared.u16 %0, [%1];" : "=r"(x) : "r"(p) : "memory");
    return x;
}

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

// What the second-level cache need not keep.
__device__ __forceinline__ u64 read_once()
{
    u64 policy;
    asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
    return policy;
}

// The map's box, from an eight of bytes of a row and a pair on. What is outside of the matrix becomes zeros.
__device__ __forceinline__ void copy_box(void* to, const TensorMap* map, int eight, int pair, u64* barrier, u64 policy)
{
    asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1, {%2, %3, %4}], [%5], %6;"
        :: "r"(shared_address(to)), "l"(map), "r"(eight), "r"(0), "r"(pair), "r"(shared_address(barrier)), "l"(policy) : "memory");
}

__device__ __forceinline__ void fetch_map(const TensorMap* map) { asm volatile("prefetch.tensormap [%0];" :: "l"(map) : "memory"); }

__device__ __forceinline__ void arrive_at(Shared barrier) { asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" :: "r"(barrier) : "memory"); }

__device__ __forceinline__ void arrive(u64* barrier) { arrive_at(shared_address(barrier)); }

// For all warps that compute.
__device__ __forceinline__ void arrive_for_all(u64* barrier)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0], %1;" :: "r"(shared_address(barrier)), "n"(WARPS) : "memory");
}

// All warps that compute.
__device__ __forceinline__ void meet() { asm volatile("bar.sync 1, %0;" :: "n"(THREADS) : "memory"); }

__device__ __forceinline__ void await_arrival_at(Shared barrier, int parity)
{
    asm volatile(
        "{\n.reg .pred p;\nAGAIN:\nmbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n@p bra DONE;\nbra AGAIN;\nDONE:\n}"
        :: "r"(barrier), "r"(parity) : "memory");
}

__device__ __forceinline__ void await_arrival(u64* barrier, int parity) { await_arrival_at(shared_address(barrier), parity); }

__device__ __forceinline__ bool has_arrived(u64* barrier, int parity)
{
    u32 has;
    asm volatile("{\n.reg .pred p;\nmbarrier.test_wait.parity.shared::cta.b64 p, [%1], %2;\nselp.u32 %0, 1, 0, p;\n}" : "=r"(has) : "r"(shared_address(barrier)), "r"(parity) : "memory");
    return has != 0;
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

__device__ __forceinline__ u64 read_long(const u64* p)
{
    u64 bits;
    asm volatile("ld.relaxed.gpu.global.u64 %0, [%1];" : "=l"(bits) : "l"(p) : "memory");
    return bits;
}

__device__ __forceinline__ void write_long(u64* p, u64 bits) { asm volatile("st.relaxed.gpu.global.u64 [%0], %1;" :: "l"(p), "l"(bits) : "memory"); }

// What threads have written may be read by the copy engine.
__device__ __forceinline__ void publish_to_engine() { asm volatile("fence.proxy.async;" ::: "memory"); }

__device__ __forceinline__ int read_acquired(const int* p)
{
    int x;
    asm volatile("ld.acquire.cta.shared.s32 %0, [%1];" : "=r"(x) : "r"(shared_address(p)) : "memory");
    return x;
}

__device__ __forceinline__ void write_released(int* p, int x) { asm volatile("st.release.cta.shared.s32 [%0], %1;" :: "r"(shared_address(p)), "r"(x) : "memory"); }

// What this thread has written or read comes before what it writes or reads later, for all blocks; __threadfence does more, and takes longer.
__device__ __forceinline__ void fence_device() { asm volatile("fence.acq_rel.gpu;" ::: "memory"); }

__device__ __forceinline__ void write_word(float* p, u32 bits) { asm volatile("st.relaxed.gpu.global.u32 [%0], %1;" :: "l"(p), "r"(bits) : "memory"); }

__device__ __forceinline__ void rest() { }

__device__ __forceinline__ long long cycles() { return clock64(); }

// Into the second-level cache.
__device__ __forceinline__ void fetch_early(const void* from, int bytes, u64 policy)
{
    asm volatile("cp.async.bulk.prefetch.L2.global.L2::cache_hint [%0], %1, %2;" :: "l"(from), "r"(bytes), "l"(policy) : "memory");
}

// d += a · b: [16, 16] · [16, 8]
__device__ __forceinline__ void multiply(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1)
{
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// d += a · b of bytes: [16, 32] · [32, 8]
__device__ __forceinline__ void multiply_bytes(int (&d)[4], const u32 (&a)[4], u32 b0, u32 b1)
{
    asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// The same; a has bytes without a sign.
__device__ __forceinline__ void multiply_nibbles(int (&d)[4], const u32 (&a)[4], u32 b0, u32 b1)
{
    asm("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Four [8, 8] matrices, columns for rows; lanes 0 to 7 name the first one's rows, and so on.
__device__ __forceinline__ void load_transposed(const u16* row, u32 (&r)[4])
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
        : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(row)) : "memory");
}
#endif

__device__ __forceinline__ u32 word(float x, u32 step) { return __float_as_uint(x) & ~1u | step & 1; }

// Whether one of four words has not been written yet.
__device__ __forceinline__ bool is_old(const u32 (&w)[4], u32 step) { return (((w[0] ^ step) | (w[1] ^ step) | ((w[2] ^ step) | (w[3] ^ step))) & 1) != 0; }

// Of all lanes: by whole numbers in the order of the floats.
__device__ __forceinline__ float largest_of_warp(float x)
{
    int bits = __float_as_int(x);
    bits = __reduce_max_sync(0xffffffff, bits ^ (bits >> 31 & 0x7fffffff));
    return __int_as_float(bits ^ (bits >> 31 & 0x7fffffff));
}

// A block's part of attention in a layer: a KV head, a split of its past, and the positions of that, none where there are more splits than tiles.
struct Share
{
    int kv, split, begin, past;

    static __device__ Share of(const Layer& layer, int item, int position)
    {
        int splits = layer.splits, kv = item / splits, split = item - kv * splits;
        int tiles = (position + TILE_POSITIONS - 1) / TILE_POSITIONS, each = (tiles + splits - 1) / splits * TILE_POSITIONS, begin = split * each;
        return Share{ kv, split, begin, position - begin < each ? position - begin : each };
    }
};

// All of a block's shared memory.
struct __align__(128) Stage
{
    char ring[RING_BYTES];
    char operands[WARPS][OWN_BYTES];                            // activations of each warp's columns; in attention, what the warp has found
    char queries[8 * QUERY_BYTES];
    Word4 zeros[2];                                             // of packed rows' operands
    __align__(16) C new_key[HEAD_DIM], new_value[HEAD_DIM];
    float cos[HEAD_DIM / 2], sin[HEAD_DIM / 2];                 // of the token's position
    float new_factors[2][TILE_POSITIONS];                       // of the key and of the value: the first ones
    __align__(16) float sums[TOTAL_ROWS][WARPS], squares[2][WARPS]; // of two phases in turn, read by 16 bytes; the head's sums take all of the room
#if LAYER_NORM
    __align__(16) float totals[2][WARPS];                       // as squares
#endif
    __align__(16) float most[GROUP][WARPS], all[GROUP][WARPS];  // of attention's warps: largest score, sum of weights
    Share shares[LAYERS];                                       // of the token
    Work work[4 * LAYERS + 1];
    Layer layers[LAYERS];
    u64 full[TILES], free[TILES];
    u16 sizes[TILES];                                           // of tiles on their way, with what they left behind at the ring's end: eights of bytes
    float residual[OWN_ROWS];                                   // the block's
    C* cache;
    int capacity, token, ended;                                 // token: the next one; ended: how many of the launch have been through all layers of all blocks
#if PROFILE
    long long* profile;                                         // of the first block; null elsewhere
#endif

    __device__ void note(int place)
    {
#if PROFILE
        if (threadIdx.x == 0 && profile) profile[place] = cycles();
#endif
    }

    // Of a KV head's keys, behind which its values' is.
    __device__ size_t plane() const { return (size_t)capacity * HEAD_DIM + (CACHE8 ? (capacity + 3) / 4 * 16 : 0); }
    __device__ C* keys(const Layer& l, int kv) const { return cache + 2 * (l.first + kv) * plane(); }
    __device__ float* factors(C* plane) const { return (float*)(plane + (size_t)capacity * HEAD_DIM); }
};

__device__ __forceinline__ char* shared_memory()
{
    DYNAMIC_SHARED(char, shared);
    return shared;
}

static_assert(sizeof(Stage) <= SHARED_BYTES, "StepLayout counts what Stage holds");

__device__ __forceinline__ Stage& stage_of_block() { return *(Stage*)shared_memory(); }

// Where the engine may write a box.
constexpr int UNIT = 128;

__device__ __forceinline__ int whole_units(int bytes) { return (bytes + UNIT - 1) / UNIT * UNIT; }

// A tile of the past: keys, values, and of 8 bits the factors of both.
__device__ __forceinline__ int past_bytes(int positions) { return whole_units(2 * positions * POSITION_BYTES) + (CACHE8 ? 2 * TILE_POSITIONS * (int)sizeof(float) : 0); }

// Where a tile of some bytes lies that follows another in the ring: it does not go around the end.
__device__ __forceinline__ int place_of(int end, int bytes) { return end + bytes <= RING_BYTES ? end : 0; }

// Brings rows into the second-level cache while the ring is full and all of it has come, so that the memory does not rest: in attention, above all. On an
// H200 2 % for 1.1B and 3B, and 2 to 5 % less for 450M and 270M, whose layers the ring holds. At any time, by a warp of its own: 5 to 12 % slower than never
// (words wait, and the cache overflows); in attention only, but at once instead of in turn with the ring, 2 to 9 % slower.
struct Scout
{
    int number, row, at;                                        // the next rows of a tile, and how many of their bytes have been fetched
    u32 fetched, asked;                                         // bytes so far, and those that the ring has been asked for

    // The ring is asked for rows.
    __device__ void pass(int of, int from, int rows, int row_bytes)
    {
        asked += rows * row_bytes;
        if ((int)(fetched - asked) >= 0) return;
        fetched = asked;
        number = of;
        row = from + rows;
        at = 0;
    }

    __device__ void go(u64 policy)
    {
        constexpr int STEP = 4 << 10;
        if ((int)(fetched - asked) >= AHEAD) return;
        const Work& w = stage_of_block().work[number];
        int rest = w.rows - row, rows = rest < w.tile_rows ? rest : w.tile_rows, all = rows * w.row_bytes, half = w.second ? all / 2 : all, own = at < half ? at : at - half, bytes = half - own;
        if (rest <= 0)
        {
            number = number == 4 * LAYERS ? 0 : number + 1;     // on with the next token
            row = 0;
            return;
        }
        if (bytes > STEP) bytes = STEP;
        fetch_early(w.first + (size_t)(w.second ? row / 2 : row) * w.row_bytes + (at < half ? 0 : w.second) + own, bytes, policy);
        fetched += bytes;
        at += bytes;
        if (at < all) return;
        row += rows;
        at = 0;
    }
};

// What the warp that asks knows of the ring, its first lane alone. What it does for a tile counts for all: the 0.6 µs of 16 orders for rows, an integer division
// and the bringing of rows ahead in between were the limit of a step, even without copies (3B 1,200 µs of 2,100; 330 now). What is on its way delays words: 3B
// waits for those of a phase 1.1 to 2 µs longer than without any copies. So there is a limit: 48 KB against all of the ring, on an H200, 450M 10 % and 1.1B and
// 3B 4 to 5 % faster; 32 KB are less than the memory can do.
struct Asker
{
    u32 tile, oldest, coming;                                   // the next one; the oldest in the ring, and of those that are on their way
    int end, used, flying, most;                                // bytes; most: that may be on their way
    u64 once;
    Scout scout;

    // Waits for room for the next tile, and for its barrier, which expects what will be copied. The place of a barrier is taken again late enough: a warp may
    // wait for the past's tile that is WARPS behind its last one, by the parity of a barrier that must have gone around once.
    __device__ char* begin(int size, int bytes)
    {
        Stage& stage = stage_of_block();
        int at = place_of(end, size), taken = at == end ? size : RING_BYTES - end + size;
        while (used + taken > RING_BYTES || tile - oldest > TILES - 1 - WARPS)
        {
            u64* free = &stage.free[oldest % TILES];
            while (AHEAD && !has_arrived(free, oldest / TILES & 1))
            {
                if (has_arrived(&stage.full[(tile - 1) % TILES], (tile - 1) / TILES & 1)) scout.go(once);
                rest();
            }
            await_arrival(free, oldest / TILES & 1);
            if (coming == oldest) land();                       // who has used it has had it; its barrier may go around
            used -= stage.sizes[oldest++ % TILES] * 8;
        }
        while (flying + taken > most && coming != tile)
        {
            await_arrival(&stage.full[coming % TILES], coming / TILES & 1);
            land();
        }
        stage.sizes[tile % TILES] = (u16)(taken / 8);
        used += taken;
        flying += taken;
        end = at + size;
        expect(barrier(), bytes);
        return stage.ring + at;
    }

    __device__ u64* barrier() const { return &stage_of_block().full[tile % TILES]; }

    // The oldest on its way has come.
    __device__ void land() { flying -= stage_of_block().sizes[coming++ % TILES] * 8; }
};

// Asks for the tiles of some tokens. What it does for each is as little as can be: a block's tiles come one after another.
__device__ __noinline__ void ask(int position, int tokens)
{
    Stage& stage = stage_of_block();
    Asker asker = {};
    asker.once = read_once();
    fetch_map(maps + (stage.work[0].maps & 0xffff));
    int before = 0, ended = 0;                                  // tokens before this one in the launch, and those known to have ended
#pragma unroll 1
    for (int all = 0, number = 0, next; all < tokens * (4 * LAYERS + 1); all++, number = next)
    {
        next = number == 4 * LAYERS ? 0 : number + 1;
        const Work& w = stage.work[number];
        int rows = w.rows, tile_rows = w.tile_rows, pitch = w.pitch, pieces = w.pieces, eights = w.piece_bytes / 8, pair = w.begin, pairs = w.second ? tile_rows / 2 : tile_rows, row_bytes = w.row_bytes;
        const TensorMap *map = maps + (w.maps & 0xffff), *last = maps + (w.maps >> 16);
        fetch_map(last);
        fetch_map(maps + (stage.work[next].maps & 0xffff));
        if (number % 4 == 1)
        {
            if (number == 1 && all > 1)
            {
                position++;
                before++;
            }
            const Layer& layer = stage.layers[number / 4];
#pragma unroll 1
            for (int item = blockIdx.x; item < layer.keys * layer.splits; item += gridDim.x)
            {
                Share share = Share::of(layer, item, position);
                int begin = share.begin, count = share.past;
                // Of the launch's tokens, those before this one must have left their keys and values; the last one only where it is read.
                int needed = begin + count == position ? before : before - 1;
                if (count > 0 && ended < needed)
                {
                    while ((ended = read_acquired(&stage.ended)) < needed) rest();
                    publish_to_engine();
                }
                C *keys = stage.keys(layer, share.kv), *values = keys + stage.plane();
#pragma unroll 1
                for (int t = 0; t < count; t += TILE_POSITIONS, asker.tile++)
                {
                    // Later steps read them again.
                    int positions = count - t < TILE_POSITIONS ? count - t : TILE_POSITIONS, bytes = positions * POSITION_BYTES, factor_bytes = CACHE8 ? (positions + 3) / 4 * 16 : 0;
                    char* tile = asker.begin(past_bytes(positions), 2 * (bytes + factor_bytes));
                    u64* full = asker.barrier();
                    copy_async(tile, keys + (size_t)(begin + t) * HEAD_DIM, bytes, full);
                    copy_async(tile + bytes, values + (size_t)(begin + t) * HEAD_DIM, bytes, full);
                    if (!CACHE8) continue;
                    float* factors = (float*)(tile + whole_units(2 * bytes));
                    copy_async(factors, stage.factors(keys) + begin + t, factor_bytes, full);
                    copy_async(factors + TILE_POSITIONS, stage.factors(values) + begin + t, factor_bytes, full);
                }
            }
        }
#pragma unroll 1
        for (int row = 0; row < rows; row += tile_rows, pair += pairs)
        {
            if (rows - row <= tile_rows) map = last, tile_rows = rows - row;
            // Words are slow while much is on its way; once a matrix has filled the ring, nobody waits for words.
            asker.most = row * row_bytes < RING_BYTES ? FLYING : RING_BYTES;
            if (AHEAD) asker.scout.pass(number, row, tile_rows, row_bytes);
            int bytes = tile_rows * pitch, size = whole_units(bytes);
#pragma unroll 1
            for (int eight = 0, i = 0; i < pieces; i++, eight += eights, asker.tile++) copy_box(asker.begin(size, bytes), map, eight, pair, asker.barrier(), asker.once);
        }
    }
}

// A lane's part of what a norm needs of the vector: the sum of its numbers' squares and, for LayerNorm, of the numbers.
struct Moments
{
    float squares, total;

    __device__ __forceinline__ void put(int turn) const
    {
        Stage& stage = stage_of_block();
        int warp = threadIdx.x / 32;
        float sum = sum_of_warp(squares);
        if (threadIdx.x % 32 == 0) stage.squares[turn][warp] = sum;
#if LAYER_NORM
        sum = sum_of_warp(total);
        if (threadIdx.x % 32 == 0) stage.totals[turn][warp] = sum;
#endif
    }
};

// What a warp has used of the ring.
struct Stream
{
    u32 tile;
    int end;

    // Waits for the next tile.
    __device__ const char* take(int size) const
    {
        await_arrival(&stage_of_block().full[tile % TILES], tile / TILES & 1);
        return stage_of_block().ring + place_of(end, size);
    }

    // Whether it has come.
    __device__ bool has_next() const { return __ballot_sync(0xffffffff, has_arrived(&stage_of_block().full[tile % TILES], tile / TILES & 1)) == 0xffffffff; }

    // The warp is done with the tile.
    __device__ void leave(int size)
    {
        __syncwarp();
        if (threadIdx.x % 32 == 0) arrive(&stage_of_block().free[tile % TILES]);
        pass(size);
    }

    // The tile was the warp's alone.
    __device__ void release(int size)
    {
        __syncwarp();
        if (threadIdx.x % 32 == 0) arrive_for_all(&stage_of_block().free[tile % TILES]);
        pass(size);
    }

    // The tile is another warp's.
    __device__ void pass(int size)
    {
        end = place_of(end, size) + size;
        tile++;
    }
};

#if BF16
// Of two neighbouring lanes: that of first in the even one, that of second in the odd one.
__device__ __forceinline__ float sum_of_pair(float first, float second)
{
    bool odd = threadIdx.x % 2;
    return (odd ? second : first) + __shfl_xor_sync(0xffffffff, odd ? first : second, 1);
}

// What a lane has of a piece and of its operands, and what it makes of them. Plain: of each of the warp's EACH chunks 16 bytes of two rows, and 8 of the
// activations. Behind a row's end are zeros, in the ring as among the operands.
//
// Eight rows are a left operand, as a lane has loaded them: of a lane's eight columns, row g of the operand has the first, second, fifth and sixth, and row g + 8
// the others. So the right operand's columns have, in turn, upper and lower halves of the activations for row g, then those for row g + 8.
template <int EACH> struct PlainPiece
{
    static constexpr Format FORMAT = PLAIN;
    struct Fragments
    {
        u32 upper[EACH][4], lower[EACH][4];
    };
    int at;                                                     // the lane's bytes of a row
    Shared first, own;                                          // its operands: of the first piece, and of the next one
    u32 x[EACH][2];
    float mine[2][4];                                           // of the upper and of the lower eight rows

    __device__ __forceinline__ PlainPiece(const Work&)
    {
        int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
        at = warp * CHUNK_BYTES + lane % 4 * 16;
        first = own = shared_place(stage_of_block().operands[warp] + lane / 4 % 4 * 32 + lane % 4 * 8);
        clear();
    }

    __device__ __forceinline__ void clear() { mine[0][0] = mine[0][1] = mine[0][2] = mine[0][3] = mine[1][0] = mine[1][1] = mine[1][2] = mine[1][3] = 0; }

    __device__ __forceinline__ void turn_to(int piece, bool) { own = first + piece * EACH * OPERAND_BYTES; }

    // upper, lower: the lane's rows, from its bytes on.
    __device__ __forceinline__ void load(Fragments& f, Shared upper, Shared lower) const
    {
#pragma unroll
        for (int i = 0; i < EACH; i++)
        {
            read_shared(upper + i * WARPS * CHUNK_BYTES, f.upper[i]);
            read_shared(lower + i * WARPS * CHUNK_BYTES, f.lower[i]);
        }
    }

    __device__ __forceinline__ void load_operands()
    {
#pragma unroll
        for (int i = 0; i < EACH; i++) read_shared(own + i * OPERAND_BYTES, x[i]);
    }

    __device__ __forceinline__ void multiply_by(const Fragments& f)
    {
#pragma unroll
        for (int i = 0; i < EACH; i++)
        {
            multiply(mine[0], f.upper[i], x[i][0], x[i][1]);
            multiply(mine[1], f.lower[i], x[i][0], x[i][1]);
        }
    }

    // Of the upper row in even lanes, of the lower one in odd ones. A lane with an even part has a row's sum over its own columns, the next one over the others.
    __device__ __forceinline__ float sum() const
    {
        bool odd = threadIdx.x % 2;
        return sum_of_pair(odd ? mine[0][2] + mine[0][3] : mine[0][0] + mine[0][1], odd ? mine[1][2] + mine[1][3] : mine[1][0] + mine[1][1]);
    }
};

// The same of packed rows, whose chunks lie warp by warp. Whole numbers are multiplied exactly, and four chunks at once, each of which has a scale of its own: two
// of eight columns have a chunk's activations, for row g and for row g + 8 of the operand, and zeros where the others are. So a lane's products of a row are those
// of one chunk. A lane's 16 bytes are half a chunk, or of nibbles a chunk. COUNT: of 16 bytes of a lane, in a piece. Chunks that it lacks are multiplied with
// something, times zero.
template <Format OWN, int COUNT> struct PackedPiece
{
    static constexpr Format FORMAT = OWN;
    static constexpr bool NIBBLE = OWN == NIBBLES;
    static constexpr int BYTES_OF_CHUNK = NIBBLE ? CHUNK / 2 : CHUNK, BYTES_OF_SCALE = NIBBLE ? 4 : 2, OF_FOUR = NIBBLE ? 1 : 2, FOURS = (COUNT + OF_FOUR - 1) / OF_FOUR;
    struct Fragments
    {
        u32 upper[COUNT][4], lower[COUNT][4], scales[2][FOURS]; // scales: of the lane's two rows
    };
    int at, scale[FOURS];                                       // the lane's bytes of a row, and from there the scales of its chunks, one of each four
    int each, last, chunks;                                     // a warp's chunks of a piece, of the last one, of this one
    int begun, there[OF_FOUR];                                  // bytes of operands of the pieces before this one; all bits where the lane has any of a product's operands
    int lane;                                                   // where its operands of the first piece are, behind nothing
    Shared factor, nothing;                                     // the factors of its chunks, of the first piece; zeros
    u32 x[COUNT][NIBBLE ? 2 : 1][2], factors[FOURS][2];         // factors: of the activations of the lane's chunks, scale, and what they sum up to
    float mine[2];                                              // of the upper and of the lower row

    __device__ __forceinline__ PackedPiece(const Work& w)
    {
        int column = threadIdx.x / 4 % 8, part = threadIdx.x % 4;
        const char* operands = stage_of_block().operands[threadIdx.x / 32];
        nothing = shared_place(stage_of_block().zeros);
        lane = kept((int)(shared_place(operands + column / 2 * OPERAND_BYTES + (NIBBLE ? 0 : part % 2 * 16) + column % 2 * 8) - nothing));
        factor = shared_place(operands + part * OPERAND_BYTES + CHUNK);
#pragma unroll
        for (int i = 0; i < OF_FOUR; i++) there[i] = kept(column / 2 == (NIBBLE ? part : 2 * i + part / 2) ? -1 : 0);
        each = w.columns / (WARPS * CHUNK);
        last = w.width / (WARPS * CHUNK) - (w.pieces - 1) * each;
        clear();
        turn_to(0, w.pieces == 1);
    }

    __device__ __forceinline__ void clear() { mine[0] = mine[1] = 0; }

    __device__ __forceinline__ void turn_to(int piece, bool is_last)
    {
        int warp = threadIdx.x / 32, part = threadIdx.x % 4;
        begun = piece * each * OPERAND_BYTES;
        chunks = is_last ? last : each;
        at = warp * chunks * BYTES_OF_CHUNK + part * 16;
#pragma unroll
        for (int i = 0; i < FOURS; i++) scale[i] = chunks * WARPS * BYTES_OF_CHUNK + (warp * chunks + (4 * i + part < chunks ? 4 * i + part : chunks - 1)) * BYTES_OF_SCALE - at;
    }

    __device__ __forceinline__ void load(Fragments& f, Shared upper, Shared lower) const
    {
#pragma unroll
        for (int i = 0; i < COUNT; i++)
        {
            read_shared(upper + i * 64, f.upper[i]);
            read_shared(lower + i * 64, f.lower[i]);
        }
#pragma unroll
        for (int i = 0; i < FOURS; i++)
        {
            f.scales[0][i] = NIBBLE ? read_shared(upper + scale[i]) : read_shared_half(upper + scale[i]);
            f.scales[1][i] = NIBBLE ? read_shared(lower + scale[i]) : read_shared_half(lower + scale[i]);
        }
    }

    __device__ __forceinline__ void load_operands()
    {
        int part = threadIdx.x % 4;
#pragma unroll
        for (int i = 0; i < COUNT; i++)
        {
            Shared own = nothing + ((lane + begun + i / OF_FOUR * 4 * OPERAND_BYTES) & there[i % OF_FOUR]);
#pragma unroll
            for (int j = 0; j < (NIBBLE ? 2 : 1); j++) read_shared(own + j * 16, x[i][j]);
        }
#pragma unroll
        for (int i = 0; i < FOURS; i++) read_shared(4 * i + part < chunks ? factor + begun + i * 4 * OPERAND_BYTES : nothing, factors[i]);
    }

    __device__ __forceinline__ void multiply_by(const Fragments& f)
    {
#pragma unroll
        for (int i = 0; i < FOURS; i++)
#pragma unroll
            for (int row = 0; row < 2; row++)
            {
                int d[4] = {}, sixteenths[4] = {};
#pragma unroll
                for (int j = i * OF_FOUR; j < (i + 1) * OF_FOUR && j < COUNT; j++)
                {
                    const u32(&a)[4] = row ? f.lower[j] : f.upper[j];
                    if (NIBBLE)
                    {
                        // Upper nibbles stay where they are.
                        constexpr u32 LOW = 0x0f0f0f0f, HIGH = 0xf0f0f0f0;
                        multiply_nibbles(d, { a[0] & LOW, a[1] & LOW, a[2] & LOW, a[3] & LOW }, x[j][0][0], x[j][0][1]);
                        multiply_nibbles(sixteenths, { a[0] & HIGH, a[1] & HIGH, a[2] & HIGH, a[3] & HIGH }, x[j][NIBBLE ? 1 : 0][0], x[j][NIBBLE ? 1 : 0][1]);
                    }
                    else multiply_bytes(d, a, x[j][0][0], x[j][0][1]);
                }
                int whole = NIBBLE ? ((d[0] + d[3]) << 4) + (sixteenths[0] + sixteenths[3]) : d[0] + d[3];
                float product = __int_as_float(whole + __float_as_int(LARGE)) - LARGE;
                mine[row] += product * (half_to_float((u16)f.scales[row][i]) * __uint_as_float(factors[i][0]));
                if (NIBBLE) mine[row] -= half_to_float((u16)(f.scales[row][i] >> 16)) * __uint_as_float(factors[i][1]);
            }
    }

    __device__ __forceinline__ float sum() const
    {
        float sum = sum_of_pair(mine[0], mine[1]);
        return sum + __shfl_xor_sync(0xffffffff, sum, 2);
    }
};

// All rows of the block: sums[row][warp] = row · activations, of the warp's columns. A tile is loaded when the one before it has been multiplied, before that one's
// sums are written, and is left at once.
//
// Two copies of the loop's body that take turns with two tiles' registers, the next one's loads before the products of this one, were as fast for plain rows and
// 6 to 13 % of a step slower for packed ones: more instructions than their cache holds, and more registers than there are.
template <class Piece> struct Product
{
    typedef typename Piece::Fragments Fragments;
    int all, pitch, pieces, tile_rows, piece, row;              // of the tile that is loaded: which piece of its rows, and its first row
    int size, upper, lower;                                     // its bytes, and where the lane's rows are in it
    Shared ring, full, result;                                  // result: where the lane's sum of the tile's rows goes
    int limit;                                                  // it has one where row is less
    Piece own;

    __device__ __forceinline__ Product(const Work& w, float (*sums)[WARPS]) : all(w.rows), pitch(w.pitch), pieces(w.pieces), tile_rows(w.tile_rows), piece(0), row(0), own(w)
    {
        int lane = threadIdx.x % 32, which = lane / 4 + lane % 2 * 8;
        ring = shared_place(stage_of_block().ring);
        full = shared_place(stage_of_block().full);
        result = shared_place(&sums[which][threadIdx.x / 32]);
        limit = kept(lane % 4 < 2 && which < tile_rows ? all - which : 0);
        place();
    }

    __device__ __forceinline__ void place()
    {
        int first = threadIdx.x % 32 / 4, rows = all - row < tile_rows ? all - row : tile_rows;
        size = whole_units(rows * pitch);
        upper = (first < rows ? first : rows - 1) * pitch;
        lower = (first + 8 < rows ? first + 8 : rows - 1) * pitch;
    }

    // Waits for the tile, reads the lane's part and leaves it at once: shared memory takes loads before the arrival that follows them.
    __device__ __forceinline__ void load(Stream& stream, Fragments& f)
    {
        Shared barrier = full + stream.tile % TILES * 8;
        await_arrival_at(barrier, stream.tile / TILES & 1);
        Shared tile = ring + place_of(stream.end, size) + own.at;
        stream.pass(size);
        own.load(f, tile + upper, tile + lower);
        __syncwarp();
        if (threadIdx.x % 32 == 0) arrive_at(barrier + TILES * 8); // free[] is behind full[]
    }

    // All of them, of which the first one has been loaded, and its operands.
    __device__ __forceinline__ void multiply(Stream& stream, Fragments& f)
    {
#pragma unroll 1
        while (true)
        {
            own.multiply_by(f);
            if (pieces > 1)
            {
                piece = piece + 1 < pieces ? piece + 1 : 0;
                own.turn_to(piece, piece == pieces - 1);
                own.load_operands();
            }
            int done = row;
            if (piece == 0)
            {
                row += tile_rows;
                place();
            }
            if (row < all) load(stream, f);
            if (piece == 0)
            {
                float sum = own.sum();
                if (done < limit) write_shared(result, sum);
                result += tile_rows * WARPS * sizeof(float);
                own.clear();
            }
            if (row >= all) return;
        }
    }
};

#else
// The next tile: sums[row][warp] = row · activations, of the warp's columns. The plain way: a lane of four has eight columns of its two rows.
__device__ __forceinline__ void multiply_tile(Stream& stream, const Work& w, int rows, float (*sums)[WARPS])
{
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, part = lane % 4, each = (w.columns + WARPS * CHUNK - 1) / (WARPS * CHUNK);
    int size = whole_units(rows * w.pitch), upper = (lane / 4 < rows ? lane / 4 : rows - 1) * w.pitch, lower = (lane / 4 + 8 < rows ? lane / 4 + 8 : rows - 1) * w.pitch;
    float first = 0, second = 0;
    const char* x = stage_of_block().operands[warp];
#pragma unroll 1
    for (int piece = 0, begin = 0; piece < w.pieces; piece++, begin += w.columns, x += each * OPERAND_BYTES)
    {
        int columns = w.width - begin < w.columns ? w.width - begin : w.columns;
        const char* tile = stream.take(size);
        const float *a = (const float*)(tile + upper), *b = (const float*)(tile + lower);
#pragma unroll 1
        for (int i = 0, at = warp * CHUNK + part * 8; at < columns; at += WARPS * CHUNK, i++)
#pragma unroll
            for (int j = 0; j < 8; j++)
            {
                float y = ((const float*)(x + i * OPERAND_BYTES))[part * 8 + j];
                first += a[at + j] * y;
                second += b[at + j] * y;
            }
        stream.leave(size);
    }
#pragma unroll
    for (int mask = 1; mask < 4; mask <<= 1)
    {
        first += __shfl_xor_sync(0xffffffff, first, mask);
        second += __shfl_xor_sync(0xffffffff, second, mask);
    }
    int which = lane / 4 + part * 8;
    if (part < 2 && which < rows) sums[which][warp] = part ? second : first;
}
#endif

// Four activations as operands of a chunk.
__device__ __forceinline__ void put_operands(char* chunk, int quarter, const float (&x)[4])
{
#if BF16
    u32 a = pair(x[0], x[1]), b = pair(x[2], x[3]);
    u32* own = (u32*)chunk + quarter;                           // as PlainPiece reads them
    own[0] = a;
    own[8] = pair(x[0] - bits_to_float(a << 16), x[1] - bits_to_float(a & 0xffff0000));
    own[16] = b;
    own[24] = pair(x[2] - bits_to_float(b << 16), x[3] - bits_to_float(b & 0xffff0000));
#else
    *(Float4*)(chunk + quarter * 16) = Float4{ x[0], x[1], x[2], x[3] };
#endif
}

#if BF16
// Eight activations as what packed rows are multiplied with: bytes, of 16 the third four before the second, as PackedPiece reads them; then their scale, of nibbles a sixteenth of it,
// and the sum of what they stand for.
template <Format FORMAT> __device__ __forceinline__ void put_packed(char* chunk, int part, const float (&x)[8], bool there)
{
    float largest = 0;
#pragma unroll
    for (int i = 0; i < 8; i++) largest = fmaxf(largest, fabsf(x[i]));
#pragma unroll
    for (int mask = 1; mask < 4; mask <<= 1) largest = fmaxf(largest, __shfl_xor_sync(0xffffffff, largest, mask));
    float inverse = largest > 0 ? __fdividef(127.0f, largest) : 0, scale = largest * (1 / 127.0f);
    u32 whole[8], four[2];
#pragma unroll
    for (int i = 0; i < 8; i++) whole[i] = __float_as_uint(x[i] * inverse + LARGE);
#pragma unroll
    for (int i = 0; i < 2; i++) four[i] = __byte_perm(__byte_perm(whole[4 * i], whole[4 * i + 1], 0x0040), __byte_perm(whole[4 * i + 2], whole[4 * i + 3], 0x0040), 0x5410);
    int sum = 0;
    if (FORMAT == NIBBLES)
    {
        sum = __dp4a((int)four[0], 0x01010101, __dp4a((int)four[1], 0x01010101, 0));
#pragma unroll
        for (int mask = 1; mask < 4; mask <<= 1) sum += __shfl_xor_sync(0xffffffff, sum, mask);
    }
    if (!there) return;
    u32* own = (u32*)chunk + part / 2 * 4 + part % 2;
    own[0] = four[0];
    own[2] = four[1];
    if (part == 0) *(Float2*)(chunk + CHUNK) = Float2{ FORMAT == NIBBLES ? scale * (1 / 16.0f) : scale, scale * sum };
}
#endif

// The warp's numbers of a vector and a norm's weights for them. A lane has four, or eight where they are packed, which takes half of the instructions, but twice the
// words' sectors (as plain operands, an H200: 270M and 450M 5 % slower). What all phases do so often is as few instructions as can be: the embedding comes as words,
// as all others do, and what no lane has is left out. Asking before the product is prepared is asking too early: 6 % slower, for most have to ask again.
template <Format FORMAT> struct Arrivals
{
    static constexpr int OWN = FORMAT == PLAIN ? 4 : 8, LANES = CHUNK / OWN, CHUNKS = 32 / LANES; // of a lane, of a chunk, of a warp in a round
    static constexpr int NEXT = CHUNKS * WARPS * CHUNK, NORMS = (MODEL_DIM + NEXT - 1) / NEXT, LEAST = FORMAT == PLAIN ? 3 : 2, ROUNDS = NORMS > LEAST ? NORMS : LEAST;
    const float* words;                                         // the lane's, of the next round
    int left;                                                   // numbers from there on
    u32 w[ROUNDS][OWN / 4][4];
    Float4 n[NORMS][OWN / 4];

    // Asks for those of the first rounds.
    __device__ __forceinline__ Arrivals(const Work& work, u32 step)
    {
        int lane = threadIdx.x % 32, warp = threadIdx.x / 32, at = (warp + lane / LANES * WARPS) * CHUNK + lane % LANES * OWN;
        left = work.width - at;
        words = work.from + at;
#pragma unroll
        for (int i = 0; i < NORMS; i++)
#pragma unroll
            for (int j = 0; j < OWN / 4; j++)
            {
                n[i][j] = {};
                if (work.norm && i * NEXT < left) n[i][j] = *(const Float4*)(work.norm + at + i * NEXT + 4 * j);
            }
        __syncwarp();                                           // the last product has been made
        if (BF16 && FORMAT == PLAIN)
        {
            // Operands behind the row's end are zeros.
#pragma unroll 1
            for (int slot = (work.width / CHUNK - warp + WARPS - 1) / WARPS, slots = work.pieces * (work.columns / (WARPS * CHUNK)); slot < slots; slot++)
                ((u32*)(stage_of_block().operands[warp] + slot * OPERAND_BYTES))[lane] = 0;
        }
#pragma unroll
        for (int i = 0; i < ROUNDS; i++)
        {
#pragma unroll
            for (int j = 0; j < OWN / 4; j++) w[i][j][0] = w[i][j][1] = w[i][j][2] = w[i][j][3] = step; // has come
            if (i * NEXT < left) ask(i, words + i * NEXT);
        }
    }

    __device__ __forceinline__ void ask(int i, const float* from)
    {
#pragma unroll
        for (int j = 0; j < OWN / 4; j++) read_words(from + 4 * j, w[i][j]);
    }

    // Waits for them and makes operands of them; of the residual times a norm's weights, whose scale comes behind the product, from what it gives back.
    __device__ __forceinline__ Moments receive(const Work& work, u32 step)
    {
        int lane = threadIdx.x % 32, warp = threadIdx.x / 32, left_of_warp = work.width - warp * CHUNK;
        char* operands = stage_of_block().operands[warp] + lane / LANES * OPERAND_BYTES;
        Moments moments = {};
#pragma unroll 1
        while (true)
        {
            while (true)
            {
                bool old[ROUNDS], missing = false;
#pragma unroll
                for (int i = 0; i < ROUNDS; i++) missing |= old[i] = is_old(w[i][0], step) | is_old(w[i][OWN / 4 - 1], step);
                if (__ballot_sync(0xffffffff, missing) == 0) break;
                rest();
#pragma unroll
                for (int i = 0; i < ROUNDS; i++)
                    if (old[i]) ask(i, words + i * NEXT);
            }
#pragma unroll
            for (int i = 0; i < ROUNDS; i++)
            {
                if (i * NEXT >= left_of_warp) break;
                bool there = i * NEXT < left;
                float x[OWN];
#pragma unroll
                for (int j = 0; j < OWN; j++) x[j] = bits_to_float(w[i][j / 4][j % 4]);
                if ((ROUNDS + i) * NEXT < left) ask(i, words + (ROUNDS + i) * NEXT);
                if (i < NORMS && work.norm)
                {
                    float squares = 0, total = 0;
#pragma unroll
                    for (int j = 0; j < OWN; j += 4)
                    {
                        squares += x[j] * x[j] + x[j + 1] * x[j + 1] + (x[j + 2] * x[j + 2] + x[j + 3] * x[j + 3]);
                        total += x[j] + x[j + 1] + (x[j + 2] + x[j + 3]);
                        const Float4& own = n[i < NORMS ? i : 0][j / 4];
                        x[j] *= own.x, x[j + 1] *= own.y, x[j + 2] *= own.z, x[j + 3] *= own.w;
                    }
                    if (there) moments.squares += squares;
                    if (LAYER_NORM && there) moments.total += total;
                }
                char* chunk = operands + i * CHUNKS * OPERAND_BYTES;
#if BF16
                if constexpr (FORMAT != PLAIN) put_packed<FORMAT>(chunk, lane % LANES, x, there);
                else
#endif
                if (there) put_operands(chunk, lane % LANES, x);
            }
            left_of_warp -= ROUNDS * NEXT;
            if (left_of_warp <= 0) break;
            left -= ROUNDS * NEXT;
            words += ROUNDS * NEXT;
            operands += ROUNDS * CHUNKS * OPERAND_BYTES;
        }
        __syncwarp();
        return moments;
    }
};

#if BF16
// Waits for the activations and multiplies. The first tile is loaded while they are on their way, if it is there: 270M 6 % faster, 1.1B 2 %.
// Without zeros at first the compiler keeps fragments in local memory.
template <class Piece> __device__ __forceinline__ void multiply_pieces(Stream& stream, const Work& w, u32 step, int turn, int notes)
{
    Product<Piece> product(w, stage_of_block().sums + turn * SUM_ROWS);
    typename Piece::Fragments tile = {};
    bool works = w.rows > 0, has = works && stream.has_next();
    if (has) product.load(stream, tile);
    Arrivals<Piece::FORMAT> arrivals(w, step);
    Moments moments = arrivals.receive(w, step);
    stage_of_block().note(notes);
    if (works && !has) product.load(stream, tile);
    if (works) product.own.load_operands();
    if (w.norm) moments.put(turn);                              // while they come
    if (works) product.multiply(stream, tile);
}

// Whether a matrix's count is that one: known where it is all matrices'. of: a bit for each count that there is.
__device__ __forceinline__ bool is_count(int of, int that, int count) { return (of >> that & 1) && (of == 1 << that || count == that); }
#endif

// Waits for the activations, and multiplies all rows of the block with them; their sums go to one of two places in turn.
__device__ __forceinline__ void multiply_rows(Stream& stream, const Work& w, u32 step, int turn, int notes)
{
#if BF16
    // EACHES: of chunks of a warp in a piece of plain rows, a bit for each count. PAIRS, QUADS: of those of packed rows, for bytes by two and for nibbles by four, at
    // most; one copy of the code for all of a model's matrices is 8 % of a step faster than two that fit (270M, an H200).
    static_assert(EACHES < 16 && PAIRS <= 3 && QUADS <= 2, "StepLayout limits pieces");
    bool is_plain = EACHES && (PAIRS + QUADS == 0 || w.format == PLAIN), is_bytes = PAIRS && (EACHES + QUADS == 0 || w.format == BYTES);
    int each = w.columns / (WARPS * CHUNK);
    if (is_plain && is_count(EACHES, 3, each)) multiply_pieces<PlainPiece<3>>(stream, w, step, turn, notes);
    else if (is_plain && is_count(EACHES, 2, each)) multiply_pieces<PlainPiece<2>>(stream, w, step, turn, notes);
    else if (is_plain && (EACHES & 2)) multiply_pieces<PlainPiece<1>>(stream, w, step, turn, notes);
    else if (is_bytes) multiply_pieces<PackedPiece<BYTES, PAIRS ? PAIRS : 1>>(stream, w, step, turn, notes);
    else if (QUADS) multiply_pieces<PackedPiece<NIBBLES, QUADS ? QUADS : 1>>(stream, w, step, turn, notes);
#else
    Stage& stage = stage_of_block();
    Moments moments = Arrivals<PLAIN>(w, step).receive(w, step);
    stage.note(notes);
    if (w.norm) moments.put(turn);
#pragma unroll 1
    for (int row = 0; row < w.rows; row += w.tile_rows)
    {
        int rows = w.rows - row < w.tile_rows ? w.rows - row : w.tile_rows;
        multiply_tile(stream, w, rows, stage.sums + turn * SUM_ROWS + row);
    }
#endif
}

__device__ __forceinline__ float sum_of_row(const float (&sums)[WARPS])
{
    float sum = 0;
#pragma unroll
    for (int i = 0; i < WARPS; i += 4)
    {
        Float4 four = *(const Float4*)(sums + i);
        sum += four.x + four.y + (four.z + four.w);
    }
    return sum;
}

// A norm behind the products of rows with x times its weights. What the mean of x adds to a product is the mean times the sum of the row, times its weights.
struct Norm
{
    float mean, scale;

    __device__ Norm(const Stage& stage, int turn, float eps)
    {
        mean = 0;
#if LAYER_NORM
        mean = sum_of_row(stage.totals[turn]) * (1.0f / MODEL_DIM);
#endif
        scale = rsqrtf(spread(sum_of_row(stage.squares[turn]) * (1.0f / MODEL_DIM), mean) + eps);
    }

    __device__ float of(float product, float sum) const { return scale * (LAYER_NORM ? product - mean * sum : product); }

    // Of the i-th result, the sum of its row, or of its gate's and up's; asked for before they are needed.
    static __device__ Float2 sums(const Work& w, int i, bool glued)
    {
        const float* all = w.norm + MODEL_DIM;
        if (!LAYER_NORM || !w.norm || i >= (glued ? w.rows / 2 : w.rows)) return Float2{ 0, 0 };
        return glued ? ((const Float2*)all)[w.begin + i] : Float2{ all[w.begin + i], 0 };
    }
};

#if LAYER_NORM
// Sums of the rows of a matrix times a norm's weights, one block a row; glued: of a gate and up, two that belong together are neighbours.
extern "C" __global__ void sum_rows(const T* rows, const float* norm, float* sums, int glued)
{
    int row = blockIdx.x, half = gridDim.x / 2;
    float sum = 0;
    for (int i = threadIdx.x; i < MODEL_DIM; i += 32) sum += widen(rows[(size_t)row * MODEL_DIM + i]) * norm[i];
    sum = sum_of_warp(sum);
    if (threadIdx.x == 0) sums[!glued ? row : row < half ? 2 * row : 2 * (row - half) + 1] = sum;
}
#endif

// Keys and values of some positions; with 8 bits the factors of keys and, TILE_POSITIONS behind them, of values.
struct Past
{
    const C *keys, *values;
    const float* factors;

    // The next tile.
    static __device__ __forceinline__ Past take(const Stream& stream, int count)
    {
        const C* keys = (const C*)stream.take(past_bytes(count));
        return Past{ keys, keys + count * HEAD_DIM, (const float*)((const char*)keys + whole_units(2 * count * POSITION_BYTES)) };
    }
};

// Attention of a warp to tiles. Positions behind the last one are the last one again.
#if BF16
// Rows of the left operand are a query's upper half for each head, and eight rows behind it the lower; so are the weights of positions.
struct Attention
{
    static constexpr int CHUNKS = (HEAD_DIM + CHUNK - 1) / CHUNK, EIGHT = HEAD_DIM / 8;
    u32 q[CHUNKS][2][4];
    float y[EIGHT][4], most, sum;
    const float* factors;
#if CACHE8
    static constexpr int WIDE = EIGHT < 4 ? EIGHT : 4;
    u64 k[2][CHUNKS];
    u32 v[EIGHT / WIDE][4];
#else
    Word4 k[2][CHUNKS];
    u32 v[(EIGHT + 1) / 2][4];
#endif
    static constexpr bool LOADS_EARLY = HEAD_DIM <= 64;         // registers of larger heads do not suffice: 3B 560 → 542 tokens/s
    const C* values;

    __device__ void begin(const char* queries)
    {
        int lane = threadIdx.x % 32, part = lane % 4;
#pragma unroll
        for (int c = 0; c < CHUNKS; c++)
#pragma unroll
            for (int half = 0; half < 2; half++)
            {
                Word4 own = {};
                if (c * CHUNK + part * 8 < HEAD_DIM) own = *(const Word4*)(queries + lane / 4 * QUERY_BYTES + (2 * c + half) * 64 + part * 16);
                q[c][half][0] = own.x, q[c][half][1] = own.y, q[c][half][2] = own.z, q[c][half][3] = own.w;
            }
#pragma unroll
        for (int i = 0; i < EIGHT; i++) y[i][0] = y[i][1] = y[i][2] = y[i][3] = 0;
        most = -INFINITE;
        sum = 0;
    }

    // Loads a tile, before the queries are there if it can be.
    __device__ __forceinline__ void load(const Past& past, int count)
    {
        int lane = threadIdx.x % 32, part = lane % 4;
        auto known = [&](int p) { return p < count ? p : count - 1; };
        factors = past.factors;
        values = past.values;
#pragma unroll
        for (int n = 0; n < 2; n++)
        {
            const C* row = past.keys + known(n * 8 + lane / 4) * HEAD_DIM + part * 8;
#pragma unroll
            for (int c = 0; c < CHUNKS; c++)
            {
                k[n][c] = {};
#if CACHE8
                if (c * CHUNK + part * 8 < HEAD_DIM) k[n][c] = *(const u64*)(row + c * CHUNK);
#else
                if (c * CHUNK + part * 8 < HEAD_DIM) k[n][c] = *(const Word4*)(row + c * CHUNK);
#endif
            }
        }
        if (LOADS_EARLY) load_values(count);
    }

    __device__ __forceinline__ void load_values(int count)
    {
        int lane = threadIdx.x % 32, part = lane % 4;
        auto known = [&](int p) { return p < count ? p : count - 1; };
#if CACHE8
        // Column g of the i-th product is element EIGHT · g + i: a lane's lie together.
#pragma unroll
        for (int i = 0; i < EIGHT; i += WIDE)
#pragma unroll
            for (int r = 0; r < 4; r++)
            {
                const C* own = values + known(r / 2 * 8 + part * 2 + r % 2) * HEAD_DIM + lane / 4 * EIGHT + i;
                v[i / WIDE][r] = WIDE == 4 ? *(const u32*)own : *(const u16*)own;
            }
#else
        const u16* row = values + known(lane % 16) * HEAD_DIM;
#pragma unroll
        for (int i = 0; i < EIGHT; i += 2) load_transposed(row + (i + 1 < EIGHT ? i + lane / 16 : i) * 8, v[i / 2]);
#endif
    }

    // again: it has added some before.
    __device__ __forceinline__ void add(int count, bool again)
    {
        int part = threadIdx.x % 4;
        float scores[2][4] = {}, others[2][4] = {};             // two chains of products for each eight positions
        auto known = [&](int p) { return p < count ? p : count - 1; };
#pragma unroll
        for (int c = 0; c < CHUNKS; c++)
#pragma unroll
            for (int n = 0; n < 2; n++)
            {
#if CACHE8
                Word4 own = widen8(k[n][c]);
#else
                Word4 own = k[n][c];
#endif
                multiply(scores[n], q[c][0], own.x, own.y);
                multiply(others[n], q[c][1], own.z, own.w);
            }
        float larger = most;
#pragma unroll
        for (int n = 0; n < 2; n++)
#pragma unroll
            for (int j = 0; j < 2; j++)
            {
                scores[n][j] += others[n][j] + (scores[n][j + 2] + others[n][j + 2]);
                if (CACHE8) scores[n][j] *= factors[known(n * 8 + part * 2 + j)];
                if (n * 8 + part * 2 + j >= count) scores[n][j] = -INFINITE;
                larger = fmaxf(larger, scores[n][j]);
            }
        larger = fmaxf(larger, __shfl_xor_sync(0xffffffff, larger, 1));
        larger = fmaxf(larger, __shfl_xor_sync(0xffffffff, larger, 2));
        float before = power(most - larger);
        most = larger;
        u32 p[4];
        sum *= before;
#pragma unroll
        for (int n = 0; n < 2; n++)
        {
            float a = power(scores[n][0] - larger), b = power(scores[n][1] - larger);
            sum += a + b;
            if (CACHE8) a *= factors[TILE_POSITIONS + known(n * 8 + part * 2)], b *= factors[TILE_POSITIONS + known(n * 8 + part * 2 + 1)];
            p[2 * n] = pair(a, b);
            p[2 * n + 1] = pair(a - bits_to_float(p[2 * n] << 16), b - bits_to_float(p[2 * n] & 0xffff0000));
        }
        if (!LOADS_EARLY) load_values(count);
        if (again)
        {
#pragma unroll
            for (int i = 0; i < EIGHT; i++) y[i][0] *= before, y[i][1] *= before, y[i][2] *= before, y[i][3] *= before;
        }
#pragma unroll
        for (int i = 0; i < EIGHT; i++)
        {
#if CACHE8
            const u32(&own)[4] = v[i / WIDE];
            multiply(y[i], p, pair(number(own[0], i % WIDE), number(own[1], i % WIDE)), pair(number(own[2], i % WIDE), number(own[3], i % WIDE)));
#else
            multiply(y[i], p, v[i / 2][i % 2 * 2], v[i / 2][i % 2 * 2 + 1]);
#endif
        }
    }

    __device__ __forceinline__ void end(float* share, float* of_most, float* of_all)
    {
        int lane = threadIdx.x % 32, head = lane / 4, part = lane % 4;
        sum += __shfl_xor_sync(0xffffffff, sum, 1);
        sum += __shfl_xor_sync(0xffffffff, sum, 2);
        if (head >= GROUP) return;
#pragma unroll
        for (int i = 0; i < EIGHT; i++)
        {
            float a = y[i][0] + y[i][2], b = y[i][1] + y[i][3], *own = share + head * SHARE;
            if (CACHE8) own[part * 2 * EIGHT + i] = a, own[(part * 2 + 1) * EIGHT + i] = b;
            else *(Float2*)(own + i * 8 + part * 2) = Float2{ a, b };
        }
        of_most[head * WARPS] = most;
        of_all[head * WARPS] = sum;
    }

#if CACHE8
    // A signed byte of four.
    static __device__ float number(u32 four, int which) { return (float)(signed char)(four >> 8 * which); }

    static __device__ Word4 widen8(u64 eight)
    {
        u32 a = (u32)eight, b = (u32)(eight >> 32);
        return Word4{ pair(number(a, 0), number(a, 1)), pair(number(a, 2), number(a, 3)), pair(number(b, 0), number(b, 1)), pair(number(b, 2), number(b, 3)) };
    }
#endif

    static __device__ void put_query(char* queries, int head, int at, float x)
    {
        // Of four neighbours: two upper halves, their lower ones, two upper, two lower.
        u16 upper, lower, *own = (u16*)(queries + head * QUERY_BYTES + at / CHUNK * 128 + at / 4 % 2 * 64 + at / 8 % 4 * 16 + at / 2 % 2 * 8 + at % 2 * 2);
        narrow(x, upper);
        narrow(x - widen(upper), lower);
        own[0] = upper;
        own[2] = lower;
    }
};
#else
// The plain way: position after position, a lane for each element.
struct Attention
{
    static constexpr int OWN = (HEAD_DIM + 31) / 32;
    static constexpr bool LOADS_EARLY = true;
    const float* q;
    Past tile;
    float y[GROUP][OWN], most[GROUP], sum[GROUP];

    __device__ void begin(const char* queries)
    {
        q = (const float*)queries;
#pragma unroll
        for (int g = 0; g < GROUP; g++)
        {
            most[g] = -INFINITE;
            sum[g] = 0;
#pragma unroll
            for (int i = 0; i < OWN; i++) y[g][i] = 0;
        }
    }

    __device__ __forceinline__ void load(const Past& past, int) { tile = past; }

    __device__ __forceinline__ void add(int count, bool)
    {
        int lane = threadIdx.x % 32;
#pragma unroll 1
        for (int p = 0; p < count; p++)
        {
            const C *key = tile.keys + p * HEAD_DIM, *value = tile.values + p * HEAD_DIM;
            float key_factor = CACHE8 ? tile.factors[p] : 1, value_factor = CACHE8 ? tile.factors[TILE_POSITIONS + p] : 1;
#pragma unroll
            for (int g = 0; g < GROUP; g++)
            {
                float score = 0;
#pragma unroll
                for (int i = 0; i < OWN; i++)
                    if (lane + 32 * i < HEAD_DIM) score += q[g * HEAD_DIM + lane + 32 * i] * key[lane + 32 * i];
                score = sum_of_warp(score) * key_factor;
                float larger = fmaxf(most[g], score), before = power(most[g] - larger), weight = power(score - larger);
                most[g] = larger;
                sum[g] = sum[g] * before + weight;
#pragma unroll
                for (int i = 0; i < OWN; i++)
                    if (lane + 32 * i < HEAD_DIM) y[g][i] = y[g][i] * before + weight * value_factor * value[lane + 32 * i];
            }
        }
    }

    __device__ void end(float* share, float* of_most, float* of_all)
    {
        int lane = threadIdx.x % 32;
#pragma unroll
        for (int g = 0; g < GROUP; g++, share += SHARE)
        {
#pragma unroll
            for (int i = 0; i < OWN; i++)
                if (lane + 32 * i < HEAD_DIM) share[lane + 32 * i] = y[g][i];
            of_most[g * WARPS] = most[g];
            of_all[g * WARPS] = sum[g];
        }
    }

    static __device__ void put_query(char* queries, int head, int at, float x) { ((float*)queries)[head * HEAD_DIM + at] = x; }
};
#endif

// A number as the cache has it.
__device__ __forceinline__ void store(float x, float, u16& to) { narrow(x, to); }
__device__ __forceinline__ void store(float x, float, float& to) { to = x; }
__device__ __forceinline__ void store(float x, float factor, signed char& to) { to = (signed char)__float2int_rn(x * factor); }

// Attention of a block's split of a KV head: warps have tiles of the past in turn, the last ones first, which have least to do for queries. Those have theirs
// loaded when the queries come. Slower, an H200, 270M: letters of each warp instead of one of the block, without the two meetings for it (joining takes 2.9 µs
// instead of 1.3, for its reads are scattered); four warps only; looks at words of all lanes together.
__device__ CALLED Stream attend(Stream stream, int number, int item, u32 step, int position, float eps)
{
    constexpr int HALF = HEAD_DIM / 2, OWN = (HALF + 31) / 32, ROLES = GROUP + 2;
    Stage& stage = stage_of_block();
    const Layer& layer = stage.layers[number];
    Share own = stage.shares[number];
    if (item != (int)blockIdx.x) own = Share::of(layer, item, position);
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, splits = layer.splits, kv = own.kv, split = own.split, past = own.past, notes = 2 + number * NOTES + 2;

    // Queries, the key and the value, a head to a warp; asked for first. A lane has elements of both halves.
    float wa[OWN], wb[OWN];
    u32 a[OWN], b[OWN];
    const float *from, *norm;
    auto read = [&]()
    {
#pragma unroll
        for (int i = 0; i < OWN; i++)
        {
            int at = lane + 32 * i < HALF ? lane + 32 * i : 0;
            a[i] = read_word(from + at);
            b[i] = read_word(from + at + HALF);
        }
    };
    auto begin = [&](int role)
    {
        bool is_query = role < GROUP, is_value = role == GROUP + 1;
        from = layer.qkv + (is_query ? kv * GROUP + role : layer.queries + kv + (is_value ? layer.keys : 0)) * HEAD_DIM;
        norm = is_query ? layer.q_norm : is_value ? nullptr : layer.k_norm;
        read();
#pragma unroll
        for (int i = 0; i < OWN; i++)
        {
            int at = lane + 32 * i < HALF ? lane + 32 * i : 0;
            wa[i] = norm ? norm[at] : 1;
            wb[i] = norm ? norm[at + HALF] : 1;
        }
    };
    if (Attention::LOADS_EARLY && warp < ROLES) begin(warp);

    // The last split has the new position, too.
    int turn = WARPS - 1 - warp, tiles = past > 0 ? (past + TILE_POSITIONS - 1) / TILE_POSITIONS : 0, all = tiles + (split == splits - 1 ? 1 : 0), t = 0;
    auto count_of = [&](int t) { return t >= tiles ? 1 : past - t * TILE_POSITIONS < TILE_POSITIONS ? past - t * TILE_POSITIONS : TILE_POSITIONS; };
    bool has = Attention::LOADS_EARLY && turn < WARPS / 2 && turn < tiles;
    if (has)
        for (; t < turn; t++) stream.pass(past_bytes(TILE_POSITIONS));
    has = has && stream.has_next();
    Attention attention;
    if (has) attention.load(Past::take(stream, count_of(t)), count_of(t));

    // Norm and rotation of a half and the other.
#pragma unroll 1
    for (int role = warp; role < ROLES; role += WARPS)
    {
        bool is_query = role < GROUP, is_value = role == GROUP + 1;
        if (!Attention::LOADS_EARLY || role != warp) begin(role);
        while (true)
        {
            u32 old = 0;
#pragma unroll
            for (int i = 0; i < OWN; i++) old |= (a[i] ^ step) | (b[i] ^ step);
            if (__ballot_sync(0xffffffff, old & 1) == 0) break;
            rest();
            read();
        }
        float scale = 1, mean = 0, squares = 0, total = 0;
        if (norm)
        {
#pragma unroll
            for (int i = 0; i < OWN; i++)
            {
                if (lane + 32 * i >= HALF) continue;
                squares += bits_to_float(a[i]) * bits_to_float(a[i]) + bits_to_float(b[i]) * bits_to_float(b[i]);
                total += bits_to_float(a[i]) + bits_to_float(b[i]);
            }
            if (LAYER_NORM) mean = sum_of_warp(total) / HEAD_DIM;
            scale = rsqrtf(spread(sum_of_warp(squares) / HEAD_DIM, mean) + eps);
        }
        if (is_query) scale *= 1.44269504f * rsqrtf((float)HEAD_DIM); // powers of two instead of e
        float x[OWN], y[OWN], largest = 0, factor = 1;
#pragma unroll
        for (int i = 0; i < OWN; i++)
        {
            int at = lane + 32 * i < HALF ? lane + 32 * i : 0;
            float first = (bits_to_float(a[i]) - mean) * scale * wa[i], second = (bits_to_float(b[i]) - mean) * scale * wb[i], c = is_value ? 1 : stage.cos[at], s = is_value ? 0 : stage.sin[at];
            x[i] = first * c - second * s;
            y[i] = second * c + first * s;
            largest = fmaxf(largest, fmaxf(fabsf(x[i]), fabsf(y[i])));
        }
        C* own = is_value ? stage.new_value : stage.new_key;
        if (CACHE8 && !is_query)
        {
            largest = largest_of_warp(largest);
            factor = largest > 0 ? 127 / largest : 0;
            if (lane == 0) stage.new_factors[is_value][0] = largest / 127;
        }
#pragma unroll
        for (int i = 0; i < OWN; i++)
        {
            int at = lane + 32 * i;
            if (at >= HALF) continue;
            if (is_query)
            {
                Attention::put_query(stage.queries, role, at, x[i]);
                Attention::put_query(stage.queries, role, at + HALF, y[i]);
                continue;
            }
            store(x[i], factor, own[at]);
            store(y[i], factor, own[at + HALF]);
        }
    }
    meet();
    if (item == 0) stage.note(notes);

    // The new key and value, into the cache, by warps that have the least of the past.
    if (split == 0 && warp < 2)
    {
        C* plane = stage.keys(layer, kv) + (warp ? stage.plane() : 0);
        const Word4* from = (const Word4*)(warp ? stage.new_value : stage.new_key);
        for (int i = lane; i < HEAD_DIM * (int)sizeof(C) / 16; i += 32) ((Word4*)(plane + (size_t)position * HEAD_DIM))[i] = from[i];
        if (CACHE8 && lane == 0) stage.factors(plane)[position] = stage.new_factors[warp][0];
    }

    // Four warps have something to say, if nothing it is; more only where there are more tiles.
    bool says = turn < 4 || all > 4;
    if (says) attention.begin(stage.queries);
#pragma unroll 1
    for (; t < all; t++)
    {
        int count = count_of(t);
        bool is_past = t < tiles;
        if (t % WARPS == turn)
        {
            if (!is_past) attention.load(Past{ stage.new_key, stage.new_value, stage.new_factors[0] }, 1);
            else if (!has) attention.load(Past::take(stream, count), count);
            has = false;
            attention.add(count, t >= WARPS);
            if (is_past) stream.release(past_bytes(count));
        }
        else if (is_past) stream.pass(past_bytes(count));
    }
    if (says) attention.end((float*)stage.operands[warp], &stage.most[0][turn], &stage.all[0][turn]);
    meet();

    // Warps. An eighth of a letter has what the elements' readers need, one after another for the splits.
    float* letters = layer.letters + (kv * EIGHTS * splits + split) * LETTER;
#pragma unroll
    for (int i = threadIdx.x; i < RESULT; i += THREADS)
    {
        int g = i / HEAD_DIM;
        const float* share = (const float*)stage.operands[WARPS - 1] + g * SHARE + i % HEAD_DIM;
        float larger = -INFINITE, total = 0, weights = 0;
#pragma unroll
        for (int w = 0; w < WARPS; w += 4)
        {
            if (w > 0 && all <= 4) break;
            Float4 most = *(const Float4*)(stage.most[g] + w);
            larger = fmaxf(larger, fmaxf(fmaxf(most.x, most.y), fmaxf(most.z, most.w)));
        }
#pragma unroll
        for (int w = 0; w < WARPS; w += 4)
        {
            if (w > 0 && all <= 4) break;
            Float4 most = *(const Float4*)(stage.most[g] + w), sums = *(const Float4*)(stage.all[g] + w);
            float a = power(most.x - larger), b = power(most.y - larger), c = power(most.z - larger), d = power(most.w - larger);
            constexpr int NEXT = OWN_BYTES / 4;
            const float* own = share - w * NEXT;
            total += a * own[0] + b * own[-NEXT] + (c * own[-2 * NEXT] + d * own[-3 * NEXT]);
            weights += a * sums.x + b * sums.y + (c * sums.z + d * sums.w);
        }
        float* letter = letters + i / 8 * splits * LETTER + i % 8;
        write_word(letter, word(total, step));
        if (i % 8 < 2) write_word(letter + 8, word(i % 8 ? weights : larger, step));
    }
    meet();                                                     // the operands' places are free
    if (item == 0) stage.note(notes + 1);

    // Splits: each joins some eighths, a warp one at a time, a lane for each letter.
#pragma unroll 1
    for (int e = split + warp * splits; e < EIGHTS; e += WARPS * splits)
    {
        bool has = lane < splits;
        const float* letter = layer.letters + ((kv * EIGHTS + e) * splits + (has ? lane : 0)) * LETTER;
        u32 w[3][4], old;
        do
        {
#pragma unroll
            for (int i = 0; i < 3; i++) read_words(letter + 4 * i, w[i]);
            w[2][2] = w[2][3] = step;
            old = __ballot_sync(0xffffffff, is_old(w[0], step) | is_old(w[1], step) | is_old(w[2], step));
            if (old) rest();
        } while (old);
        float own = has ? bits_to_float(w[2][0]) : -INFINITE, factor = power(own - largest_of_warp(own)), weights, x[8];
        if (!has) factor = 0;
        weights = sum_of_warp(bits_to_float(w[2][1]) * factor);
#pragma unroll
        for (int i = 0; i < 8; i++) x[i] = bits_to_float(w[i / 4][i % 4]) * factor;
        // Lanes give half of their elements away and take the other half's.
#pragma unroll
        for (int half = 4, mask = 16; half > 0; half >>= 1, mask >>= 1)
#pragma unroll
            for (int i = 0; i < half; i++)
            {
                float given = lane & mask ? x[i] : x[i + half];
                x[i] = (lane & mask ? x[i + half] : x[i]) + __shfl_xor_sync(0xffffffff, given, mask);
            }
        x[0] += __shfl_xor_sync(0xffffffff, x[0], 2);
        x[0] += __shfl_xor_sync(0xffffffff, x[0], 1);
        if (lane % 4 == 0) write_word(layer.heads + kv * RESULT + e * 8 + lane / 4, word(__fdividef(x[0], weights), step));
    }
    if (item == 0) stage.note(notes + 2);
    return stream;
}

// The larger the logit, the larger the key; of equal logits the first id wins.
__device__ __forceinline__ u64 rank(float logit, int id)
{
    u32 bits = __float_as_uint(logit);
    return (u64)(bits & 0x80000000 ? ~bits : bits | 0x80000000) << 32 | (u32)~id;
}

__device__ __forceinline__ u64 largest_key(u64 key)
{
#pragma unroll
    for (int mask = 16; mask > 0; mask >>= 1)
    {
        u64 other = __shfl_xor_sync(0xffffffff, key, mask);
        if (other > key) key = other;
    }
    return key;
}

// tokens: how many steps, each of which takes what the one before has chosen. token: −1 takes the token and the position that the launch before chose.
// place: where the choices go on the host.
extern "C" __global__ __launch_bounds__(THREADS + 32, 1) void decode_step(const __grid_constant__ Model model, C* cache, int capacity, int token, int position, int tokens, int place)
{
    Stage& stage = stage_of_block();
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    u32 step = model.step;
    if (token < 0)
    {
        token = model.state[0];
        position = model.state[1];
    }
    const Word4 *work = (const Word4*)(model.work + blockIdx.x * (4 * LAYERS + 1)), *layers = (const Word4*)model.layers;
    for (int i = threadIdx.x; i < (int)sizeof(stage.work) / 16; i += THREADS + 32) ((Word4*)stage.work)[i] = work[i];
    for (int i = threadIdx.x; i < (int)sizeof(stage.layers) / 16; i += THREADS + 32) ((Word4*)stage.layers)[i] = layers[i];
    for (int i = threadIdx.x; i < TILES; i += THREADS + 32)
    {
        init_arrival(&stage.full[i], 1);
        init_arrival(&stage.free[i], WARPS);
    }
    if (threadIdx.x == 0)
    {
        stage.ended = 0;
        stage.zeros[0] = stage.zeros[1] = Word4{ 0, 0, 0, 0 };
        stage.cache = cache;
        stage.capacity = capacity;
#if PROFILE
        stage.profile = blockIdx.x == 0 ? model.profile : nullptr;
#endif
        stage.note(0);
    }
    publish_arrivals();
    __syncthreads();
    if (warp >= WARPS)
    {
        if (lane == 0) ask(position, tokens);
        return;
    }
    Stream stream = { 0, 0 };

#pragma unroll 1
    while (true)
    {
        stage.note(1);
        // The residual's rows are the same in all matrices that add to it.
        const T* embedded = model.embedding + (size_t)token * MODEL_DIM;
        for (int i = threadIdx.x, begin = stage.work[1].begin; i < stage.work[1].rows; i += THREADS)
        {
            float x = widen(embedded[begin + i]);
            stage.residual[i] = x;
            write_word((float*)stage.work[0].from + begin + i, word(x, step));
        }
        for (int i = threadIdx.x; i < HEAD_DIM / 2; i += THREADS)
        {
            stage.cos[i] = model.cos[(size_t)position * (HEAD_DIM / 2) + i];
            stage.sin[i] = model.sin[(size_t)position * (HEAD_DIM / 2) + i];
        }
        for (int i = threadIdx.x; i < LAYERS; i += THREADS) stage.shares[i] = Share::of(stage.layers[i], blockIdx.x, position);
        int turn = 0;                                               // of two places for sums: a warp may be a phase ahead of the others
#pragma unroll 1
        for (int number = 0; ; number++)
        {
            int notes = 2 + number / 4 * NOTES + (number % 4 ? 3 + number % 4 * 2 : 0);
            if (number % 4 == 1)
            {
                const Layer& layer = stage.layers[number / 4];
#pragma unroll 1
                for (int item = blockIdx.x; item < layer.keys * layer.splits; item += gridDim.x) stream = attend(stream, number / 4, item, step, position, model.eps);
            }
            const Work w = stage.work[number];                  // in registers before it is needed
            bool last = number == 4 * LAYERS, glued = GATED && number % 4 == 2;
            if (last)
            {
                meet();
                turn = 0;
            }
            Float2 sums_of_own = Norm::sums(w, threadIdx.x, glued);
            multiply_rows(stream, w, step, turn, notes);
            meet();
            if (last) break;

            // The block's rows, to everyone.
            for (int i = threadIdx.x; i < (glued ? w.rows / 2 : w.rows); i += THREADS)
            {
                const float(*sums)[WARPS] = stage.sums + turn * SUM_ROWS + (glued ? 2 * i : i);
                float y;
                if (!w.norm) y = stage.residual[i] += sum_of_row(sums[0]);
                else
                {
                    // All is read at once.
                    Norm norm(stage, turn, model.eps);
                    float first = sum_of_row(sums[0]), second = sum_of_row(sums[glued]);
                    y = norm.of(first, sums_of_own.x);
                    if (number % 4 == 2) y = silu(y) * (glued ? norm.of(second, sums_of_own.y) : 1);
                }
                write_word(w.to + i, word(y, step));
                sums_of_own = Norm::sums(w, i + THREADS, glued);
            }
            stage.note(notes + 1);
            turn ^= 1;
        }

        const Work& head = stage.work[4 * LAYERS];
        u64 best = 0;
        Norm norm(stage, 0, model.eps);
        for (int i = threadIdx.x; i < head.rows; i += THREADS)
        {
            float y = norm.of(sum_of_row(stage.sums[i]), Norm::sums(head, i, false).x);
            head.to[i] = y;
            u64 key = rank(y, head.begin + i);
            if (head.begin + i < model.candidates && key > best) best = key;
        }
        stage.note(2 + LAYERS * NOTES + 1);
        best = largest_key(best);
        u64* of_warps = (u64*)stage.queries;
        if (lane == 0) of_warps[warp] = best;
        meet();
        bool more = --tokens > 0;
        if (warp == 0)
        {
            // The best of all blocks, for the first one and for those that go on; ids have 31 bits.
            if (lane == 0)
            {
                for (int i = 1; i < WARPS; i++)
                    if (of_warps[i] > best) best = of_warps[i];
                if (more) fence_device();                          // the block's keys and values come first
                write_long(model.best + blockIdx.x, best & 0xffffffff00000000 | (u32)best << 1 | step & 1);
            }
            if (more || blockIdx.x == 0)
            {
                best = 0;
#pragma unroll 1
                for (int i = lane; i < (int)gridDim.x; i += 32)
                {
                    u64 other;
                    while (((other = read_long(model.best + i)) ^ step) & 1) rest();
                    if (other > best) best = other;
                }
                if (more) fence_device();
                __syncwarp();
                best = largest_key(best);
                token = (int)~((u32)best >> 1 | 0x80000000);
                if (lane == 0)
                {
                    stage.token = token;
                    if (blockIdx.x == 0)
                    {
                        u32 upper = (u32)(best >> 32);
                        model.state[0] = token;
                        model.state[1] = position + 1;
                        model.chosen[2 * place] = token;
                        model.chosen[2 * place + 1] = (int)(upper & 0x80000000 ? upper & 0x7fffffff : ~upper);
                    }
                }
            }
        }
        stage.note(2 + LAYERS * NOTES + 2);
        if (!more) return;
        meet();
        if (threadIdx.x == 0) write_released(&stage.ended, stage.ended + 1);
        token = stage.token;
        position++;
        place++;
        step++;
    }
}
