// Gradient norm, clipping and AdamW for all weights at once; nothing waits for the host.

// copy: the weight as matrix products read it, or null where they read the master itself.
struct Slot { P* copy; float* master; float* average; float* square_average; const G* gradient; float* step; long long count; float decay; int unused; };
struct Chunk { int slot; int first; };           // first element, in units of CHUNK

constexpr int CHUNK = 8192;

// partials[block] = Σ gradient² of a chunk.
extern "C" __global__ __launch_bounds__(256) void gradient_squares(const Slot* slots, const Chunk* chunks, float* partials)
{
    __shared__ float shared[33];
    Chunk chunk = chunks[blockIdx.x];
    const Slot& slot = slots[chunk.slot];
    long long begin = (long long)chunk.first * CHUNK;
    int count = (int)min((long long)CHUNK, slot.count - begin);
    const G* gradient = slot.gradient + begin;
    float sum = 0;
    int whole = count / 8 * 8;
#pragma unroll 4
    for (int i = threadIdx.x * 8; i < whole; i += 256 * 8)
    {
        float g[8];
        load(gradient + i, g);
#pragma unroll
        for (int k = 0; k < 8; k++) sum += g[k] * g[k];
    }
    for (int i = whole + threadIdx.x; i < count; i += 256) sum += widen(gradient[i]) * widen(gradient[i]);
    sum = sum_of_block(sum, shared);
    if (threadIdx.x == 0) partials[blockIdx.x] = sum;
}

// result[0] = the norm of all gradients, result[1] = the factor that clips it. max_norm is infinite where nothing is clipped.
extern "C" __global__ __launch_bounds__(1024) void clip_factor(const float* partials, int count, float max_norm, float* result)
{
    __shared__ float shared[33];
    float sum = 0;
    for (int i = threadIdx.x; i < count; i += 1024) sum += partials[i];
    sum = sum_of_block(sum, shared);
    if (threadIdx.x == 0)
    {
        float norm = sqrtf(sum);
        result[0] = norm;
        result[1] = fminf(1.0f, max_norm / (norm + 1e-6f));
    }
}

struct Hyper { float rate, beta1, beta2, eps, correction1, correction2; };

__device__ __forceinline__ float updated(float w, float& m, float& v, float g, float decay, const Hyper& h)
{
    w -= h.rate * decay * w;
    m += (g - m) * (1.0f - h.beta1);
    v = v * h.beta2 + g * g * (1.0f - h.beta2);
    return w - h.rate / h.correction1 * m / (sqrtf(v) / h.correction2 + h.eps);
}

// Four neighbours of a weight, its moments and its gradient.
struct Four { float master[4], average[4], square_average[4], gradient[4]; };

constexpr int AT_ONCE = 4;                        // fours of a thread that are on their way from memory together

// correction1 = 1 − beta1^t, correction2 = sqrt(1 − beta2^t). master: the single-precision weight.
// A thread takes four neighbours, so that a warp's accesses of single-precision numbers are whole lines: of eight neighbours a warp touches every line twice (160 million weights on an H100: 1602 us,
// 2.79 TB/s; four neighbours, one, two or four fours at once 1560, 1540, 1525 us, 2.94 TB/s).
extern "C" __global__ __launch_bounds__(256) void adamw(
    const Slot* slots, const Chunk* chunks, const float* clip, float rate, float beta1, float beta2, float eps, float correction1, float correction2, float t)
{
    Hyper h = {rate, beta1, beta2, eps, correction1, correction2};
    Chunk chunk = chunks[blockIdx.x];
    Slot slot = slots[chunk.slot];
    long long begin = (long long)chunk.first * CHUNK;
    int count = (int)min((long long)CHUNK, slot.count - begin);
    float factor = clip[1];
    int whole = count / 4 * 4;
    for (int first = threadIdx.x * 4; first < whole; first += 256 * 4 * AT_ONCE)
    {
        Four fours[AT_ONCE];
#pragma unroll
        for (int n = 0; n < AT_ONCE; n++)
        {
            long long i = begin + first + n * 1024;
            if (i >= begin + whole) continue;
            load(slot.gradient + i, fours[n].gradient);
            load(slot.master + i, fours[n].master);
            load(slot.average + i, fours[n].average);
            load(slot.square_average + i, fours[n].square_average);
        }
#pragma unroll
        for (int n = 0; n < AT_ONCE; n++)
        {
            long long i = begin + first + n * 1024;
            if (i >= begin + whole) continue;
            Four& four = fours[n];
#pragma unroll
            for (int k = 0; k < 4; k++) four.master[k] = updated(four.master[k], four.average[k], four.square_average[k], four.gradient[k] * factor, slot.decay, h);
            store(slot.master + i, four.master);
            store(slot.average + i, four.average);
            store(slot.square_average + i, four.square_average);
            if (slot.copy != nullptr) store(slot.copy + i, four.master);
        }
    }
    for (long long i = begin + whole + threadIdx.x; i < begin + count; i += 256)
    {
        float w = updated(slot.master[i], slot.average[i], slot.square_average[i], widen(slot.gradient[i]) * factor, slot.decay, h);
        slot.master[i] = w;
        if (slot.copy != nullptr) narrow(w, slot.copy[i]);
    }
    if (chunk.first == 0 && threadIdx.x == 0) *slot.step = t;
}
