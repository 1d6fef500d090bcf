// The steps between the matrix products of a pass over many rows (prompts, batches): [rows, width], row after row.

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
extern "C" __global__ __launch_bounds__(256) void rms_norm(const float* x, const float* w, T* y, const int* picked, int width, float eps)
{
    constexpr int KEPT = 4;                                     // of a thread's fours; wider rows are read again
    __shared__ float partial[8];
    const float* from = x + (size_t)(picked ? picked[blockIdx.x] : blockIdx.x) * width;
    T* to = y + (size_t)blockIdx.x * width;
    int fours = width % 4 == 0 ? width / 4 : 0;
    Float4 kept[KEPT];
    float squares = 0;
#pragma unroll
    for (int i = 0; i < KEPT; i++)
    {
        int at = threadIdx.x + 256 * i;
        kept[i] = at < fours ? ((const Float4*)from)[at] : Float4{ 0, 0, 0, 0 };
        squares += kept[i].x * kept[i].x + kept[i].y * kept[i].y + kept[i].z * kept[i].z + kept[i].w * kept[i].w;
    }
    int rest = 4 * (fours < 256 * KEPT ? fours : 256 * KEPT);
    for (int i = rest + threadIdx.x; i < width; i += 256) squares += from[i] * from[i];
    squares = sum_of_warp(squares);
    if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = squares;
    __syncthreads();
    squares = 0;
#pragma unroll
    for (int i = 0; i < 8; i++) squares += partial[i];
    float scale = rsqrtf(squares / width + eps);
#pragma unroll
    for (int i = 0; i < KEPT; i++)
    {
        int at = threadIdx.x + 256 * i;
        if (at >= fours) break;
        Float4 f = ((const Float4*)w)[at];
        store4(to + 4 * at, Float4{ kept[i].x * scale * f.x, kept[i].y * scale * f.y, kept[i].z * scale * f.z, kept[i].w * scale * f.w });
    }
    for (int i = rest + threadIdx.x; i < width; i += 256) narrow(from[i] * scale * w[i], to[i]);
}

// QK norm, RoPE, and the cache: one warp a head of a row; queries change in place. qkv: [rows, (queries + 2 · keys), HEAD_DIM].
// cos, sin: [positions, HEAD_DIM / 2]. first: the layer's first KV head among those of all layers. Norms are null where the model has none.
extern "C" __global__ void rotate_and_store(
    T* qkv, const Row* rows, const float* q_norm, const float* k_norm, const float* cos, const float* sin, int first, int queries, int keys, float eps)
{
    constexpr int HALF = HEAD_DIM / 2;
    int lane = threadIdx.x % 32, head = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
    if (head >= queries + 2 * keys) return;
    Row row = rows[blockIdx.y];
    T* x = qkv + ((size_t)blockIdx.y * (queries + 2 * keys) + head) * HEAD_DIM;
    int kv = head < queries ? 0 : head < queries + keys ? head - queries : head - queries - keys;
    T* cached = row.cache + ((size_t)2 * (first + kv) * row.capacity + row.position) * HEAD_DIM;
    if (head >= queries + keys)
    {
        cached += (size_t)row.capacity * HEAD_DIM;
        for (int i = lane; i < HEAD_DIM; i += 32) cached[i] = x[i];
        return;
    }
    const float* w = head < queries ? q_norm : k_norm;
    float scale = 1;
    if (w)
    {
        float squares = 0;
        for (int i = lane; i < HEAD_DIM; i += 32) squares += widen(x[i]) * widen(x[i]);
        scale = 1 / sqrtf(sum_of_warp(squares) / HEAD_DIM + eps);
    }
    for (int i = lane; i < HALF; i += 32)
    {
        float a = widen(x[i]) * scale * (w ? w[i] : 1), b = widen(x[i + HALF]) * scale * (w ? w[i + HALF] : 1);
        float c = cos[(size_t)row.position * HALF + i], s = sin[(size_t)row.position * HALF + i];
        float p = a * c - b * s, q = b * c + a * s;
        T* to = head < queries ? x : cached;
        narrow(p, to[i]);
        narrow(q, to[i + HALF]);
    }
}

// softmax(q · keys / sqrt(HEAD_DIM)) · values over the positions up to the row's own: one warp a query head of a row, every lane a position,
// then every lane some columns. The simple one: it reads keys and values from the caches of the chip again for every row.
extern "C" __global__ void attend(const T* qkv, const Row* rows, T* out, int first, int queries, int keys)
{
    constexpr int OWN = (HEAD_DIM + 31) / 32;
    DYNAMIC_SHARED(float, shared);
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, head = blockIdx.x * (blockDim.x / 32) + warp;
    if (head >= queries) return;
    Row row = rows[blockIdx.y];
    float* q = shared + warp * HEAD_DIM;
    const T* from = qkv + ((size_t)blockIdx.y * (queries + 2 * keys) + head) * HEAD_DIM;
    for (int i = lane; i < HEAD_DIM; i += 32) q[i] = widen(from[i]) / sqrtf((float)HEAD_DIM);
    __syncwarp();
    const T* k = row.cache + (size_t)2 * (first + head / (queries / keys)) * row.capacity * HEAD_DIM;
    const T* v = k + (size_t)row.capacity * HEAD_DIM;
    float most = -INFINITE, sum = 0, y[OWN] = {};
    for (int begin = 0; begin <= row.position; begin += 32)
    {
        int position = begin + lane;
        float score = -INFINITE;
        if (position <= row.position)
        {
            const T* key = k + (size_t)position * HEAD_DIM;
            score = 0;
            for (int i = 0; i < HEAD_DIM; i++) score += q[i] * widen(key[i]);
        }
        float larger = fmaxf(most, score);
#pragma unroll
        for (int mask = 16; mask > 0; mask >>= 1) larger = fmaxf(larger, __shfl_xor_sync(0xffffffff, larger, mask));
        float weight = position <= row.position ? expf(score - larger) : 0, before = expf(most - larger);
        most = larger;
        sum = sum * before + sum_of_warp(weight);
#pragma unroll
        for (int i = 0; i < OWN; i++) y[i] *= before;
        int count = row.position + 1 - begin < 32 ? row.position + 1 - begin : 32;
        for (int other = 0; other < count; other++)
        {
            float w = __shfl_sync(0xffffffff, weight, other);
            const T* value = v + (size_t)(begin + other) * HEAD_DIM;
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

#if BF16 && HEAD_DIM % 16 == 0 && HEAD_DIM <= 128
// The same attention by the matrix units, for neighbouring rows of a sequence.
//
// A block has one KV head and a tile of 64 queries: 64 / group positions of the sequence, every query head of the group. A warp has 16 of them,
// and half of the past.
// Keys and values come 64 positions at a time; scores never leave the registers, where the layout of a product's result is that of the next one's
// left side.

constexpr int KEYS = 64, PITCH = HEAD_DIM + 8;                   // a row of shared memory is 16 bytes longer: no bank twice

#ifndef EMULATED
// d += a · b: [16, 16] · [16, 8]
__device__ __forceinline__ void multiply(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1)
{
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Four [8, 8] matrices; lanes 0 to 7 name the first one's rows, and so on.
__device__ __forceinline__ void load_matrices(const u16* row, u32 (&r)[4])
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
        : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"((u32)__cvta_generic_to_shared(row)));
}

__device__ __forceinline__ void load_transposed(const u16* row, u32 (&r)[4])
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
        : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"((u32)__cvta_generic_to_shared(row)));
}

// 16 bytes, or zeros.
__device__ __forceinline__ void copy_early(void* to, const void* from, bool there)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" :: "r"((u32)__cvta_generic_to_shared(to)), "l"(from), "r"(there ? 16 : 0) : "memory");
}

__device__ __forceinline__ void end_group() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Half of a block of 256.
__device__ __forceinline__ void meet_half(int half) { asm volatile("bar.sync %0, 128;" :: "r"(1 + half) : "memory"); }

// All groups but the latest are there.
__device__ __forceinline__ void await_groups_but_one() { asm volatile("cp.async.wait_group 1;" ::: "memory"); }
#endif

// tiles: [tiles][first row, rows]; group: query heads of a KV head, a divisor of 64.
extern "C" __global__ __launch_bounds__(256) void attend_tiles(const T* qkv, const Row* rows, const int* tiles, T* out, int first, int queries, int keys)
{
    DYNAMIC_SHARED(u16, stages);                                // of each half, two of [keys, values][KEYS][PITCH]
    constexpr int STEPS = HEAD_DIM / 16, COLUMNS = HEAD_DIM / 8;
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4, half = threadIdx.x / 128, kv = blockIdx.y, group = queries / keys;
    u16* both = stages + half * 4 * KEYS * PITCH;
    int tile = gridDim.x - 1 - blockIdx.x;                      // the last ones, which have most to do, first
    int begin = tiles[2 * tile], count = tiles[2 * tile + 1], width = (queries + 2 * keys) * HEAD_DIM;
    Row row = rows[begin];
    const T* k = row.cache + (size_t)2 * (first + kv) * row.capacity * HEAD_DIM;
    const T* v = k + (size_t)row.capacity * HEAD_DIM;

    // The two queries of this lane: number in the tile, row, position.
    int number[2] = { warp * 16 + lane / 4, warp * 16 + lane / 4 + 8 }, own[2], position[2];
    const T* q[2];
#pragma unroll
    for (int i = 0; i < 2; i++)
    {
        own[i] = number[i] / group;
        position[i] = own[i] < count ? row.position + own[i] : -1;
        q[i] = qkv + (size_t)(begin + (own[i] < count ? own[i] : 0)) * width + (kv * group + number[i] % group) * HEAD_DIM;
    }
    u32 a[STEPS][4];
    float factor = 1.44269504f / sqrtf((float)HEAD_DIM);        // powers of two instead of e
#pragma unroll
    for (int step = 0; step < STEPS; step++)
#pragma unroll
        for (int i = 0; i < 4; i++)
        {
            const T* at = q[i % 2] + step * 16 + lane % 4 * 2 + i / 2 * 8;
            a[step][i] = pair(widen(at[0]) * factor, widen(at[1]) * factor);
        }
    float y[COLUMNS][4] = {}, most[2] = { -INFINITE, -INFINITE }, sum[2] = {};
    int last = row.position + count - 1;
    auto ask = [&](int at)
    {
        u16* to = both + at / (2 * KEYS) % 2 * 2 * KEYS * PITCH;
        if (at <= last)
#pragma unroll
            for (int i = threadIdx.x % 128; i < 2 * KEYS * COLUMNS; i += 128)
            {
                int which = i / (KEYS * COLUMNS), r = i / COLUMNS % KEYS, c = i % COLUMNS * 8;
                bool there = at + r <= last;
                copy_early(to + (which * KEYS + r) * PITCH + c, (which ? v : k) + (size_t)(there ? at + r : 0) * HEAD_DIM + c, there);
            }
        end_group();
    };
    // The halves of the block take turns with tiles of keys.
    ask(half * KEYS);
    for (int at = half * KEYS; at <= last; at += 2 * KEYS)
    {
        ask(at + 2 * KEYS);
        await_groups_but_one();
        meet_half(half);
        const u16 *key_tile = both + at / (2 * KEYS) % 2 * 2 * KEYS * PITCH, *value_tile = key_tile + KEYS * PITCH;
        float s[KEYS / 8][4] = {};
        // Products one after another are of different keys: none waits for the one before.
#pragma unroll
        for (int step = 0; step < STEPS; step += 2)
        {
            u32 b[KEYS / 8][4];
#pragma unroll
            for (int n = 0; n < KEYS / 8; n++) load_matrices(key_tile + (n * 8 + lane % 8) * PITCH + step * 16 + lane / 8 * 8, b[n]);
#pragma unroll
            for (int n = 0; n < KEYS / 8; n++) multiply(s[n], a[step], b[n][0], b[n][1]);
            if (step + 1 < STEPS)
#pragma unroll
                for (int n = 0; n < KEYS / 8; n++) multiply(s[n], a[step + 1 < STEPS ? step + 1 : 0], b[n][2], b[n][3]);
        }
        float larger[2] = { most[0], most[1] };
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++)
            {
                if (at + KEYS > row.position && at + n * 8 + lane % 4 * 2 + i % 2 > position[i / 2]) s[n][i] = -INFINITE;
                larger[i / 2] = fmaxf(larger[i / 2], s[n][i]);
            }
#pragma unroll
        for (int i = 0; i < 2; i++)
        {
            larger[i] = fmaxf(larger[i], __shfl_xor_sync(0xffffffff, larger[i], 1));
            larger[i] = fmaxf(larger[i], __shfl_xor_sync(0xffffffff, larger[i], 2));
            float before = power(most[i] - larger[i]);
            most[i] = larger[i];
            sum[i] *= before;
#pragma unroll
            for (int n = 0; n < COLUMNS; n++)
            {
                y[n][2 * i] *= before;
                y[n][2 * i + 1] *= before;
            }
        }
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++)
            {
                s[n][i] = power(s[n][i] - most[i / 2]);
                sum[i / 2] += s[n][i];
            }
#pragma unroll
        for (int step = 0; step < KEYS / 16; step++)
        {
            u32 p[4] = { pair(s[2 * step][0], s[2 * step][1]), pair(s[2 * step][2], s[2 * step][3]), pair(s[2 * step + 1][0], s[2 * step + 1][1]), pair(s[2 * step + 1][2], s[2 * step + 1][3]) };
#pragma unroll
            for (int n = 0; n < COLUMNS; n += 2)
            {
                u32 b[4];
                load_transposed(value_tile + (step * 16 + lane % 16) * PITCH + n * 8 + lane / 16 * 8, b);
                multiply(y[n], p, b[0], b[1]);
                multiply(y[n + 1], p, b[2], b[3]);
            }
        }
        meet_half(half);
    }
#pragma unroll
    for (int i = 0; i < 2; i++)
    {
        sum[i] += __shfl_xor_sync(0xffffffff, sum[i], 1);
        sum[i] += __shfl_xor_sync(0xffffffff, sum[i], 2);
    }
    // The second half hands over what it has, thread by thread.
    __syncthreads();
    float* letter = (float*)stages + threadIdx.x % 128;
    if (half)
    {
#pragma unroll
        for (int n = 0; n < COLUMNS; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) letter[128 * (4 * n + i)] = y[n][i];
#pragma unroll
        for (int i = 0; i < 2; i++)
        {
            letter[128 * (4 * COLUMNS + i)] = most[i];
            letter[128 * (4 * COLUMNS + 2 + i)] = sum[i];
        }
    }
    __syncthreads();
    if (half) return;
#pragma unroll
    for (int i = 0; i < 2; i++)
    {
        float other = letter[128 * (4 * COLUMNS + i)], larger = fmaxf(most[i], other), before = power(most[i] - larger), factor = power(other - larger);
        sum[i] = sum[i] * before + letter[128 * (4 * COLUMNS + 2 + i)] * factor;
#pragma unroll
        for (int n = 0; n < COLUMNS; n++)
#pragma unroll
            for (int j = 2 * i; j < 2 * i + 2; j++) y[n][j] = y[n][j] * before + letter[128 * (4 * n + j)] * factor;
    }
#pragma unroll
    for (int i = 0; i < 2; i++)
    {
        if (own[i] >= count) continue;
        T* to = out + ((size_t)(begin + own[i]) * queries + kv * group + number[i] % group) * HEAD_DIM + lane % 4 * 2;
#pragma unroll
        for (int n = 0; n < COLUMNS; n++) *(u32*)(to + n * 8) = pair(y[n][2 * i] / sum[i], y[n][2 * i + 1] / sum[i]);
    }
}
#endif

#if GROUP > 0
// Attention of rows that are alone in their sequences, with the step before it: grid (splits, KV heads, rows), 128 threads. A block has SPLIT
// positions of a KV head's past; QK norm and RoPE of its queries are its own, and the block with the row's position has the new key and value.
// The last block of a row's KV head joins the splits. partial: [rows, queries, splits, HEAD_DIM + 2], counters: [rows, KV heads], zero before and after.
constexpr int SPLIT = 256, LANES = HEAD_DIM / 8, SIDE_BY_SIDE = 32 / LANES, OWN = (HEAD_DIM / 2 + 31) / 32, AT_ONCE = 4, SHARE = HEAD_DIM + 4;

struct __align__(16) Eight { T x[8]; };

extern "C" __global__ __launch_bounds__(128) void attend_alone(
    const T* qkv, const Row* rows, const float* q_norm, const float* k_norm, const float* cos, const float* sin, T* out, float* partial, u32* counters,
    int first, int queries, int keys, float eps)
{
    DYNAMIC_SHARED(float, shared);                              // queries [GROUP][HEAD_DIM], new key and value, then [4][GROUP][SHARE]
    float *q = shared, *shares = q + (GROUP + 2) * HEAD_DIM;
    T *new_key = (T*)(q + GROUP * HEAD_DIM), *new_value = new_key + HEAD_DIM;
    __shared__ int is_last;
    Row row = rows[blockIdx.z];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, kv = blockIdx.y, split = blockIdx.x, begin = split * SPLIT;
    if (begin > row.position) return;
    int end = begin + SPLIT < row.position ? begin + SPLIT : row.position, splits = row.position / SPLIT + 1;
    bool newest = row.position < begin + SPLIT;
    T* k = row.cache + (size_t)2 * (first + kv) * row.capacity * HEAD_DIM;
    T* v = k + (size_t)row.capacity * HEAD_DIM;
    const T* from = qkv + (size_t)blockIdx.z * (queries + 2 * keys) * HEAD_DIM;
    for (int head = warp; head < (newest ? GROUP + 2 : GROUP); head += 4)
    {
        const T* x = from + (size_t)(head < GROUP ? kv * GROUP + head : head == GROUP ? queries + kv : queries + keys + kv) * HEAD_DIM;
        if (head == GROUP + 1)
        {
            for (int i = lane; i < HEAD_DIM; i += 32) v[(size_t)row.position * HEAD_DIM + i] = new_value[i] = x[i];
            continue;
        }
        const float* w = head < GROUP ? q_norm : k_norm;
        float a[OWN], b[OWN], squares = 0;
#pragma unroll
        for (int i = 0; i < OWN; i++)
        {
            int at = lane + 32 * i;
            a[i] = at < HEAD_DIM / 2 ? widen(x[at]) : 0;
            b[i] = at < HEAD_DIM / 2 ? widen(x[at + HEAD_DIM / 2]) : 0;
            squares += a[i] * a[i] + b[i] * b[i];
        }
        float scale = w ? rsqrtf(sum_of_warp(squares) / HEAD_DIM + eps) : 1;
#pragma unroll
        for (int i = 0; i < OWN; i++)
        {
            int at = lane + 32 * i;
            if (at >= HEAD_DIM / 2) continue;
            float p = a[i] * scale * (w ? w[at] : 1), r = b[i] * scale * (w ? w[at + HEAD_DIM / 2] : 1);
            float c = cos[(size_t)row.position * (HEAD_DIM / 2) + at], s = sin[(size_t)row.position * (HEAD_DIM / 2) + at];
            float one = p * c - r * s, two = r * c + p * s, factor = 1.44269504f * rsqrtf((float)HEAD_DIM);
            if (head < GROUP)
            {
                q[head * HEAD_DIM + at] = one * factor;
                q[head * HEAD_DIM + at + HEAD_DIM / 2] = two * factor;
                continue;
            }
            narrow(one, new_key[at]);
            narrow(two, new_key[at + HEAD_DIM / 2]);
            k[(size_t)row.position * HEAD_DIM + at] = new_key[at];
            k[(size_t)row.position * HEAD_DIM + at + HEAD_DIM / 2] = new_key[at + HEAD_DIM / 2];
        }
    }
    __syncthreads();

    int part = lane % LANES * 8, side = lane / LANES;
    float y[GROUP][8] = {}, most[GROUP], sum[GROUP] = {};
#pragma unroll
    for (int g = 0; g < GROUP; g++) most[g] = -INFINITE;
    constexpr int STRIDE = 4 * SIDE_BY_SIDE;
    for (int base = begin + warp * SIDE_BY_SIDE + side; base - side <= end; base += AT_ONCE * STRIDE)
    {
        Eight keys_of[AT_ONCE], values_of[AT_ONCE];
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++)
        {
            int p = base + i * STRIDE;
            bool old = p < end, fresh = newest && p == row.position;
            const T *key = fresh ? new_key : k + (size_t)(old ? p : 0) * HEAD_DIM, *value = fresh ? new_value : v + (size_t)(old ? p : 0) * HEAD_DIM;
            keys_of[i] = *(const Eight*)(key + part);
            values_of[i] = *(const Eight*)(value + part);
        }
        float scores[AT_ONCE][GROUP];
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++)
        {
            int p = base + i * STRIDE;
            bool there = p < end || newest && p == row.position;
#pragma unroll
            for (int g = 0; g < GROUP; g++)
            {
                float score = 0;
#pragma unroll
                for (int j = 0; j < 8; j++) score += q[g * HEAD_DIM + part + j] * widen(keys_of[i].x[j]);
#pragma unroll
                for (int mask = LANES / 2; mask > 0; mask >>= 1) score += __shfl_xor_sync(0xffffffff, score, mask);
                scores[i][g] = there ? score : -INFINITE;
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
#pragma unroll
                for (int j = 0; j < 8; j++) y[g][j] += weight * widen(values_of[i].x[j]);
            }
        }
    }
    // Positions side by side, then warps.
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
    for (int i = threadIdx.x; i < candidates; i += 512)
        if (from[i] > best || from[i] != from[i]) best = from[i], id = i;
    auto take = [&](float other, int other_id)
    {
        if (other > best || other == best && other_id < id) best = other, id = other_id;
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
