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
    float* qkv, const Row* rows, const float* q_norm, const float* k_norm, const float* cos, const float* sin, int first, int queries, int keys, float eps)
{
    constexpr int HALF = HEAD_DIM / 2;
    int lane = threadIdx.x % 32, head = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
    if (head >= queries + 2 * keys) return;
    Row row = rows[blockIdx.y];
    float* x = qkv + ((size_t)blockIdx.y * (queries + 2 * keys) + head) * HEAD_DIM;
    int kv = head < queries ? 0 : head < queries + keys ? head - queries : head - queries - keys;
    T* cached = row.cache + ((size_t)2 * (first + kv) * row.capacity + row.position) * HEAD_DIM;
    if (head >= queries + keys)
    {
        cached += (size_t)row.capacity * HEAD_DIM;
        for (int i = lane; i < HEAD_DIM; i += 32) narrow(x[i], cached[i]);
        return;
    }
    const float* w = head < queries ? q_norm : k_norm;
    float scale = 1;
    if (w)
    {
        float squares = 0;
        for (int i = lane; i < HEAD_DIM; i += 32) squares += x[i] * x[i];
        scale = 1 / sqrtf(sum_of_warp(squares) / HEAD_DIM + eps);
    }
    for (int i = lane; i < HALF; i += 32)
    {
        float a = x[i] * scale * (w ? w[i] : 1), b = x[i + HALF] * scale * (w ? w[i + HALF] : 1);
        float c = cos[(size_t)row.position * HALF + i], s = sin[(size_t)row.position * HALF + i];
        float p = a * c - b * s, q = b * c + a * s;
        if (head < queries)
        {
            x[i] = p;
            x[i + HALF] = q;
        }
        else
        {
            narrow(p, cached[i]);
            narrow(q, cached[i + HALF]);
        }
    }
}

// softmax(q · keys / sqrt(HEAD_DIM)) · values over the positions up to the row's own: one warp a query head of a row, every lane a position,
// then every lane some columns. The simple one: it reads keys and values from the caches of the chip again for every row.
extern "C" __global__ void attend(const float* qkv, const Row* rows, T* out, int first, int queries, int keys)
{
    constexpr int OWN = (HEAD_DIM + 31) / 32;
    DYNAMIC_SHARED(float, shared);
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32, head = blockIdx.x * (blockDim.x / 32) + warp;
    if (head >= queries) return;
    Row row = rows[blockIdx.y];
    float* q = shared + warp * HEAD_DIM;
    const float* from = qkv + ((size_t)blockIdx.y * (queries + 2 * keys) + head) * HEAD_DIM;
    for (int i = lane; i < HEAD_DIM; i += 32) q[i] = from[i] / sqrtf((float)HEAD_DIM);
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

// y = SiLU(gate) ⊙ up, the halves of a row of [rows, 2 · width]; without a gate SiLU of [rows, width].
extern "C" __global__ void activate(const float* gate_up, T* y, int width, int gated)
{
    const float* from = gate_up + (size_t)blockIdx.x * width * (gated ? 2 : 1);
    for (int i = threadIdx.x; i < width; i += blockDim.x)
        narrow(gated ? silu(from[i]) * from[i + width] : silu(from[i]), y[(size_t)blockIdx.x * width + i]);
}
