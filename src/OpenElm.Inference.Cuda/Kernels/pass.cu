// The steps between the matrix products of a pass over many rows (prompts, batches): [rows, width], row after row.

// x[row] = E[token]
extern "C" __global__ void embed(const Row* rows, const T* embedding, float* x, int width)
{
    const T* from = embedding + (size_t)rows[blockIdx.x].token * width;
    for (int i = threadIdx.x; i < width; i += blockDim.x) x[(size_t)blockIdx.x * width + i] = widen(from[i]);
}

// y = x / sqrt(mean(x²) + eps) · w, one block of 256 a row; picked: the rows wanted, or null for all.
extern "C" __global__ void rms_norm(const float* x, const float* w, T* y, const int* picked, int width, float eps)
{
    __shared__ float partial[8];
    const float* from = x + (size_t)(picked ? picked[blockIdx.x] : blockIdx.x) * width;
    float squares = 0;
    for (int i = threadIdx.x; i < width; i += blockDim.x) squares += from[i] * from[i];
    squares = sum_of_warp(squares);
    if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = squares;
    __syncthreads();
    squares = 0;
    for (int i = 0; i < 8; i++) squares += partial[i];
    float scale = 1 / sqrtf(squares / width + eps);
    for (int i = threadIdx.x; i < width; i += blockDim.x) narrow(from[i] * scale * w[i], y[(size_t)blockIdx.x * width + i]);
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
// A block has one KV head and a tile of 64 queries: 64 / group positions of the sequence, every query head of the group. A warp has 16 of them.
// Keys and values come 64 positions at a time; scores never leave the registers, where the layout of a product's result is that of the next one's
// left side.

constexpr int KEYS = 64, PITCH = HEAD_DIM + 8;                   // a row of shared memory is 16 bytes longer: no bank twice

#ifndef EMULATED
// d += a · b: [16, 16] · [16, 8]
__device__ __forceinline__ void multiply(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Two [8, 8] matrices, transposed; lanes 0 to 15 name their rows.
__device__ __forceinline__ void load_transposed(const u16* row, u32& b0, u32& b1)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];" : "=r"(b0), "=r"(b1) : "r"((u32)__cvta_generic_to_shared(row)));
}
#endif

__device__ __forceinline__ u32 pair(float low, float high)
{
    u16 a, b;
    narrow(low, a);
    narrow(high, b);
    return a | (u32)b << 16;
}

// tiles: [tiles][first row, rows]; group: query heads of a KV head, a divisor of 64.
extern "C" __global__ __launch_bounds__(128) void attend_tiles(const T* qkv, const Row* rows, const int* tiles, T* out, int first, int queries, int keys)
{
    DYNAMIC_SHARED(u16, both);                                  // [keys, values][KEYS][PITCH]
    constexpr int STEPS = HEAD_DIM / 16, COLUMNS = HEAD_DIM / 8;
    u16 *key_tile = both, *value_tile = both + KEYS * PITCH;
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, kv = blockIdx.y, group = queries / keys;
    int begin = tiles[2 * blockIdx.x], count = tiles[2 * blockIdx.x + 1], width = (queries + 2 * keys) * HEAD_DIM;
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
    for (int at = 0; at <= last; at += KEYS)
    {
        __syncthreads();
        for (int i = threadIdx.x; i < 2 * KEYS * COLUMNS; i += 128)
        {
            int which = i / (KEYS * COLUMNS), r = i / COLUMNS % KEYS, c = i % COLUMNS * 8;
            Word4 word = { 0, 0, 0, 0 };
            if (at + r <= last) word = *(const Word4*)((which ? v : k) + (size_t)(at + r) * HEAD_DIM + c);
            *(Word4*)((which ? value_tile : key_tile) + r * PITCH + c) = word;
        }
        __syncthreads();
        float s[KEYS / 8][4] = {};
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
            for (int step = 0; step < STEPS; step++)
            {
                const u16* b = key_tile + (n * 8 + lane / 4) * PITCH + step * 16 + lane % 4 * 2;
                multiply(s[n], a[step], *(const u32*)b, *(const u32*)(b + 8));
            }
        float larger[2] = { most[0], most[1] };
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++)
            {
                if (at + n * 8 + lane % 4 * 2 + i % 2 > position[i / 2]) s[n][i] = -INFINITE;
                larger[i / 2] = fmaxf(larger[i / 2], s[n][i]);
            }
#pragma unroll
        for (int i = 0; i < 2; i++)
        {
            larger[i] = fmaxf(larger[i], __shfl_xor_sync(0xffffffff, larger[i], 1));
            larger[i] = fmaxf(larger[i], __shfl_xor_sync(0xffffffff, larger[i], 2));
            float before = exp2f(most[i] - larger[i]);
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
                s[n][i] = s[n][i] == -INFINITE ? 0 : exp2f(s[n][i] - most[i / 2]);
                sum[i / 2] += s[n][i];
            }
#pragma unroll
        for (int step = 0; step < KEYS / 16; step++)
        {
            u32 p[4] = { pair(s[2 * step][0], s[2 * step][1]), pair(s[2 * step][2], s[2 * step][3]), pair(s[2 * step + 1][0], s[2 * step + 1][1]), pair(s[2 * step + 1][2], s[2 * step + 1][3]) };
#pragma unroll
            for (int n = 0; n < COLUMNS; n++)
            {
                u32 b0, b1;
                load_transposed(value_tile + (step * 16 + lane % 16) * PITCH + n * 8, b0, b1);
                multiply(y[n], p, b0, b1);
            }
        }
    }
#pragma unroll
    for (int i = 0; i < 2; i++)
    {
        sum[i] += __shfl_xor_sync(0xffffffff, sum[i], 1);
        sum[i] += __shfl_xor_sync(0xffffffff, sum[i], 2);
        if (own[i] >= count) continue;
        T* to = out + ((size_t)(begin + own[i]) * queries + kv * group + number[i] % group) * HEAD_DIM + lane % 4 * 2;
#pragma unroll
        for (int n = 0; n < COLUMNS; n++) *(u32*)(to + n * 8) = pair(y[n][2 * i] / sum[i], y[n][2 * i + 1] / sum[i]);
    }
}
#endif
