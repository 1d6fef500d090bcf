// Cross entropy and z-loss of rows of logits, one block a row; the logits become their gradient in place.
//
// With p = softmax(x), L = logsumexp(x), s the smoothing and c the factor of the z-loss, a valid row's losses are
// L − (1 − s) · x[target] − s · mean(x) and c · L², and d x = (p · (1 + 2 · c · L) − (1 − s) · onehot − s / VOCAB) · scale.
// scales holds two factors, 1 / (valid targets) times the micro-batch's share each: of the gradient, and of the losses that are measured. An ignored row has losses and gradients of 0.

constexpr int V = VOCAB % 8 == 0 ? 8 : 1;
constexpr int THREADS = 512;
constexpr int STEPS = (VOCAB + THREADS * V - 1) / (THREADS * V);
constexpr int KEPT = STEPS <= 16 ? STEPS : 0;    // a row that fits stays in registers between its passes

__device__ __forceinline__ float max_of_block(float x, float* shared)
{
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, distance));
    __syncthreads();
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = x;
    __syncthreads();
    x = shared[threadIdx.x % (THREADS / 32)];
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, distance));
    return x;
}

extern "C" __global__ __launch_bounds__(THREADS, V == 8 && PRODUCT_BF16 ? 2 : 1) void cross_entropy(
    P* logits, const int* targets, float* entropies, float* zs, int ignored, const float* scales, float z_factor, float smoothing)
{
    __shared__ float shared[33];
    int number = gridDim.x - 1 - blockIdx.x;
    P* row = logits + (size_t)number * VOCAB;
    int target = targets[number];
    bool valid = target != ignored;
    float scale = scales[0], measured = scales[1];
    Packed<P, V> kept[KEPT > 0 ? KEPT : 1];
    float top = -__int_as_float(0x7f800000), sum = 0, all = 0;
    float x[V];
#pragma unroll
    for (int step = 0; step < STEPS; step++)
    {
        int column = (step * THREADS + threadIdx.x) * V;
        if (column >= VOCAB) continue;
        if (KEPT > 0)
        {
            kept[KEPT > 0 ? step : 0] = packed<P, V>(row + column);
        }
    }
#pragma unroll
    for (int step = 0; step < STEPS; step++)
    {
        int column = (step * THREADS + threadIdx.x) * V;
        if (column >= VOCAB) continue;
        if (KEPT > 0) load(kept[KEPT > 0 ? step : 0].values, x); else load(row + column, x);
#pragma unroll
        for (int i = 0; i < V; i++)
        {
            top = fmaxf(top, x[i]);
            all += x[i];
        }
    }

    top = max_of_block(top, shared);
#pragma unroll
    for (int step = 0; step < STEPS; step++)
    {
        int column = (step * THREADS + threadIdx.x) * V;
        if (column >= VOCAB) continue;
        if (KEPT > 0) load(kept[KEPT > 0 ? step : 0].values, x); else load(row + column, x);
#pragma unroll
        for (int i = 0; i < V; i++) sum += __expf(x[i] - top);
    }

    sum = sum_of_block(sum, shared);
    if (smoothing > 0) all = sum_of_block(all, shared);
    float log_sum = logf(sum) + top;
    if (threadIdx.x == 0)
    {
        // The target's logit is read before any thread overwrites it: see the barrier below.
        float picked = valid ? widen(row[target]) : 0.0f;
        entropies[number] = valid ? (log_sum - (1.0f - smoothing) * picked - smoothing * all / VOCAB) * measured : 0.0f;
        zs[number] = valid ? log_sum * log_sum * z_factor * measured : 0.0f;
    }

    __syncthreads();
    float share = valid ? scale : 0.0f, factor = share * (1.0f + 2.0f * z_factor * log_sum) / sum;
#pragma unroll
    for (int step = 0; step < STEPS; step++)
    {
        int column = (step * THREADS + threadIdx.x) * V;
        if (column >= VOCAB) continue;
        if (KEPT > 0) load(kept[KEPT > 0 ? step : 0].values, x); else load(row + column, x);
#pragma unroll
        for (int i = 0; i < V; i++)
        {
            x[i] = __expf(x[i] - top) * factor - share * smoothing / VOCAB - (column + i == target ? share * (1.0f - smoothing) : 0.0f);
        }
        store(row + column, x);
    }
}

// sums[0] += Σ entropies, sums[1] += Σ zs, in a fixed order.
extern "C" __global__ __launch_bounds__(1024) void sum_losses(const float* entropies, const float* zs, float* sums, int rows)
{
    __shared__ float shared[33];
    float entropy = 0, z = 0;
    for (int row = threadIdx.x; row < rows; row += 1024)
    {
        entropy += entropies[row];
        z += zs[row];
    }
    entropy = sum_of_block(entropy, shared);
    z = sum_of_block(z, shared);
    if (threadIdx.x == 0)
    {
        sums[0] += entropy;
        sums[1] += z;
    }
}
