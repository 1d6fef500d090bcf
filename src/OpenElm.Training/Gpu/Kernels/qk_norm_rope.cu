// RMSNorm of queries and keys over the head, then RoPE: one warp a token, a few lanes a head.
//
// A lane holds V elements of the head's first half and the V elements of the second half that RoPE pairs them with, so that
// the rotation needs no exchange: (a, b) → (a · cos − b · sin, b · cos + a · sin).
//
// Backward, measured on an H100 (copies 3.0 TB/s), 16384 tokens, 24 heads of 128, 12 of 128, 32 of 64, 16 of 64, a quarter as many keys and values:
//   a warp a token, all its heads in turn, sums for queries and keys in registers at once (127 registers, 16 warps a multiprocessor)   171.7, 94.4, 111.3, 65.0 us
//   values, keys and queries one after the other (this one): 80 registers, 24 warps, no idle lanes                                     155.5, 81.7, 107.1, 57.0 us
//   16 warps; the next head loaded before this one is turned; 32 warps with spilled registers                                          162, 186, 187 us for the first
//   2, 4, 8 times the blocks: slower, by 1, 2, 6 %

constexpr int HALF = HEAD_DIM / 2;
constexpr bool VECTORS = HALF % 8 == 0 && (HALF / 8 & HALF / 8 - 1) == 0 && HALF / 8 <= 32;
constexpr int V = VECTORS ? 8 : HALF;        // a head of odd size is one lane's work
constexpr int LANES = HALF / V;
constexpr int HEADS = 32 / LANES;            // a warp does at once

// qkv: [tokens, queries + 2 · keys, HEAD_DIM]. out: [tokens, queries + keys, HEAD_DIM]. positions: [tokens], rows of cos and sin [positions, HALF].
extern "C" __global__ __launch_bounds__(256) void qk_norm_rope_forward(
    const P* qkv, const R* q_weight, const R* k_weight, const float* cos, const float* sin, const int* positions, P* out, int tokens, int queries, int keys, float eps)
{
    int token = tokens - 1 - (blockIdx.x * 8 + threadIdx.x / 32), lane = threadIdx.x % 32, part = lane % LANES * V;
    if (token < 0) return;
    float c[V], s[V];
    load(cos + (size_t)positions[token] * HALF + part, c);
    load(sin + (size_t)positions[token] * HALF + part, s);
    for (int first = 0; first < queries + keys; first += HEADS)
    {
        int head = first + lane / LANES;
        bool active = head < queries + keys;
        const P* from = qkv + ((size_t)token * (queries + 2 * keys) + head) * HEAD_DIM + part;
        const R* w = (head < queries ? q_weight : k_weight) + part;
        float a[V] = {}, b[V] = {}, squares = 0;
        if (active)
        {
            load(from, a);
            load(from + HALF, b);
        }
#pragma unroll
        for (int i = 0; i < V; i++) squares += a[i] * a[i] + b[i] * b[i];
        float r = rsqrtf(sum_of_lanes<LANES>(squares) / HEAD_DIM + eps);
        if (!active) continue;
        float wa[V], wb[V];
        load(w, wa);
        load(w + HALF, wb);
#pragma unroll
        for (int i = 0; i < V; i++)
        {
            float x = rounded<R>(rounded<P>(a[i] * r) * wa[i]), y = rounded<R>(rounded<P>(b[i] * r) * wb[i]);
            a[i] = x * c[i] - y * s[i];
            b[i] = y * c[i] + x * s[i];
        }
        P* to = out + ((size_t)token * (queries + keys) + head) * HEAD_DIM + part;
        store(to, a);
        store(to + HALF, b);
    }
}

// Part of the backward pass: queries, or keys. Heads of all tokens lie one after the other in from, [tokens, heads, HEAD_DIM], the gradient of the rotated ones; in qkv a token's heads begin
// stride heads apart. total: [HEAD_DIM], this block's part of the weight's gradient.
__device__ __forceinline__ void turn_back(
    const P* from, P* qkv, int heads, int stride, const R* weight, const float* cos, const float* sin, const int* positions, int tokens, float eps, float* total,
    unsigned char* eight, float factor, float& largest)
{
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, part = lane % LANES * V;
    Packed<R, V> first_weights = packed<R, V>(weight + part), second_weights = packed<R, V>(weight + part + HALF);
    float dw[2][V] = {};                                                               // of both halves
    int step = gridDim.x * 8 * HEADS;
    // A warp goes on while one of its lanes has a head, for lanes exchange sums.
    for (int first = tokens * heads - 1 - (blockIdx.x * 8 + warp) * HEADS; first >= 0; first -= step)
    {
        int item = first - lane / LANES;
        bool active = item >= 0;
        int token = active ? item / heads : 0;
        size_t at = ((size_t)token * stride + (item - token * heads)) * HEAD_DIM + part;
        Packed<P, V> as = {}, bs = {};
        float a[V], b[V], da[V] = {}, db[V] = {}, c[V] = {}, s[V] = {}, wa[V], wb[V], squares = 0, product = 0;
        if (active)
        {
            as = packed<P, V>(qkv + at);
            bs = packed<P, V>(qkv + at + HALF);
            load(from + (size_t)item * HEAD_DIM + part, da);
            load(from + (size_t)item * HEAD_DIM + part + HALF, db);
            load(cos + (size_t)positions[token] * HALF + part, c);
            load(sin + (size_t)positions[token] * HALF + part, s);
        }
        load(as.values, a);
        load(bs.values, b);
        load(first_weights.values, wa);
        load(second_weights.values, wb);
#pragma unroll
        for (int i = 0; i < V; i++)
        {
            float x = da[i] * c[i] + db[i] * s[i];                                     // turned back
            db[i] = db[i] * c[i] - da[i] * s[i];
            da[i] = x;
            squares += a[i] * a[i] + b[i] * b[i];
            product += a[i] * da[i] * wa[i] + b[i] * db[i] * wb[i];
        }
        float r = rsqrtf(sum_of_lanes<LANES>(squares) / HEAD_DIM + eps);
        float mean = sum_of_lanes<LANES>(product) * r / HEAD_DIM;
        if (!active) continue;
        keep_packed(as);
        keep_packed(bs);
        keep_packed(first_weights);
        keep_packed(second_weights);
        load(as.values, a);
        load(bs.values, b);
        load(first_weights.values, wa);
        load(second_weights.values, wb);
#pragma unroll
        for (int i = 0; i < V; i++)
        {
            float x = a[i] * r, y = b[i] * r;
            dw[0][i] += da[i] * rounded<P>(x);
            dw[1][i] += db[i] * rounded<P>(y);
            a[i] = r * (da[i] * wa[i] - x * mean);
            b[i] = r * (db[i] * wb[i] - y * mean);
        }
        store(qkv + at, a);
        store(qkv + at + HALF, b);
        if (EIGHT_BIT && eight != nullptr)
        {
            store_eight<true>(eight + at, a, factor, largest);
            store_eight<true>(eight + at + HALF, b, factor, largest);
        }
    }

#pragma unroll
    for (int half = 0; half < 2; half++)
    {
#pragma unroll
        for (int i = 0; i < V; i++)
        {
#pragma unroll
            for (int distance = LANES; distance < 32; distance *= 2) dw[half][i] += __shfl_xor_sync(0xffffffffu, dw[half][i], distance);
        }
    }

    // Warps add one after the other, so that the sum does not depend on which is faster.
    for (int turn = 0; turn < 8; turn++)
    {
        if (turn == warp && lane < LANES)
        {
#pragma unroll
            for (int half = 0; half < 2; half++)
            {
#pragma unroll
                for (int i = 0; i < V; i++)
                {
                    float& sum = total[half * HALF + part + i];
                    sum = dw[half][i] + (turn == 0 ? 0.0f : sum);
                }
            }
        }
        __syncthreads();
    }
}

// dq: [tokens, queries, HEAD_DIM], dk and dv: [tokens, keys, HEAD_DIM]: gradients of rotated queries and keys, and of values.
// qkv: as above; its gradient on return. eight, state: its copy in eight bits, if there is one. partials: [blocks, 2 · HEAD_DIM]: of the query weight, then of the key weight.
// Values, keys and queries one after the other: each has its own weight and sum in registers, and every lane has a head, however many a token has.
extern "C" __global__ __launch_bounds__(256, VECTORS ? 3 : 1) void qk_norm_rope_backward(
    const P* dq, const P* dk, const P* dv, P* qkv, const R* q_weight, const R* k_weight, const float* cos, const float* sin, const int* positions, float* partials,
    int tokens, int queries, int keys, float eps, unsigned char* eight, float* state)
{
    constexpr int N = HEAD_DIM % 8 == 0 ? 8 : 1;
    __shared__ float total[2 * HEAD_DIM];
    bool copies = EIGHT_BIT && eight != nullptr;
    float factor = copies ? state[1] : 0.0f, largest = 0;
    int stride = queries + 2 * keys, width = keys * HEAD_DIM / N;                      // of a token's values, in packs
#pragma unroll 4
    for (int item = tokens * width - 1 - (int)(blockIdx.x * 256 + threadIdx.x); item >= 0; item -= gridDim.x * 256)
    {
        int token = item / width;
        size_t at = ((size_t)token * stride + queries + keys) * HEAD_DIM + (item - token * width) * N;
        float value[N];
        load(dv + (size_t)item * N, value);
        store(qkv + at, value);
        if (copies) store_eight<true>(eight + at, value, factor, largest);
    }

    size_t begin = (size_t)queries * HEAD_DIM;
    turn_back(dk, qkv + begin, keys, stride, k_weight, cos, sin, positions, tokens, eps, total + HEAD_DIM, copies ? eight + begin : nullptr, factor, largest);
    turn_back(dq, qkv, queries, stride, q_weight, cos, sin, positions, tokens, eps, total, eight, factor, largest);
    if (copies) note_largest(largest, state);
    for (int column = threadIdx.x; column < 2 * HEAD_DIM; column += 256) partials[(size_t)blockIdx.x * 2 * HEAD_DIM + column] = total[column];
}
