// Draws the next token as the processor's sampler does (temperature, top-k, top-p, min-p, then one random number), from logits that stay on the
// device: one block of 1,024 for one sequence.
//
// Nothing is sorted. Bounds of top-k and top-p are found byte by byte from the top of a number's bits: four passes count, or add up, what has each
// value of the next byte among the numbers that share the bytes before. Weights add up as integers in units of 2^-44, so every order of additions
// gives the same sum, and prefix sums are exact.
// The token is the processor's for the same logits and the same random number, but where the last bit of a weight decides (its exponential and this
// chip's differ there now and then), and among equal logits at the bound of top-p, which both may drop in any order: here the first ones go.

constexpr int THREADS = 1024, WARPS = THREADS / 32;
constexpr double UNIT = 17592186044416.0;                       // 2^44: 32,000 weights of 1 fit 64 bits

// Order of numbers as order of bits.
__device__ __forceinline__ u32 ordered(float x)
{
    u32 bits = __float_as_uint(x + 0.0f);                       // one zero
    return bits & 0x80000000 ? ~bits : bits | 0x80000000;
}

// Of all threads, the sum of those before this one; total: of all.
__device__ __forceinline__ u64 sum_before(u64 x, u64* of_warps, u64& total)
{
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    u64 sum = x;
#pragma unroll
    for (int step = 1; step < 32; step <<= 1)
    {
        u64 other = __shfl_sync(0xffffffff, sum, lane >= step ? lane - step : lane);
        sum += lane >= step ? other : 0;
    }
    __syncthreads();
    if (lane == 31) of_warps[warp] = sum;
    __syncthreads();
    u64 before = 0;
    total = 0;
#pragma unroll
    for (int i = 0; i < WARPS; i++)
    {
        before += i < warp ? of_warps[i] : 0;
        total += of_warps[i];
    }
    return before + sum - x;
}

// logits: [vocab], of which those below candidates may be drawn. top_k 0, dropped 0, share 0: not wanted. dropped: 1 − top-p.
// weights: [candidates], scratch. uniforms: [places], in [0, 1). state: token and position of the next step, which a step before this one has
// written, or, if is_row, a row of pass.cu, whose place is its number of steps. chosen: [places][token, bits of the largest logit]; token −1: the
// logits have left the range of numbers.
extern "C" __global__ __launch_bounds__(THREADS) void draw(
    const float* logits, int candidates, float temperature, int top_k, float dropped, float share, float* weights, const double* uniforms, int* state, int is_row,
    int* chosen, int place, int places)
{
    __shared__ u64 of_warps[WARPS], bins[256], found_below;
    __shared__ float largest_of[WARPS], largest_raw[WARPS];
    __shared__ int first_of[WARPS], found;
    int each = (candidates + THREADS - 1) / THREADS, first = min(candidates, each * (int)threadIdx.x), end = min(candidates, first + each), lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    if (is_row) place = state[3] % places;
    auto scaled = [&](int i) { return logits[i] / temperature; };

    // The largest, and the first of those; what is no number wins.
    float most = -INFINITE, raw = -INFINITE;
    int likeliest = first;
    for (int i = first; i < end; i++)
    {
        float x = scaled(i), r = logits[i];
        if (i == first || x > most || x != x) most = x, likeliest = i;
        if (r > raw || r != r) raw = r;
    }
    auto take = [&](float x, int id, float r)
    {
        if (x > most || x != x || x == most && id < likeliest) most = x, likeliest = id;
        if (r > raw || r != r) raw = r;
    };
    if (first >= end) likeliest = candidates;
#pragma unroll
    for (int mask = 16; mask > 0; mask >>= 1)
    {
        float x = __shfl_xor_sync(0xffffffff, most, mask), r = __shfl_xor_sync(0xffffffff, raw, mask);
        int id = __shfl_xor_sync(0xffffffff, likeliest, mask);
        take(x, id, r);
    }
    if (lane == 0) largest_of[warp] = most, first_of[warp] = likeliest, largest_raw[warp] = raw;
    __syncthreads();
    for (int i = 0; i < WARPS; i++) take(largest_of[i], first_of[i], largest_raw[i]);
    if (threadIdx.x == 0) chosen[2 * place + 1] = (int)__float_as_uint(raw);
    if (!(most - most == 0))
    {
        if (threadIdx.x == 0) chosen[2 * place] = -1, state[0] = 0;
        return;
    }

    // The smallest of the top_k largest.
    u32 bound = 0;
    if (top_k > 0 && top_k < candidates)
        for (int shift = 24, left = top_k; shift >= 0; shift -= 8)
        {
            if (threadIdx.x < 256) bins[threadIdx.x] = 0;
            __syncthreads();
            for (int i = first; i < end; i++)
            {
                u32 key = ordered(scaled(i));
                if (shift == 24 || key >> (shift + 8) == bound >> (shift + 8)) atomicAdd(bins + (key >> shift & 255), (u64)1);
            }
            __syncthreads();
            // Threads have bins from the largest down.
            u64 own = threadIdx.x < 256 ? bins[255 - threadIdx.x] : 0, total, before = sum_before(own, of_warps, total);
            if (threadIdx.x < 256 && before < left && before + own >= left) found = 255 - threadIdx.x, found_below = before;
            __syncthreads();
            bound |= (u32)found << shift;
            left -= (int)found_below;
            __syncthreads();
        }

    u64 own = 0, sum;
    for (int i = first; i < end; i++)
    {
        float x = scaled(i), w = ordered(x) >= bound ? expf(x - most) : 0;
        weights[i] = w;
        own += (u64)((double)w * UNIT);
    }
    sum_before(own, of_warps, sum);

    // From the least likely up, what together has no more than the dropped share goes; the likeliest stays.
    if (dropped > 0)
    {
        u32 value = 0;
        u64 below = 0;
        bool crosses = true;
        auto beyond = [&](u64 part) { return (float)((double)part / (double)sum) > dropped; };
        for (int shift = 24; shift >= 0 && crosses; shift -= 8)
        {
            if (threadIdx.x < 256) bins[threadIdx.x] = 0;
            if (threadIdx.x == 0) found = -1;
            __syncthreads();
            for (int i = first; i < end; i++)
            {
                u32 bits = __float_as_uint(weights[i]);
                if (i != likeliest && bits > 0 && (shift == 24 || bits >> (shift + 8) == value >> (shift + 8))) atomicAdd(bins + (bits >> shift & 255), (u64)((double)weights[i] * UNIT));
            }
            __syncthreads();
            u64 of_bin = threadIdx.x < 256 ? bins[threadIdx.x] : 0, total, before = sum_before(of_bin, of_warps, total);
            if (threadIdx.x < 256 && !beyond(below + before) && beyond(below + before + of_bin)) found = threadIdx.x, found_below = before;
            __syncthreads();
            crosses = found >= 0;
            if (crosses)
            {
                value |= (u32)found << shift;
                below += found_below;
            }
            __syncthreads();
        }
        // Of those equal to the bound, the first ones that keep the sum within the share.
        u64 ties = 0, unit = (u64)((double)bits_to_float(value) * UNIT), total;
        for (int i = first; i < end && crosses; i++) ties += i != likeliest && __float_as_uint(weights[i]) == value;
        u64 tie = sum_before(ties, of_warps, total);
        for (int i = first; i < end; i++)
        {
            if (i == likeliest) continue;
            u32 bits = __float_as_uint(weights[i]);
            bool goes = !crosses || bits < value;
            if (crosses && bits == value) goes = !beyond(below + ++tie * unit);
            if (goes) weights[i] = 0;
        }
    }

    if (share > 0)
        for (int i = first; i < end; i++)
            if (weights[i] < share) weights[i] = 0;

    own = 0;
    for (int i = first; i < end; i++) own += (u64)((double)weights[i] * UNIT);
    u64 before = sum_before(own, of_warps, sum);
    double target = uniforms[place] * (double)sum;
    if (threadIdx.x == 0) found = likeliest;                    // where rounding leaves nothing
    __syncthreads();
    if ((double)before <= target && (double)(before + own) > target)
        for (int i = first; i < end; i++)
        {
            before += (u64)((double)weights[i] * UNIT);
            if ((double)before > target)
            {
                found = i;
                break;
            }
        }
    __syncthreads();
    if (threadIdx.x != 0) return;
    chosen[2 * place] = state[0] = found;
    if (is_row)
    {
        state[1]++;
        state[3]++;
    }
}
