// RMSNorm over rows of WIDTH elements: a block a row, a thread a pack of V neighbouring columns (more than one only where a row has more than 1024 packs).
//
// n = x · r rounded to R, y = n · w, with r = 1/sqrt(mean(x²) + eps).
// Backward, with d = dy · w: dx = r · (d − n · mean(d · n)), added to the gradient that flows past the norm; dw = Σ dy · n.
// eight, state: a copy in eight bits, if there is one: of y (y may be null then), and in the backward pass of the sum in residual.
// Statistics are computed anew from x, which has to be read anyway; so is y, which the products' weight gradients need.
//
// Measured on an H100 (copies 3.0 TB/s), 16384 rows in bf16 of 3072, 2048, 1536, 1280 columns:
//   backward, a warp a row (a wide row does not fit its registers and is read twice; 8 warps a multiprocessor)   252, 159, 101.5, 85 us: 2.00, 2.11, 2.47, 2.47 TB/s
//   a block a row, numbers kept unpacked over the barrier: registers spill                                      208, 119, 93.2, 80.7 us
//   the same, kept packed (this one), 1024 threads a multiprocessor                                             178, 119, 94.9, 80.3 us: 2.82, 2.81, 2.65, 2.61 TB/s
//   the next row loaded before this one is summed, same blocks                                                  181, 127, 95.1, 79.2 us
//   rows through shared memory by bulk copies (TMA), 2 to 4 in flight                                           184, 124, 95.6, 80.4 us
//   two rows between barriers; loads that bypass L1; 2 to 8 times the blocks; neighbouring rows a block         all slower, by 2 to 15 %
//   forward, a warp a row: 74.7, 50.2, –, 37.0 us; a block a row, none of them in a loop                        71.6, 48.1, –, 31.8 us

constexpr int V = WIDTH % 8 == 0 ? 8 : 1;
constexpr int PACKS = (WIDTH + NORM_THREADS * V - 1) / (NORM_THREADS * V);
constexpr int WARPS = NORM_THREADS / 32;

__device__ __forceinline__ int column_of(int pack) { return (pack * NORM_THREADS + threadIdx.x) * V; }

// Whether the column lies in the row: known at compile time where rows are whole.
__device__ __forceinline__ bool inside(int column) { return WIDTH % (NORM_THREADS * V) == 0 || column < WIDTH; }

// The sum of warps' sums, in their order.
__device__ __forceinline__ float total_of(const float (&sums)[WARPS])
{
    float total = 0;
#pragma unroll
    for (int warp = 0; warp < WARPS; warp++) total += sums[warp];
    return total;
}

extern "C" __global__ __launch_bounds__(NORM_THREADS) void rms_norm_forward(const R* x, const R* w, P* y, int rows, float eps, unsigned char* eight, float* state)
{
    __shared__ float sums[WARPS];
    size_t begin = (size_t)(rows - 1 - blockIdx.x) * WIDTH;
    bool copies = EIGHT_BIT && eight != nullptr;
    float factor = copies ? state[1] : 0.0f, largest = 0, squares = 0;
    Packed<R, V> xs[PACKS], weights[PACKS];
#pragma unroll
    for (int pack = 0; pack < PACKS; pack++)
    {
        int column = column_of(pack);
        if (!inside(column)) continue;
        xs[pack] = packed<R, V>(x + begin + column);
        weights[pack] = packed<R, V>(w + column);
    }
#pragma unroll
    for (int pack = 0; pack < PACKS; pack++)
    {
        if (!inside(column_of(pack))) continue;
        float a[V];
        load(xs[pack].values, a);
#pragma unroll
        for (int i = 0; i < V; i++) squares += a[i] * a[i];
    }

    squares = sum_of_lanes<32>(squares);
    if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = squares;
    __syncthreads();
    float r = rsqrtf(total_of(sums) / WIDTH + eps);
#pragma unroll
    for (int pack = 0; pack < PACKS; pack++)
    {
        int column = column_of(pack);
        if (!inside(column)) continue;
        float a[V], weight[V];
        load(xs[pack].values, a);
        load(weights[pack].values, weight);
#pragma unroll
        for (int i = 0; i < V; i++) a[i] = rounded<R>(a[i] * r) * weight[i];
        if (copies) store_eight<false>(eight + begin + column, a, factor, largest);
        else store(y + begin + column, a);
    }
    if (copies) note_largest_of_block(largest, state, sums);
}

// residual: the gradient of x from past the norm, and the sum on return; first: there is none, and it is only written.
// rounded_residual: the same sum as products read it, or null where they read R. dy: the gradient of y; on return y itself, where y is wanted. partials: [blocks, WIDTH], summed by sum_partials.
// As many blocks as fit at once walk along the rows, so that a thread's weights and its part of dw stay in registers.
extern "C" __global__ __launch_bounds__(NORM_THREADS, 1024 / NORM_THREADS) void rms_norm_backward(
    P* dy, const R* x, const R* w, R* residual, P* rounded_residual, float* partials, int rows, float eps, int first, int wants_y,
    unsigned char* eight, float* state)
{
    // Of squares and of products; of two rows in turn, so that one barrier a row is enough.
    __shared__ float sums[2][2][WARPS];
    float dw[PACKS][V] = {};
    Packed<R, V> weights[PACKS];
#pragma unroll
    for (int pack = 0; pack < PACKS; pack++)
    {
        if (inside(column_of(pack))) weights[pack] = packed<R, V>(w + column_of(pack));
    }

    bool copies = EIGHT_BIT && eight != nullptr;
    float factor = copies ? state[1] : 0.0f, largest = 0;
    int turn = 0;
    for (int row = rows - 1 - blockIdx.x; row >= 0; row -= gridDim.x, turn ^= 1)
    {
        size_t begin = (size_t)row * WIDTH;
        Packed<R, V> xs[PACKS], pasts[PACKS];
        Packed<P, V> dys[PACKS];
#pragma unroll
        for (int pack = 0; pack < PACKS; pack++)
        {
            size_t at = begin + column_of(pack);
            if (!inside(column_of(pack))) continue;
            xs[pack] = packed<R, V>(x + at);
            dys[pack] = packed<P, V>(dy + at);
            if (!first) pasts[pack] = packed<R, V>(residual + at);
        }

        float squares = 0, product = 0;
#pragma unroll
        for (int pack = 0; pack < PACKS; pack++)
        {
            if (!inside(column_of(pack))) continue;
            float a[V], d[V], weight[V];
            load(xs[pack].values, a);
            load(dys[pack].values, d);
            load(weights[pack].values, weight);
#pragma unroll
            for (int i = 0; i < V; i++)
            {
                squares += a[i] * a[i];
                product += a[i] * d[i] * weight[i];
            }
        }

        squares = sum_of_lanes<32>(squares);
        product = sum_of_lanes<32>(product);
        if (threadIdx.x % 32 == 0)
        {
            sums[turn][0][threadIdx.x / 32] = squares;
            sums[turn][1][threadIdx.x / 32] = product;
        }
        __syncthreads();
        float r = rsqrtf(total_of(sums[turn][0]) / WIDTH + eps);
        float mean = total_of(sums[turn][1]) * r / WIDTH;
#pragma unroll
        for (int pack = 0; pack < PACKS; pack++)
        {
            size_t at = begin + column_of(pack);
            if (!inside(column_of(pack))) continue;
            keep_packed(xs[pack]);
            keep_packed(dys[pack]);
            keep_packed(weights[pack]);
            float a[V], d[V], weight[V], past[V] = {};
            load(xs[pack].values, a);
            load(dys[pack].values, d);
            load(weights[pack].values, weight);
            if (!first) load(pasts[pack].values, past);
#pragma unroll
            for (int i = 0; i < V; i++)
            {
                float exact = a[i] * r, n = rounded<R>(exact);
                dw[pack][i] += d[i] * n;
                past[i] += r * (d[i] * weight[i] - exact * mean);
                d[i] = n * weight[i];
            }
            store(residual + at, past);
            if (copies) store_eight<true>(eight + at, past, factor, largest);
            if (rounded_residual != nullptr) store(rounded_residual + at, past);
            if (wants_y) store(dy + at, d);
        }
    }

    if (copies) note_largest(largest, state);
#pragma unroll
    for (int pack = 0; pack < PACKS; pack++)
    {
        if (inside(column_of(pack))) store(partials + (size_t)blockIdx.x * WIDTH + column_of(pack), dw[pack]);
    }
}

// to[column] = (or +=) the sum of partials' rows; blocks of 32 columns by 32 slices of rows.
extern "C" __global__ __launch_bounds__(1024) void sum_partials(const float* partials, G* to, int rows, int columns, int stride, int accumulate)
{
    __shared__ float sums[32][33];
    int x = threadIdx.x % 32, y = threadIdx.x / 32, column = blockIdx.x * 32 + x;
    float sum = 0;
    if (column < columns)
    {
        for (int row = y; row < rows; row += 32) sum += partials[(size_t)row * stride + column];
    }
    sums[y][x] = sum;
    __syncthreads();
    sum = sum_of_lanes<32>(sums[x][y]);
    column = blockIdx.x * 32 + y;
    if (x == 0 && column < columns) narrow(sum + (accumulate ? widen(to[column]) : 0.0f), to[column]);
}
