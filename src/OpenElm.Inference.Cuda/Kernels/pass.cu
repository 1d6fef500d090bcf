// The steps between the matrix products of a pass over many rows (prompts, batches): [rows, width], row after row.

// C: keys and values; in 8 bits each position of a head has a factor.
#if CACHE8
typedef signed char C;
#else
typedef T C;
#endif

// One token of one sequence. cache: of the sequence, [kv heads of all layers][keys, values][capacity][HEAD_DIM].
struct Row
{
    int token, position, capacity, steps;                        // steps: that a chain has chosen for it
    C* cache;
};

#ifdef EMULATED
inline void await_before() {}
inline void let_next_begin() {}
#else
// A launch may begin while the one before it runs; what that one and earlier ones wrote is there behind this.
__device__ __forceinline__ void await_before() { asm volatile("griddepcontrol.wait;" ::: "memory"); }

// The launch behind this one may begin as soon as all blocks have come here.
__device__ __forceinline__ void let_next_begin() { asm volatile("griddepcontrol.launch_dependents;" ::: "memory"); }
#endif

// x[row] = E[token]
extern "C" __global__ void embed(const Row* rows, const T* embedding, float* x, int width)
{
    const T* from = embedding + (size_t)rows[blockIdx.x].token * width;
    for (int i = threadIdx.x; i < width; i += blockDim.x) x[(size_t)blockIdx.x * width + i] = widen(from[i]);
}

// A packed matrix as the products take it: [rows, width], one block a row.
extern "C" __global__ void unpack(const char* from, T* to, int width, int columns, int format)
{
    size_t row_bytes = format == BYTES ? (size_t)width / 16 * 17 : (size_t)width / 8 * 5;
    for (int i = 8 * threadIdx.x; i < width; i += 8 * blockDim.x)
    {
        float x[8];
        load_packed(from + blockIdx.x * row_bytes, width, columns, format, i, x);
        store8(to + (size_t)blockIdx.x * width + i, x);
    }
}

// y = x / sqrt(mean(x²) + eps) · w, one block of 256 a row; picked: the rows wanted, or null for all.
extern "C" __global__ __launch_bounds__(256) void normalize(const float* x, const float* w, T* y, const int* picked, int width, float eps)
{
    constexpr int KEPT = 4;                                     // of a thread's fours; wider rows are read again
    __shared__ float partial[2][8];
    let_next_begin();
    await_before();
    const float* from = x + (size_t)(picked ? picked[blockIdx.x] : blockIdx.x) * width;
    T* to = y + (size_t)blockIdx.x * width;
    int fours = width % 4 == 0 ? width / 4 : 0;
    Float4 kept[KEPT];
    float squares = 0, total = 0;
#pragma unroll
    for (int i = 0; i < KEPT; i++)
    {
        int at = threadIdx.x + 256 * i;
        kept[i] = at < fours ? ((const Float4*)from)[at] : Float4{ 0, 0, 0, 0 };
        squares += kept[i].x * kept[i].x + kept[i].y * kept[i].y + kept[i].z * kept[i].z + kept[i].w * kept[i].w;
        if (LAYER_NORM) total += kept[i].x + kept[i].y + (kept[i].z + kept[i].w);
    }
    int rest = 4 * (fours < 256 * KEPT ? fours : 256 * KEPT);
    for (int i = rest + threadIdx.x; i < width; i += 256)
    {
        squares += from[i] * from[i];
        if (LAYER_NORM) total += from[i];
    }
    squares = sum_of_warp(squares);
    if (LAYER_NORM) total = sum_of_warp(total);
    if (threadIdx.x % 32 == 0) partial[0][threadIdx.x / 32] = squares;
    if (LAYER_NORM && threadIdx.x % 32 == 0) partial[1][threadIdx.x / 32] = total;
    __syncthreads();
    squares = total = 0;
#pragma unroll
    for (int i = 0; i < 8; i++)
    {
        squares += partial[0][i];
        if (LAYER_NORM) total += partial[1][i];
    }
    float mean = LAYER_NORM ? total / width : 0, scale = rsqrtf(spread(squares / width, mean) + eps);
#pragma unroll
    for (int i = 0; i < KEPT; i++)
    {
        int at = threadIdx.x + 256 * i;
        if (at >= fours) break;
        Float4 f = ((const Float4*)w)[at];
        store4(to + 4 * at, Float4{ (kept[i].x - mean) * scale * f.x, (kept[i].y - mean) * scale * f.y, (kept[i].z - mean) * scale * f.z, (kept[i].w - mean) * scale * f.w });
    }
    for (int i = rest + threadIdx.x; i < width; i += 256) narrow((from[i] - mean) * scale * w[i], to[i]);
}

// Of a cache, the numbers of a KV head (counted over all layers): keys, or values.
__device__ __forceinline__ C* plane(const Row& row, int head, int which)
{
#if CACHE8
    return row.cache + (size_t)(2 * head + which) * (row.capacity * HEAD_DIM + (row.capacity + 3) / 4 * 16);
#else
    return row.cache + (size_t)(2 * head + which) * row.capacity * HEAD_DIM;
#endif
}

#if CACHE8
// Behind a plane's numbers, the factor of each position.
__device__ __forceinline__ float* factors_of(C* plane, const Row& row) { return (float*)(plane + (size_t)row.capacity * HEAD_DIM); }
#endif

#if HEAD_DIM == 16 || HEAD_DIM == 32 || HEAD_DIM == 64 || HEAD_DIM == 128 || HEAD_DIM == 256
#define WIDE 1
#endif

#if CACHE8 && !defined(WIDE)
#error "A cache of 8 bits is for heads of 16, 32, 64, 128 or 256."
#endif

#ifdef WIDE
// Eight floats at a multiple of 32 bytes.
__device__ __forceinline__ void load_floats(const float* from, float (&to)[8])
{
    Float4 low = ((const Float4*)from)[0], high = ((const Float4*)from)[1];
    to[0] = low.x, to[1] = low.y, to[2] = low.z, to[3] = low.w, to[4] = high.x, to[5] = high.y, to[6] = high.z, to[7] = high.w;
}
#endif

// QK norm, RoPE, and the cache; queries change in place. qkv: [rows, (queries + 2 · keys), HEAD_DIM]. cos, sin: [positions, HEAD_DIM / 2].
// first: the layer's first KV head among those of all layers. Norms are null where the model has none. Blocks of 256, one after another.
extern "C" __global__ __launch_bounds__(256, 8) void rotate_and_store(
    T* qkv, const Row* rows, const float* q_norm, const float* k_norm, const float* cos, const float* sin, int first, int queries, int keys, int count, float eps)
{
    constexpr int HALF = HEAD_DIM / 2;
    let_next_begin();
    await_before();
#ifdef WIDE
    constexpr int LANES = HEAD_DIM / 8;                         // of a head, eight neighbours each
#else
    constexpr int LANES = 32;
#endif
    int all = queries + 2 * keys, lane = threadIdx.x % LANES, item = (blockIdx.x * 256 + threadIdx.x) / LANES, head = item % all;
    bool there = item / all < count;                            // every lane of a warp exchanges
    Row row = rows[there ? item / all : 0];
    T* x = qkv + (size_t)(there ? item : 0) * HEAD_DIM;
    int kv = head < queries ? 0 : head < queries + keys ? head - queries : head - queries - keys;
    C* cached = plane(row, first + kv, head >= queries + keys);
    const float* w = head < queries ? q_norm : head < queries + keys ? k_norm : nullptr;
    size_t angle = (size_t)row.position * HALF;
#ifdef WIDE
    float own[8], y[8], squares = 0, total = 0;
    load8(x + 8 * lane, own);
#pragma unroll
    for (int i = 0; i < 8; i++)
    {
        squares += own[i] * own[i];
        if (LAYER_NORM) total += own[i];
    }
#pragma unroll
    for (int mask = LANES / 2; mask > 0; mask >>= 1)
    {
        squares += __shfl_xor_sync(0xffffffff, squares, mask);
        if (LAYER_NORM) total += __shfl_xor_sync(0xffffffff, total, mask);
    }
    if (w)
    {
        float mean = total / HEAD_DIM, scale = 1 / sqrtf(spread(squares / HEAD_DIM, mean) + eps), factors[8];
        load_floats(w + 8 * lane, factors);
#pragma unroll
        for (int i = 0; i < 8; i++) own[i] = (own[i] - mean) * (scale * factors[i]);
    }
    float c[8] = { 1, 1, 1, 1, 1, 1, 1, 1 }, s[8] = {};         // values do not turn
    if (head < queries + keys)
    {
        load_floats(cos + angle + 8 * lane % HALF, c);
        load_floats(sin + angle + 8 * lane % HALF, s);
    }
#pragma unroll
    for (int i = 0; i < 8; i++)
    {
        float other = __shfl_xor_sync(0xffffffff, own[i], LANES / 2);
        y[i] = own[i] * c[i] + (8 * lane < HALF ? -other : other) * s[i];
    }
#if CACHE8
    float largest = 0;
#pragma unroll
    for (int i = 0; i < 8; i++) largest = fmaxf(largest, fabsf(y[i]));
#pragma unroll
    for (int mask = LANES / 2; mask > 0; mask >>= 1) largest = fmaxf(largest, __shfl_xor_sync(0xffffffff, largest, mask));
#endif
    if (!there) return;
    if (head < queries) store8(x + 8 * lane, y);
#if CACHE8
    else
    {
        u32 words[2] = {};
#pragma unroll
        for (int i = 0; i < 8; i++) words[i / 4] |= (u32)(__float2int_rn(largest > 0 ? y[i] * (127 / largest) : 0) & 255) << 8 * (i % 4);
        *(u64*)(cached + (size_t)row.position * HEAD_DIM + 8 * lane) = (u64)words[1] << 32 | words[0];
        if (lane == 0) factors_of(cached, row)[row.position] = largest / 127;
    }
#else
    else store8(cached + (size_t)row.position * HEAD_DIM + 8 * lane, y);
#endif
#else
    cached += (size_t)row.position * HEAD_DIM;
    float scale = 1, mean = 0;
    if (w)
    {
        float squares = 0, total = 0;
        for (int i = lane; i < HEAD_DIM; i += 32)
        {
            squares += widen(x[i]) * widen(x[i]);
            total += widen(x[i]);
        }
        if (LAYER_NORM) mean = sum_of_warp(total) / HEAD_DIM;
        scale = 1 / sqrtf(spread(sum_of_warp(squares) / HEAD_DIM, mean) + eps);
    }
    if (!there) return;
    if (head >= queries + keys)
    {
        for (int i = lane; i < HEAD_DIM; i += 32) cached[i] = x[i];
        return;
    }
    for (int i = lane; i < HALF; i += 32)
    {
        float a = (widen(x[i]) - mean) * scale * (w ? w[i] : 1), b = (widen(x[i + HALF]) - mean) * scale * (w ? w[i + HALF] : 1), c = cos[angle + i], s = sin[angle + i];
        T* to = head < queries ? x : cached;
        narrow(a * c - b * s, to[i]);
        narrow(b * c + a * s, to[i + HALF]);
    }
#endif
}

// softmax(q · keys / sqrt(HEAD_DIM)) · values over the positions up to the row's own: one warp a query head of a row, every lane a position,
// then every lane some columns. The simple one: it reads keys and values from the caches of the chip again for every row.
extern "C" __global__ void attend(const T* qkv, const Row* rows, T* out, int first, int queries, int keys)
{
    constexpr int OWN = (HEAD_DIM + 31) / 32;
    DYNAMIC_SHARED(float, shared);
    let_next_begin();
    await_before();
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, head = blockIdx.x * (blockDim.x / 32) + warp;
    if (head >= queries) return;
    Row row = rows[blockIdx.y];
    float* q = shared + warp * HEAD_DIM;
    const T* from = qkv + ((size_t)blockIdx.y * (queries + 2 * keys) + head) * HEAD_DIM;
    for (int i = lane; i < HEAD_DIM; i += 32) q[i] = widen(from[i]) / sqrtf((float)HEAD_DIM);
    __syncwarp();
    C *k = plane(row, first + head / (queries / keys), 0), *v = plane(row, first + head / (queries / keys), 1);
    float most = -INFINITE, sum = 0, y[OWN] = {};
    for (int begin = 0; begin <= row.position; begin += 32)
    {
        int position = begin + lane;
        float score = -INFINITE;
        if (position <= row.position)
        {
            const C* key = k + (size_t)position * HEAD_DIM;
            score = 0;
            for (int i = 0; i < HEAD_DIM; i++) score += q[i] * widen(key[i]);
#if CACHE8
            score *= factors_of(k, row)[position];
#endif
        }
        float larger = fmaxf(most, score);
#pragma unroll
        for (int mask = 16; mask > 0; mask >>= 1) larger = fmaxf(larger, __shfl_xor_sync(0xffffffff, larger, mask));
        float weight = position <= row.position ? expf(score - larger) : 0, before = expf(most - larger);
        most = larger;
        sum = sum * before + sum_of_warp(weight);
#pragma unroll
        for (int i = 0; i < OWN; i++) y[i] *= before;
#if CACHE8
        if (position <= row.position) weight *= factors_of(v, row)[position];
#endif
        int count = row.position + 1 - begin < 32 ? row.position + 1 - begin : 32;
        for (int other = 0; other < count; other++)
        {
            float w = __shfl_sync(0xffffffff, weight, other);
            const C* value = v + (size_t)(begin + other) * HEAD_DIM;
#pragma unroll
            for (int i = 0; i < OWN; i++)
                if (lane + 32 * i < HEAD_DIM) y[i] += w * widen(value[lane + 32 * i]);
        }
    }
#pragma unroll
    for (int i = 0; i < OWN; i++)
        if (lane + 32 * i < HEAD_DIM) narrow(y[i] / sum, out[((size_t)blockIdx.y * queries + head) * HEAD_DIM + lane + 32 * i]);
}

// y = SiLU(gate) ⊙ up, the halves of a row of [rows, 2 · width]; without a gate SiLU of [rows, width]. Blocks along x share a row.
extern "C" __global__ void activate(const T* gate_up, T* y, int width, int gated)
{
    let_next_begin();
    await_before();
    const T* from = gate_up + (size_t)blockIdx.y * width * (gated ? 2 : 1);
    T* to = y + (size_t)blockIdx.y * width;
    int i = (blockIdx.x * blockDim.x + threadIdx.x) * 8;
    if (width % 8 == 0)
    {
        if (i >= width) return;
        float a[8], b[8];
        load8(from + i, a);
        if (gated) load8(from + width + i, b);
#pragma unroll
        for (int j = 0; j < 8; j++) a[j] = silu(a[j]) * (gated ? b[j] : 1);
        store8(to + i, a);
        return;
    }
    for (int j = i; j < i + 8 && j < width; j++) narrow(silu(widen(from[j])) * (gated ? widen(from[j + width]) : 1), to[j]);
}

#if BF16
#ifndef EMULATED
// d += a · b: [16, 16] · [16, 8]
__device__ __forceinline__ void multiply(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1)
{
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

#endif
#endif

#if BF16 && (HEAD_DIM == 64 || HEAD_DIM == 128)
constexpr int KEYS = 64;                                         // positions of a tile of keys and values

// Blocks are a grid of KV heads and tiles. The tiles with most to do first; where two blocks share a multiprocessor, the least of the second half.
__device__ __forceinline__ void tile_of(int keys, int& kv, int& tile)
{
    int blocks = gridDim.x * gridDim.y, block = blockIdx.y * gridDim.x + blockIdx.x, half = (blocks + 1) / 2;
    int rank = block < half ? block : blocks - 1 - (block - half);
    kv = rank % keys;
    tile = gridDim.y - 1 - rank / keys;
}

#ifndef EMULATED
// 16 bytes, or zeros.
__device__ __forceinline__ void copy_early(void* to, const void* from, bool there)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" :: "r"((u32)__cvta_generic_to_shared(to)), "l"(from), "r"(there ? 16 : 0) : "memory");
}

__device__ __forceinline__ void end_group() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// All groups but the latest are there.
__device__ __forceinline__ void await_groups_but_one() { asm volatile("cp.async.wait_group 1;" ::: "memory"); }

// Of a block, the team with a number and some threads.
__device__ __forceinline__ void meet_team(int team, int threads) { asm volatile("bar.sync %0, %1;" :: "r"(1 + team), "r"(threads) : "memory"); }
#endif

// The same attention by the matrix units, for neighbouring rows of a sequence.
//
// A block has one KV head and a tile of 64 queries: 64 / group positions of the sequence, every query head of the group. Its two teams, four warps
// each, have all 64 queries and take turns with tiles of 64 keys and values. A team's product is one instruction of all its warps (wgmma): queries,
// keys and values from shared memory, where rows of 64 numbers lie with their eight pieces of 16 bytes exchanged by the row's number (the layout that
// the instruction calls a swizzle of 128 bytes). Scores never leave the registers, where the layout of a product's result is that of the next one's
// left side.
//
// Measured on an H100, 270M, 1,024 positions: 19.4 microseconds a layer with queries from registers, 25.3 by instructions of single warps (mma) with
// two to four teams and one block a multiprocessor. But the result of the former was wrong behind a team's first tile of keys: NVRTC 13.0 gives the
// queries' registers to the weights of the values' product and does not restore them for the next turn. So a left side must not stay in registers
// from turn to turn; the weights, which are new in each, may.

constexpr int TEAM = 128, TEAMS = 2, ATOM = 64 * 64;  // ATOM: 64 rows of 64 numbers
constexpr int STAGE = 2 * HEAD_DIM * KEYS;                       // keys, then values: [HEAD_DIM / 64][64][64] each, as queries
constexpr int OF_TEAM = 2 * STAGE + HEAD_DIM * KEYS;             // two stages, then queries

#ifdef EMULATED
inline u16* align_stages(u16* raw) { return raw; }
#else
// Layouts repeat every 1,024 bytes.
__device__ __forceinline__ u16* align_stages(u16* raw) { return raw + (1024 - (u32)__cvta_generic_to_shared(raw) % 1024) % 1024 / 2; }

// What this thread has written may be read by wgmma behind the next meeting.
__device__ __forceinline__ void publish() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

__device__ __forceinline__ void begin_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void await_products()
{
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
    asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
}

#define OUT4(d, n) "+f"(d[n][0]), "+f"(d[n][1]), "+f"(d[n][2]), "+f"(d[n][3])
#define OUT32(d, n) OUT4(d, n), OUT4(d, n + 1), OUT4(d, n + 2), OUT4(d, n + 3), OUT4(d, n + 4), OUT4(d, n + 5), OUT4(d, n + 6), OUT4(d, n + 7)

// Where numbers of a stage lie, as wgmma is told.
__device__ __forceinline__ u64 place_of(const u16* numbers)
{
    return (u64)(((u32)__cvta_generic_to_shared(numbers) & 0x3ffff) >> 4) | (u64)(8192 >> 4) << 16 | (u64)(1024 >> 4) << 32 | 1ull << 62;
}

// d += a · b of a team: [64, 16] · [16, 64], both sides in shared memory; a row of the stage is a column of b.
__device__ __forceinline__ void multiply_team(float (&d)[8][4], const u16* a, const u16* b, bool adds)
{
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, "
        "%21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, %32, %33, p, 1, 1, 0, 0;\n}"
        : OUT32(d, 0) : "l"(place_of(a)), "l"(place_of(b)), "r"((int)adds));
}

// d += a · b of a team: [64, 16] · [16, columns]; a row of the stage is a row of b.
__device__ __forceinline__ void multiply_team(float (&d)[8][4], const u32 (&a)[4], const u16* b)
{
    asm volatile(
        "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, "
        "%21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, {%32, %33, %34, %35}, %36, 1, 1, 1, 1;"
        : OUT32(d, 0) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(place_of(b)));
}

__device__ __forceinline__ void multiply_team(float (&d)[16][4], const u32 (&a)[4], const u16* b)
{
    asm volatile(
        "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, "
        "%21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, "
        "%51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, {%64, %65, %66, %67}, %68, 1, 1, 1, 1;"
        : OUT32(d, 0), OUT32(d, 8) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(place_of(b)));
}
#endif

// tiles: [tiles][first row, rows]; group: query heads of a KV head, a divisor of 64. Grid: KV heads, tiles.
extern "C" __global__ __launch_bounds__(TEAM * TEAMS, HEAD_DIM == 64 ? 2 : 1) void attend_tiles(
    const T* qkv, const Row* rows, const int* tiles, T* out, int first, int queries, int keys)
{
    DYNAMIC_SHARED(u16, raw);                                   // [TEAMS][OF_TEAM]
    constexpr int STEPS = HEAD_DIM / 16, COLUMNS = HEAD_DIM / 8;
    let_next_begin();
    await_before();
    int lane = threadIdx.x % 32, warp = threadIdx.x % TEAM / 32, team = threadIdx.x / TEAM, group = queries / keys;
    u16 *stages = align_stages(raw), *own_stages = stages + team * OF_TEAM, *own_queries = own_stages + 2 * STAGE;
    int kv, tile;
    tile_of(keys, kv, tile);
    int begin = tiles[2 * tile], count = tiles[2 * tile + 1], width = (queries + 2 * keys) * HEAD_DIM;
    Row row = rows[begin];
    C *k = plane(row, first + kv, 0), *v = plane(row, first + kv, 1);
    int last = row.position + count - 1;
    auto ask = [&](int at)
    {
        u16* to = own_stages + at / (TEAMS * KEYS) % 2 * STAGE;
        if (at <= last)
#pragma unroll
            for (int i = threadIdx.x % TEAM; i < 2 * KEYS * COLUMNS; i += TEAM)
            {
                int which = i / (KEYS * COLUMNS), r = i / COLUMNS % KEYS, c = i % COLUMNS;
                bool there = at + r <= last;
                C* from = (which ? v : k) + (size_t)(there ? at + r : 0) * HEAD_DIM + 8 * c;
                u16* piece = to + which * HEAD_DIM * KEYS + c / 8 * ATOM + r * 64 + (c % 8 ^ r % 8) * 8;
#if CACHE8
                float x[8], factor = there ? factors_of(which ? v : k, row)[at + r] : 0;
                u64 numbers = *(const u64*)from;
#pragma unroll
                for (int j = 0; j < 8; j++) x[j] = factor * (signed char)(numbers >> 8 * j);
                store8(piece, x);
#else
                copy_early(piece, from, there);
#endif
            }
        end_group();
    };
    if (team * KEYS <= last)
#pragma unroll
        for (int i = threadIdx.x % TEAM; i < KEYS * COLUMNS; i += TEAM)
        {
            int r = i / COLUMNS, c = i % COLUMNS;
            bool there = r / group < count;
            copy_early(own_queries + c / 8 * ATOM + r * 64 + (c % 8 ^ r % 8) * 8, qkv + (size_t)(begin + (there ? r / group : 0)) * width + (kv * group + r % group) * HEAD_DIM + 8 * c, there);
        }
    ask(team * KEYS);

    // This lane's two queries: number in the tile, position; −1: there is none.
    int number = warp * 16 + lane / 4, position[2];
    float factor = 1.44269504f / sqrtf((float)HEAD_DIM);        // powers of two instead of e
#pragma unroll
    for (int i = 0; i < 2; i++) position[i] = (number + 8 * i) / group < count ? row.position + (number + 8 * i) / group : -1;
    float y[COLUMNS][4] = {}, most[2] = { -INFINITE, -INFINITE }, sum[2] = {};
    for (int at = team * KEYS; at <= last; at += TEAMS * KEYS)
    {
        ask(at + TEAMS * KEYS);
        await_groups_but_one();
        publish();
        meet_team(team, TEAM);
        const u16 *key_tile = own_stages + at / (TEAMS * KEYS) % 2 * STAGE, *value_tile = key_tile + HEAD_DIM * KEYS;
        float s[KEYS / 8][4];
        begin_products();
#pragma unroll
        for (int step = 0; step < STEPS; step++) multiply_team(s, own_queries + step / 4 * ATOM + step % 4 * 16, key_tile + step / 4 * ATOM + step % 4 * 16, step > 0);
        await_products();
        if (at + KEYS > row.position)
#pragma unroll
            for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
                for (int i = 0; i < 4; i++)
                    if (at + n * 8 + lane % 4 * 2 + i % 2 > position[i / 2]) s[n][i] = -INFINITE;
#pragma unroll
        for (int i = 0; i < 2; i++)
        {
            float larger = most[i];
#pragma unroll
            for (int n = 0; n < KEYS / 8; n++) larger = fmaxf(larger, fmaxf(s[n][2 * i], s[n][2 * i + 1]));
            larger = fmaxf(larger, __shfl_xor_sync(0xffffffff, larger, 1));
            larger = fmaxf(larger, __shfl_xor_sync(0xffffffff, larger, 2));
            float scaled = larger == -INFINITE ? 0 : larger * factor, before = power(most[i] * factor - scaled);
            most[i] = larger;
            sum[i] *= before;
#pragma unroll
            for (int n = 0; n < COLUMNS; n++)
            {
                y[n][2 * i] *= before;
                y[n][2 * i + 1] *= before;
            }
#pragma unroll
            for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
                for (int j = 2 * i; j < 2 * i + 2; j++)
                {
                    s[n][j] = power(s[n][j] * factor - scaled);
                    sum[i] += s[n][j];
                }
        }
        u32 p[KEYS / 16][4];
#pragma unroll
        for (int step = 0; step < KEYS / 16; step++)
#pragma unroll
            for (int i = 0; i < 4; i++) p[step][i] = pair(s[2 * step + i / 2][i % 2 * 2], s[2 * step + i / 2][i % 2 * 2 + 1]);
        begin_products();
#pragma unroll
        for (int step = 0; step < KEYS / 16; step++) multiply_team(y, p[step], value_tile + step * 16 * 64);
        await_products();
        meet_team(team, TEAM);
    }
#pragma unroll
    for (int i = 0; i < 2; i++)
    {
        sum[i] += __shfl_xor_sync(0xffffffff, sum[i], 1);
        sum[i] += __shfl_xor_sync(0xffffffff, sum[i], 2);
    }
    // The second team hands over what it has, thread by thread.
    if (KEYS <= last)
    {
        __syncthreads();
        float* letter = (float*)stages + threadIdx.x % TEAM;
        if (team > 0)
        {
#pragma unroll
            for (int n = 0; n < COLUMNS; n++)
#pragma unroll
                for (int i = 0; i < 4; i++) letter[TEAM * (4 * n + i)] = y[n][i];
#pragma unroll
            for (int i = 0; i < 2; i++)
            {
                letter[TEAM * (4 * COLUMNS + i)] = most[i];
                letter[TEAM * (4 * COLUMNS + 2 + i)] = sum[i];
            }
        }
        __syncthreads();
        if (team > 0) return;
#pragma unroll
        for (int i = 0; i < 2; i++)
        {
            float theirs = letter[TEAM * (4 * COLUMNS + i)], larger = fmaxf(most[i], theirs), before = power((most[i] - larger) * factor), after = power((theirs - larger) * factor);
            sum[i] = sum[i] * before + letter[TEAM * (4 * COLUMNS + 2 + i)] * after;
#pragma unroll
            for (int n = 0; n < COLUMNS; n++)
#pragma unroll
                for (int j = 2 * i; j < 2 * i + 2; j++) y[n][j] = y[n][j] * before + letter[TEAM * (4 * n + j)] * after;
        }
    }
    if (team > 0) return;
#pragma unroll
    for (int i = 0; i < 2; i++)
    {
        if (position[i] < 0) continue;
        T* to = out + ((size_t)(begin + (number + 8 * i) / group) * queries + kv * group + (number + 8 * i) % group) * HEAD_DIM + lane % 4 * 2;
#pragma unroll
        for (int n = 0; n < COLUMNS; n++) *(u32*)(to + n * 8) = pair(y[n][2 * i] / sum[i], y[n][2 * i + 1] / sum[i]);
    }
}
#endif

#if BF16
// Products of few rows (steps of sequences side by side, proposals): y = x · Wᵀ with the steps around it. A weight is read once and multiplied with
// some rows only, so memory decides. 16 columns of the result are a block's: the left side of the matrix units' product is the weights, the right
// side 8 rows of x. Eight warps share the inner dimension in turns of 64; each asks for its first weights before the launch in front of this one is
// done, for they do not depend on it.
// Order among the 16 summands of a product is free, so a lane's eight neighbouring numbers (one access) are what it gives to two products.
//
// The norm's factor of a row is a number times the sum: x comes as residual · norm weights, with the sums of squares of the residual, block by block
// of the launch that wrote it ([rows][parts]), and the factor is applied behind the product.
//
//   SCALED    y = factor · x · Wᵀ
//   GATED     y = SiLU(factor · gate) ⊙ (factor · up): W has gates, then ups; a block has 8 of both
//   LOGITS    floats
//   ADDED     residual += x · Wᵀ; y = residual · norm weights of what comes next, and squares
//
// Measured on an H100: 8 sequences of 1.1B 4,913 tokens/s against 4,400 with cuBLASLt and kernels between; 4,937 without launches that begin early.
// With loads of weights that the compiler may not move behind the wait (it may move others) 5,266 tokens/s against 5,125 on the same card.
// Passes of 9 to 16 rows are not timed.
enum Few { SCALED, GATED, LOGITS, ADDED };

constexpr int FEW_WARPS = 8, FEW_DEPTH = 4, MOST_PARTS = 256;   // turns of a warp on their way; blocks that wrote squares

#ifdef EMULATED
inline Word4 load_once(const u16* from, bool there) { return there ? *(const Word4*)from : Word4{ 0, 0, 0, 0 }; }
inline Word4 load_late(const u16* from, bool there) { return there ? *(const Word4*)from : Word4{ 0, 0, 0, 0 }; }
#else
// 16 bytes of weights, or zeros. Volatile, so that they are asked for where the text says so.
__device__ __forceinline__ Word4 load_once(const u16* from, bool there)
{
    Word4 w;
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %5, 0;\nmov.b32 %0, 0;\nmov.b32 %1, 0;\nmov.b32 %2, 0;\nmov.b32 %3, 0;\n@p ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];\n}"
        : "=&r"(w.x), "=&r"(w.y), "=&r"(w.z), "=&r"(w.w) : "l"(from), "r"((int)there));
    return w;
}

// 16 bytes that other multiprocessors wrote, or zeros.
__device__ __forceinline__ Word4 load_late(const u16* from, bool there)
{
    Word4 w;
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %5, 0;\nmov.b32 %0, 0;\nmov.b32 %1, 0;\nmov.b32 %2, 0;\nmov.b32 %3, 0;\n@p ld.global.cg.v4.u32 {%0, %1, %2, %3}, [%4];\n}"
        : "=&r"(w.x), "=&r"(w.y), "=&r"(w.z), "=&r"(w.w) : "l"(from), "r"((int)there) : "memory");
    return w;
}
#endif

// inner: a multiple of 8. columns: of the result; GATED: a multiple of 8. parts: how many squares a row of x has; 0: no factor.
template <int TILES, int KIND>
__device__ __forceinline__ void multiply_few(
    const u16* x, const u16* w, int inner, int columns, int rows, const float* squares, int parts, int width, float eps, void* y, float* residual, const float* next_norm, float* next_squares)
{
    __shared__ Float4 sums[FEW_WARPS][TILES][32];
    __shared__ float factors[8 * TILES];
    let_next_begin();
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4, turns = (inner + 63) / 64, last = columns - 1;
    int column = KIND == GATED ? 8 * blockIdx.x + g : 16 * blockIdx.x + g, other = KIND == GATED ? columns + column : column + 8;
    const u16 *own = w + (size_t)(column < last ? column : last) * inner + 8 * t, *second = w + (size_t)(KIND == GATED || other < last ? other : last) * inner + 8 * t;
    Word4 kept[FEW_DEPTH][4];
    auto ask = [&](Word4 (&to)[4], int turn)
    {
#pragma unroll
        for (int h = 0; h < 2; h++)
        {
            int k = 64 * turn + 32 * h;
            to[h] = load_once(own + k, k + 8 * t < inner);
            to[2 + h] = load_once(second + k, k + 8 * t < inner);
        }
    };
#pragma unroll
    for (int i = 0; i < FEW_DEPTH; i++) ask(kept[i], warp + FEW_WARPS * i);
    await_before();

    // A warp of the last step has a tile of rows there.
    float old[4] = {};
    int at = KIND == ADDED ? (8 * warp + 2 * t) * columns + column : 0;
    if (KIND == ADDED && warp < TILES)
#pragma unroll
        for (int i = 0; i < 4; i++)
            if (8 * warp + 2 * t + i % 2 < rows && (i < 2 ? column : other) <= last) old[i] = __ldcg(residual + at + i % 2 * columns + i / 2 * 8);
    const u16* from[TILES];
#pragma unroll
    for (int n = 0; n < TILES; n++) from[n] = x + (size_t)(8 * n + g < rows ? 8 * n + g : rows - 1) * inner + 8 * t;
    float acc[TILES][4] = {}, mine[TILES][MOST_PARTS / 32];
    // Sums of squares: warp i has rows i and i + 8.
    if (KIND != ADDED)
#pragma unroll
        for (int n = 0; n < TILES; n++)
#pragma unroll
            for (int i = 0; i < MOST_PARTS / 32; i++)
                mine[n][i] = 8 * n + warp < rows && lane + 32 * i < parts ? __ldcg(squares + (8 * n + warp) * parts + lane + 32 * i) : 0;
    for (int first = warp; first < turns; first += FEW_WARPS * FEW_DEPTH)
    {
        Word4 b[FEW_DEPTH][TILES][2];
#pragma unroll
        for (int i = 0; i < FEW_DEPTH; i++)
#pragma unroll
            for (int n = 0; n < TILES; n++)
#pragma unroll
                for (int h = 0; h < 2; h++)
                {
                    int k = 64 * (first + FEW_WARPS * i) + 32 * h;
                    b[i][n][h] = load_late(from[n] + k, k + 8 * t < inner);
                }
#pragma unroll
        for (int i = 0; i < FEW_DEPTH; i++)
        {
#pragma unroll
            for (int h = 0; h < 2; h++)
            {
                u32 low[4] = { kept[i][h].x, kept[i][2 + h].x, kept[i][h].y, kept[i][2 + h].y }, high[4] = { kept[i][h].z, kept[i][2 + h].z, kept[i][h].w, kept[i][2 + h].w };
#pragma unroll
                for (int n = 0; n < TILES; n++)
                {
                    multiply(acc[n], low, b[i][n][h].x, b[i][n][h].y);
                    multiply(acc[n], high, b[i][n][h].z, b[i][n][h].w);
                }
            }
            ask(kept[i], first + FEW_WARPS * (FEW_DEPTH + i));
        }
    }
    if (KIND != ADDED)
#pragma unroll
        for (int n = 0; n < TILES; n++)
        {
            float sum = 0;
#pragma unroll
            for (int i = 0; i < MOST_PARTS / 32; i++) sum += mine[n][i];
            sum = sum_of_warp(sum);
            if (lane == 0) factors[8 * n + warp] = parts > 0 ? rsqrtf(sum / width + eps) : 1;
        }
#pragma unroll
    for (int n = 0; n < TILES; n++) sums[warp][n][lane] = Float4{ acc[n][0], acc[n][1], acc[n][2], acc[n][3] };
    __syncthreads();
    if (warp >= TILES) return;
    float d[4] = {};
#pragma unroll
    for (int i = 0; i < FEW_WARPS; i++)
    {
        Float4 part = sums[i][warp][lane];
        d[0] += part.x, d[1] += part.y, d[2] += part.z, d[3] += part.w;
    }
    int row = 8 * warp + 2 * t;
#pragma unroll
    for (int j = 0; j < 2; j++)
    {
        bool there = row + j < rows;
        float low = d[j], high = d[2 + j];
        if (KIND == ADDED)
        {
            low += old[j];
            high += old[2 + j];
            float both = (there && column <= last ? low * low : 0) + (there && other <= last ? high * high : 0);
            both += __shfl_xor_sync(0xffffffff, both, 4);
            both += __shfl_xor_sync(0xffffffff, both, 8);
            both += __shfl_xor_sync(0xffffffff, both, 16);
            if (!there) continue;
            if (g == 0) next_squares[(row + j) * gridDim.x + blockIdx.x] = both;
            size_t to = (size_t)(row + j) * columns + column;
            if (column <= last)
            {
                residual[to] = low;
                narrow(low * next_norm[column], ((u16*)y)[to]);
            }
            if (other <= last)
            {
                residual[to + 8] = high;
                narrow(high * next_norm[other], ((u16*)y)[to + 8]);
            }
            continue;
        }
        if (!there) continue;
        low *= factors[row + j];
        high *= factors[row + j];
        size_t to = (size_t)(row + j) * columns + column;
        if (KIND == GATED) narrow(silu(low) * high, ((u16*)y)[to]);
        if (KIND == SCALED && column <= last) narrow(low, ((u16*)y)[to]);
        if (KIND == SCALED && other <= last) narrow(high, ((u16*)y)[to + 8]);
        if (KIND == LOGITS && column <= last) ((float*)y)[to] = low;
        if (KIND == LOGITS && other <= last) ((float*)y)[to + 8] = high;
    }
}

#define FEW_ARGUMENTS \
    const u16* x, const u16* w, int inner, int columns, int rows, const float* squares, int parts, int width, float eps, void* y, float* residual, const float* next_norm, float* next_squares
#define FEW_BOUNDS __launch_bounds__(256, 2)
#define FEW_NAMES x, w, inner, columns, rows, squares, parts, width, eps, y, residual, next_norm, next_squares
extern "C" __global__ FEW_BOUNDS void few_scaled_8(FEW_ARGUMENTS) { multiply_few<1, SCALED>(FEW_NAMES); }
extern "C" __global__ FEW_BOUNDS void few_scaled_16(FEW_ARGUMENTS) { multiply_few<2, SCALED>(FEW_NAMES); }
extern "C" __global__ FEW_BOUNDS void few_gated_8(FEW_ARGUMENTS) { multiply_few<1, GATED>(FEW_NAMES); }
extern "C" __global__ FEW_BOUNDS void few_gated_16(FEW_ARGUMENTS) { multiply_few<2, GATED>(FEW_NAMES); }
extern "C" __global__ FEW_BOUNDS void few_logits_8(FEW_ARGUMENTS) { multiply_few<1, LOGITS>(FEW_NAMES); }
extern "C" __global__ FEW_BOUNDS void few_logits_16(FEW_ARGUMENTS) { multiply_few<2, LOGITS>(FEW_NAMES); }
extern "C" __global__ FEW_BOUNDS void few_added_8(FEW_ARGUMENTS) { multiply_few<1, ADDED>(FEW_NAMES); }
extern "C" __global__ FEW_BOUNDS void few_added_16(FEW_ARGUMENTS) { multiply_few<2, ADDED>(FEW_NAMES); }

// What the first product of few rows takes: residual = E[token], y = residual · norm weights, squares: [rows][1]. One block of 256 a row.
extern "C" __global__ __launch_bounds__(256) void embed_few(const Row* rows, const u16* embedding, float* residual, const float* norm, u16* y, float* squares, int width)
{
    __shared__ float partial[8];
    let_next_begin();
    await_before();
    const u16* from = embedding + (size_t)rows[blockIdx.x].token * width;
    size_t to = (size_t)blockIdx.x * width;
    float sum = 0;
    for (int i = threadIdx.x; i < width; i += 256)
    {
        float value = widen(from[i]);
        residual[to + i] = value;
        narrow(value * norm[i], y[to + i]);
        sum += value * value;
    }
    sum = sum_of_warp(sum);
    if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x > 0) return;
    sum = 0;
    for (int i = 0; i < 8; i++) sum += partial[i];
    squares[blockIdx.x] = sum;
}

// Of the rows, those that are wanted, for the head: one block a row.
extern "C" __global__ void pick_few(const u16* x, const float* squares, const int* picked, u16* y, float* picked_squares, int width, int parts)
{
    let_next_begin();
    await_before();
    int row = picked[blockIdx.x];
    for (int i = threadIdx.x; i < width; i += blockDim.x) y[(size_t)blockIdx.x * width + i] = x[(size_t)row * width + i];
    for (int i = threadIdx.x; i < parts; i += blockDim.x) picked_squares[blockIdx.x * parts + i] = squares[row * parts + i];
}
#endif

#if GROUP > 0
// Attention of rows that are alone in their sequences, with the step before it: grid (splits, KV heads, rows), 128 threads. A block has some
// positions of a KV head's past, a multiple of 128; QK norm and RoPE of its queries are its own, and the block with the row's position stores the
// new key and value. The last block of a row's KV head joins the splits.
// partial: [rows, queries, splits, HEAD_DIM + 2], counters: [rows, KV heads], zero before and after.
constexpr int OWN = (HEAD_DIM / 2 + 31) / 32, SHARE = HEAD_DIM + 4;

// What a warp found in its positions goes to shares [warp][query][SHARE]: values, largest score, sum of weights.
#if BF16 && HEAD_DIM % 64 == 0 && HEAD_DIM <= 128
// By the matrix units: scores are queries (rows of the left side, of which a group fills some) times keys, values are weighed with the scores in
// the registers where they are. A lane's eight neighbouring numbers, one access, are what it gives to several products, for the order of summands
// and of columns is free; two positions of values change halves of words.
#define QUERY_TYPE u16
constexpr int AT_ONCE = HEAD_DIM == 64 ? 32 : 16, QUERY_PITCH = HEAD_DIM + 8, QUERIES = 8;

// Eight numbers of a position.
#if CACHE8
struct __align__(8) Numbers { u32 x, y; };
__device__ __forceinline__ Word4 widen8(const Numbers& n)
{
    float f[8];
#pragma unroll
    for (int i = 0; i < 8; i++) f[i] = (float)(signed char)((i < 4 ? n.x : n.y) >> 8 * (i % 4));
    return Word4{ pair(f[0], f[1]), pair(f[2], f[3]), pair(f[4], f[5]), pair(f[6], f[7]) };
}
#else
typedef Word4 Numbers;
__device__ __forceinline__ Word4 widen8(const Word4& n) { return n; }
#endif

#ifdef EMULATED
inline u32 lower_halves(u32 a, u32 b) { return a & 0xffff | b << 16; }
inline u32 upper_halves(u32 a, u32 b) { return a >> 16 | b & 0xffff0000; }
#else
__device__ __forceinline__ u32 lower_halves(u32 a, u32 b) { return __byte_perm(a, b, 0x5410); }
__device__ __forceinline__ u32 upper_halves(u32 a, u32 b) { return __byte_perm(a, b, 0x7632); }
#endif

__device__ __forceinline__ void attend_part(const u16* q, C* k, C* v, const Row& row, int begin, int end, float* shares)
{
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;
    constexpr int CHUNKS = HEAD_DIM / 32, WIDE_CHUNKS = HEAD_DIM / 64;
    Word4 a[CHUNKS];
#pragma unroll
    for (int j = 0; j < CHUNKS; j++) a[j] = *(const Word4*)(q + g * QUERY_PITCH + 32 * j + 8 * t);
    float y[HEAD_DIM / 8][4] = {}, most = -INFINITE, sum = 0;
    for (int at = begin + AT_ONCE * warp; at < end; at += 4 * AT_ONCE)
    {
        Numbers keys_of[AT_ONCE / 8][CHUNKS], values_of[AT_ONCE / 16][4][WIDE_CHUNKS];
#pragma unroll
        for (int n = 0; n < AT_ONCE / 8; n++)
#pragma unroll
            for (int j = 0; j < CHUNKS; j++) keys_of[n][j] = *(const Numbers*)(k + (size_t)min(at + 8 * n + g, end - 1) * HEAD_DIM + 32 * j + 8 * t);
#pragma unroll
        for (int m = 0; m < AT_ONCE / 16; m++)
#pragma unroll
            for (int i = 0; i < 4; i++)
#pragma unroll
                for (int c = 0; c < WIDE_CHUNKS; c++) values_of[m][i][c] = *(const Numbers*)(v + (size_t)min(at + 16 * m + 2 * t + i / 2 * 8 + i % 2, end - 1) * HEAD_DIM + 64 * c + 8 * g);
        float s[AT_ONCE / 8][4] = {}, larger = most;
#pragma unroll
        for (int j = 0; j < CHUNKS; j++)
        {
            u32 low[4] = { a[j].x, 0, a[j].y, 0 }, high[4] = { a[j].z, 0, a[j].w, 0 };
#pragma unroll
            for (int n = 0; n < AT_ONCE / 8; n++)
            {
                Word4 key = widen8(keys_of[n][j]);
                multiply(s[n], low, key.x, key.y);
                multiply(s[n], high, key.z, key.w);
            }
        }
#pragma unroll
        for (int n = 0; n < AT_ONCE / 8; n++)
#pragma unroll
            for (int i = 0; i < 2; i++)
            {
                int p = at + 8 * n + 2 * t + i;
#if CACHE8
                s[n][i] *= factors_of(k, row)[min(p, end - 1)];
#endif
                if (p >= end) s[n][i] = -INFINITE;
                larger = fmaxf(larger, s[n][i]);
            }
        larger = fmaxf(larger, __shfl_xor_sync(0xffffffff, larger, 1));
        larger = fmaxf(larger, __shfl_xor_sync(0xffffffff, larger, 2));
        float before = power(most - larger);
        most = larger;
        sum *= before;
#pragma unroll
        for (int n = 0; n < HEAD_DIM / 8; n++)
        {
            y[n][0] *= before;
            y[n][1] *= before;
        }
#pragma unroll
        for (int n = 0; n < AT_ONCE / 8; n++)
#pragma unroll
            for (int i = 0; i < 2; i++)
            {
                s[n][i] = power(s[n][i] - larger);
                sum += s[n][i];
#if CACHE8
                s[n][i] *= factors_of(v, row)[min(at + 8 * n + 2 * t + i, end - 1)];
#endif
            }
#pragma unroll
        for (int m = 0; m < AT_ONCE / 16; m++)
        {
            u32 p[4] = { pair(s[2 * m][0], s[2 * m][1]), 0, pair(s[2 * m + 1][0], s[2 * m + 1][1]), 0 };
#pragma unroll
            for (int c = 0; c < WIDE_CHUNKS; c++)
            {
                Word4 x[4];
#pragma unroll
                for (int i = 0; i < 4; i++) x[i] = widen8(values_of[m][i][c]);
                multiply(y[8 * c], p, lower_halves(x[0].x, x[1].x), lower_halves(x[2].x, x[3].x));
                multiply(y[8 * c + 1], p, upper_halves(x[0].x, x[1].x), upper_halves(x[2].x, x[3].x));
                multiply(y[8 * c + 2], p, lower_halves(x[0].y, x[1].y), lower_halves(x[2].y, x[3].y));
                multiply(y[8 * c + 3], p, upper_halves(x[0].y, x[1].y), upper_halves(x[2].y, x[3].y));
                multiply(y[8 * c + 4], p, lower_halves(x[0].z, x[1].z), lower_halves(x[2].z, x[3].z));
                multiply(y[8 * c + 5], p, upper_halves(x[0].z, x[1].z), upper_halves(x[2].z, x[3].z));
                multiply(y[8 * c + 6], p, lower_halves(x[0].w, x[1].w), lower_halves(x[2].w, x[3].w));
                multiply(y[8 * c + 7], p, upper_halves(x[0].w, x[1].w), upper_halves(x[2].w, x[3].w));
            }
        }
    }
    sum += __shfl_xor_sync(0xffffffff, sum, 1);
    sum += __shfl_xor_sync(0xffffffff, sum, 2);
    if (g >= GROUP) return;
    float* share = shares + (warp * GROUP + g) * SHARE;
#pragma unroll
    for (int n = 0; n < HEAD_DIM / 8; n++)
#pragma unroll
        for (int i = 0; i < 2; i++) share[n / 8 * 64 + 8 * (2 * t + i) + n % 8] = y[n][i];
    if (t == 0)
    {
        share[HEAD_DIM] = most;
        share[HEAD_DIM + 1] = sum;
    }
}
#else
// By ordinary arithmetic: some lanes have a position, eight numbers each.
#define QUERY_TYPE float
constexpr int LANES = HEAD_DIM / 8, SIDE_BY_SIDE = 32 / LANES, AT_ONCE = 4, QUERY_PITCH = HEAD_DIM, QUERIES = GROUP;

struct __align__(8 * sizeof(C)) Eight { C x[8]; };

__device__ __forceinline__ void attend_part(const float* q, C* k, C* v, const Row& row, int begin, int end, float* shares)
{
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, part = lane % LANES * 8, side = lane / LANES;
    float y[GROUP][8] = {}, most[GROUP], sum[GROUP] = {};
#pragma unroll
    for (int g = 0; g < GROUP; g++) most[g] = -INFINITE;
    constexpr int STRIDE = 4 * SIDE_BY_SIDE;
    for (int base = begin + warp * SIDE_BY_SIDE + side; base - side < end; base += AT_ONCE * STRIDE)
    {
        Eight keys_of[AT_ONCE], values_of[AT_ONCE];
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++)
        {
            size_t p = (size_t)min(base + i * STRIDE, end - 1) * HEAD_DIM + part;
            keys_of[i] = *(const Eight*)(k + p);
            values_of[i] = *(const Eight*)(v + p);
        }
        float scores[AT_ONCE][GROUP];
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++)
        {
            int p = base + i * STRIDE;
#pragma unroll
            for (int g = 0; g < GROUP; g++)
            {
                float score = 0;
#pragma unroll
                for (int j = 0; j < 8; j++) score += q[g * HEAD_DIM + part + j] * widen(keys_of[i].x[j]);
#pragma unroll
                for (int mask = LANES / 2; mask > 0; mask >>= 1) score += __shfl_xor_sync(0xffffffff, score, mask);
#if CACHE8
                score *= factors_of(k, row)[min(p, end - 1)];
#endif
                scores[i][g] = p < end ? score : -INFINITE;
            }
        }
#pragma unroll
        for (int g = 0; g < GROUP; g++)
        {
            float larger = most[g];
#pragma unroll
            for (int i = 0; i < AT_ONCE; i++) larger = fmaxf(larger, scores[i][g]);
            float before = power(most[g] - larger);
            most[g] = larger;
            sum[g] *= before;
#pragma unroll
            for (int j = 0; j < 8; j++) y[g][j] *= before;
#pragma unroll
            for (int i = 0; i < AT_ONCE; i++)
            {
                float weight = scores[i][g] == -INFINITE ? 0 : power(scores[i][g] - larger);
                sum[g] += weight;
#if CACHE8
                weight *= factors_of(v, row)[min(base + i * STRIDE, end - 1)];
#endif
#pragma unroll
                for (int j = 0; j < 8; j++) y[g][j] += weight * widen(values_of[i].x[j]);
            }
        }
    }
#pragma unroll
    for (int g = 0; g < GROUP; g++)
    {
        float larger = most[g];
#pragma unroll
        for (int mask = LANES; mask < 32; mask <<= 1) larger = fmaxf(larger, __shfl_xor_sync(0xffffffff, larger, mask));
        float before = power(most[g] - larger);
        sum[g] *= before;
#pragma unroll
        for (int j = 0; j < 8; j++) y[g][j] *= before;
#pragma unroll
        for (int mask = LANES; mask < 32; mask <<= 1)
        {
            sum[g] += __shfl_xor_sync(0xffffffff, sum[g], mask);
#pragma unroll
            for (int j = 0; j < 8; j++) y[g][j] += __shfl_xor_sync(0xffffffff, y[g][j], mask);
        }
        float* share = shares + (warp * GROUP + g) * SHARE;
        if (lane < LANES)
#pragma unroll
            for (int j = 0; j < 8; j++) share[part + j] = y[g][j];
        if (lane == 0)
        {
            share[HEAD_DIM] = larger;
            share[HEAD_DIM + 1] = sum[g];
        }
    }
}
#endif

extern "C" __global__ __launch_bounds__(128) void attend_alone(
    const T* qkv, const Row* rows, const float* q_norm, const float* k_norm, const float* cos, const float* sin, T* out, float* partial, u32* counters,
    int first, int queries, int keys, float eps, int split_positions)
{
    DYNAMIC_SHARED(float, shares);                              // [4][GROUP][SHARE]
    __align__(16) __shared__ QUERY_TYPE q[QUERIES * QUERY_PITCH];
    __shared__ int is_last;
    let_next_begin();
    await_before();
    Row row = rows[blockIdx.z];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, kv = blockIdx.y, split = blockIdx.x, begin = split * split_positions;
    if (begin > row.position) return;
    int end = min(begin + split_positions, row.position + 1), splits = row.position / split_positions + 1;
    bool newest = row.position < begin + split_positions;
    C *k = plane(row, first + kv, 0), *v = plane(row, first + kv, 1);
    const T* from = qkv + (size_t)blockIdx.z * (queries + 2 * keys) * HEAD_DIM;
    for (int i = GROUP * QUERY_PITCH + threadIdx.x; i < QUERIES * QUERY_PITCH; i += 128) q[i] = 0;
    for (int head = warp; head < (newest ? GROUP + 2 : GROUP); head += 4)
    {
        const T* x = from + (size_t)(head < GROUP ? kv * GROUP + head : head == GROUP ? queries + kv : queries + keys + kv) * HEAD_DIM;
        const float* w = head < GROUP ? q_norm : head == GROUP ? k_norm : nullptr;
        float a[OWN], b[OWN], squares = 0, total = 0;
#pragma unroll
        for (int i = 0; i < OWN; i++)
        {
            int at = lane + 32 * i;
            a[i] = at < HEAD_DIM / 2 ? widen(x[at]) : 0;
            b[i] = at < HEAD_DIM / 2 ? widen(x[at + HEAD_DIM / 2]) : 0;
            squares += a[i] * a[i] + b[i] * b[i];
            total += a[i] + b[i];
        }
        float mean = LAYER_NORM && w ? sum_of_warp(total) / HEAD_DIM : 0, scale = w ? rsqrtf(spread(sum_of_warp(squares) / HEAD_DIM, mean) + eps) : 1;
#pragma unroll
        for (int i = 0; i < OWN; i++)
        {
            int at = lane + 32 * i;
            if (at >= HEAD_DIM / 2 || head > GROUP) continue;
            float p = (a[i] - mean) * scale * (w ? w[at] : 1), r = (b[i] - mean) * scale * (w ? w[at + HEAD_DIM / 2] : 1);
            float c = cos[(size_t)row.position * (HEAD_DIM / 2) + at], s = sin[(size_t)row.position * (HEAD_DIM / 2) + at];
            a[i] = p * c - r * s;
            b[i] = r * c + p * s;
        }
        if (head < GROUP)
        {
            float factor = 1.44269504f * rsqrtf((float)HEAD_DIM);
#pragma unroll
            for (int i = 0; i < OWN; i++)
            {
                int at = lane + 32 * i;
                if (at >= HEAD_DIM / 2) continue;
                narrow(a[i] * factor, q[head * QUERY_PITCH + at]);
                narrow(b[i] * factor, q[head * QUERY_PITCH + at + HEAD_DIM / 2]);
            }
            continue;
        }
        C* kept = head == GROUP ? k : v;
#if CACHE8
        float largest = 0;
#pragma unroll
        for (int i = 0; i < OWN; i++) largest = fmaxf(largest, fmaxf(fabsf(a[i]), fabsf(b[i])));
#pragma unroll
        for (int mask = 16; mask > 0; mask >>= 1) largest = fmaxf(largest, __shfl_xor_sync(0xffffffff, largest, mask));
        float inverse = largest > 0 ? 127 / largest : 0;
        if (lane == 0) factors_of(kept, row)[row.position] = largest / 127;
#endif
        kept += (size_t)row.position * HEAD_DIM;
#pragma unroll
        for (int i = 0; i < OWN; i++)
        {
            int at = lane + 32 * i;
            if (at >= HEAD_DIM / 2) continue;
#if CACHE8
            kept[at] = (C)__float2int_rn(a[i] * inverse);
            kept[at + HEAD_DIM / 2] = (C)__float2int_rn(b[i] * inverse);
#else
            narrow(a[i], kept[at]);
            narrow(b[i], kept[at + HEAD_DIM / 2]);
#endif
        }
    }
    __syncthreads();
    attend_part(q, k, v, row, begin, end, shares);
    __syncthreads();
    float* of_row = partial + (size_t)(blockIdx.z * queries + kv * GROUP) * gridDim.x * (HEAD_DIM + 2);
    T* to = out + ((size_t)blockIdx.z * queries + kv * GROUP) * HEAD_DIM;
    for (int i = threadIdx.x; i < GROUP * HEAD_DIM; i += 128)
    {
        int g = i / HEAD_DIM, column = i % HEAD_DIM;
        float larger = -INFINITE, total = 0, all = 0;
#pragma unroll
        for (int w = 0; w < 4; w++) larger = fmaxf(larger, shares[(w * GROUP + g) * SHARE + HEAD_DIM]);
#pragma unroll
        for (int w = 0; w < 4; w++)
        {
            const float* share = shares + (w * GROUP + g) * SHARE;
            float factor = power(share[HEAD_DIM] - larger);
            total += share[column] * factor;
            all += share[HEAD_DIM + 1] * factor;
        }
        if (splits == 1) narrow(total / all, to[i]);
        else
        {
            float* own = of_row + (size_t)(g * gridDim.x + split) * (HEAD_DIM + 2);
            own[column] = total;
            if (column == 0)
            {
                own[HEAD_DIM] = larger;
                own[HEAD_DIM + 1] = all;
            }
        }
    }
    if (splits == 1) return;
    __threadfence();
    __syncthreads();
    u32* counter = counters + blockIdx.z * keys + kv;
    if (threadIdx.x == 0) is_last = atomicAdd(counter, 1u) == splits - 1;
    __syncthreads();
    if (!is_last) return;
    __threadfence();
    if (threadIdx.x == 0) *counter = 0;
    for (int i = threadIdx.x; i < GROUP * HEAD_DIM; i += 128)
    {
        int g = i / HEAD_DIM, column = i % HEAD_DIM;
        const float* own = of_row + (size_t)g * gridDim.x * (HEAD_DIM + 2);
        float larger = -INFINITE, total = 0, all = 0;
        for (int n = 0; n < splits; n++) larger = fmaxf(larger, __ldcg(own + n * (HEAD_DIM + 2) + HEAD_DIM));
        for (int n = 0; n < splits; n++)
        {
            float factor = power(__ldcg(own + n * (HEAD_DIM + 2) + HEAD_DIM) - larger);
            total += __ldcg(own + n * (HEAD_DIM + 2) + column) * factor;
            all += __ldcg(own + n * (HEAD_DIM + 2) + HEAD_DIM + 1) * factor;
        }
        narrow(total / all, to[i]);
    }
}
#endif

// The most likely candidate of each row, one block of 512 a row: to the host, and as the row's next token. chosen: [places, rows][token, bits of its logit].
extern "C" __global__ __launch_bounds__(512) void choose(const float* logits, Row* rows, int* chosen, int vocab, int candidates, int places)
{
    __shared__ float largest[16];
    __shared__ int ids[16];
    const float* from = logits + (size_t)blockIdx.x * vocab;
    float best = -INFINITE;
    int id = 0;
    auto see = [&](float x, int i)
    {
        if (x > best || x != x) best = x, id = i;
    };
    int fours = vocab % 4 == 0 ? candidates / 4 : 0;            // rows of others begin in the middle of 16 bytes
#pragma unroll 8
    for (int i = threadIdx.x; i < fours; i += 512)
    {
        Float4 x = ((const Float4*)from)[i];
        see(x.x, 4 * i), see(x.y, 4 * i + 1), see(x.z, 4 * i + 2), see(x.w, 4 * i + 3);
    }
    for (int i = 4 * fours + threadIdx.x; i < candidates; i += 512) see(from[i], i);
    auto take = [&](float other, int other_id)
    {
        if (other > best || other == best && other_id < id || other != other) best = other, id = other_id;
    };
#pragma unroll
    for (int mask = 16; mask > 0; mask >>= 1)
    {
        float other = __shfl_xor_sync(0xffffffff, best, mask);
        int other_id = __shfl_xor_sync(0xffffffff, id, mask);
        take(other, other_id);
    }
    if (threadIdx.x % 32 == 0) largest[threadIdx.x / 32] = best, ids[threadIdx.x / 32] = id;
    __syncthreads();
    if (threadIdx.x != 0) return;
    for (int i = 1; i < 16; i++) take(largest[i], ids[i]);
    Row& row = rows[blockIdx.x];
    int at = 2 * (row.steps % places * gridDim.x + blockIdx.x);
    chosen[at] = id;
    chosen[at + 1] = (int)__float_as_uint(best);
    row.token = id;
    row.position++;
    row.steps++;
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
