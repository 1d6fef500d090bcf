// RMSNorm of queries and keys over the head, then RoPE: one warp a token, a few lanes a head.
//
// A lane holds V elements of the head's first half and the V elements of the second half that RoPE pairs them with, so that
// the rotation needs no exchange: (a, b) → (a · cos − b · sin, b · cos + a · sin).

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

// dq: [tokens, queries, HEAD_DIM], dk and dv: [tokens, keys, HEAD_DIM]: gradients of rotated queries and keys, and of values.
// qkv: as above; its gradient on return. eight, state: its copy in eight bits, if there is one. partials: [blocks, 2 · HEAD_DIM]: of the query weight, then of the key weight.
extern "C" __global__ __launch_bounds__(256) void qk_norm_rope_backward(
    const P* dq, const P* dk, const P* dv, P* qkv, const R* q_weight, const R* k_weight, const float* cos, const float* sin, const int* positions, float* partials,
    int tokens, int queries, int keys, float eps, unsigned char* eight, float* state)
{
    __shared__ float total[2 * HEAD_DIM];
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32, part = lane % LANES * V;
    bool copies = EIGHT_BIT && eight != nullptr;
    float factor = copies ? state[1] : 0.0f, largest = 0;
    float dw[2][2][V] = {};                                                            // of queries and keys, in both halves
    for (int token = tokens - 1 - (blockIdx.x * 8 + warp); token >= 0; token -= gridDim.x * 8)
    {
        float c[V], s[V];
        load(cos + (size_t)positions[token] * HALF + part, c);
        load(sin + (size_t)positions[token] * HALF + part, s);
        for (int first = 0; first < queries + 2 * keys; first += HEADS)
        {
            int head = first + lane / LANES;
            bool active = head < queries + keys, isKey = head >= queries;
            size_t place = ((size_t)token * (queries + 2 * keys) + head) * HEAD_DIM + part;
            P* at = qkv + place;
            if (head >= queries + keys && head < queries + 2 * keys)
            {
                const P* from = dv + ((size_t)token * keys + head - queries - keys) * HEAD_DIM + part;
                float value[V];
                load(from, value);
                store(at, value);
                if (copies) store_eight<true>(eight + place, value, factor, largest);
                load(from + HALF, value);
                store(at + HALF, value);
                if (copies) store_eight<true>(eight + place + HALF, value, factor, largest);
            }

            const P* gradient = (isKey ? dk + ((size_t)token * keys + head - queries) * HEAD_DIM : dq + ((size_t)token * queries + head) * HEAD_DIM) + part;
            const R* w = (isKey ? k_weight : q_weight) + part;
            float a[V] = {}, b[V] = {}, da[V] = {}, db[V] = {}, wa[V] = {}, wb[V] = {}, squares = 0, product = 0;
            if (active)
            {
                load(at, a);
                load(at + HALF, b);
                load(gradient, da);
                load(gradient + HALF, db);
                load(w, wa);
                load(w + HALF, wb);
            }
#pragma unroll
            for (int i = 0; i < V; i++)
            {
                float x = da[i] * c[i] + db[i] * s[i];                                 // turned back
                db[i] = db[i] * c[i] - da[i] * s[i];
                da[i] = x;
                squares += a[i] * a[i] + b[i] * b[i];
                product += a[i] * da[i] * wa[i] + b[i] * db[i] * wb[i];
            }
            float r = rsqrtf(sum_of_lanes<LANES>(squares) / HEAD_DIM + eps);
            float mean = sum_of_lanes<LANES>(product) * r / HEAD_DIM;
            if (!active) continue;
#pragma unroll
            for (int i = 0; i < V; i++)
            {
                float x = a[i] * r, y = b[i] * r, gx = da[i] * rounded<P>(x), gy = db[i] * rounded<P>(y);
                dw[0][0][i] += isKey ? 0.0f : gx;
                dw[0][1][i] += isKey ? 0.0f : gy;
                dw[1][0][i] += isKey ? gx : 0.0f;
                dw[1][1][i] += isKey ? gy : 0.0f;
                a[i] = r * (da[i] * wa[i] - x * mean);
                b[i] = r * (db[i] * wb[i] - y * mean);
            }
            store(at, a);
            store(at + HALF, b);
            if (copies)
            {
                store_eight<true>(eight + place, a, factor, largest);
                store_eight<true>(eight + place + HALF, b, factor, largest);
            }
        }
    }

    if (copies) note_largest(largest, state);
#pragma unroll
    for (int kind = 0; kind < 2; kind++)
    {
#pragma unroll
        for (int half = 0; half < 2; half++)
        {
#pragma unroll
            for (int i = 0; i < V; i++)
            {
#pragma unroll
                for (int distance = LANES; distance < 32; distance *= 2) dw[kind][half][i] += __shfl_xor_sync(0xffffffffu, dw[kind][half][i], distance);
            }
        }
    }

    for (int turn = 0; turn < 8; turn++)
    {
        if (turn == warp && lane < LANES)
        {
#pragma unroll
            for (int kind = 0; kind < 2; kind++)
            {
#pragma unroll
                for (int half = 0; half < 2; half++)
                {
#pragma unroll
                    for (int i = 0; i < V; i++)
                    {
                        float& sum = total[kind * HEAD_DIM + half * HALF + part + i];
                        sum = dw[kind][half][i] + (turn == 0 ? 0.0f : sum);
                    }
                }
            }
        }
        __syncthreads();
    }

    for (int column = threadIdx.x; column < 2 * HEAD_DIM; column += 256) partials[(size_t)blockIdx.x * 2 * HEAD_DIM + column] = total[column];
}
