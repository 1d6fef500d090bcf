// RMSNorm over rows of WIDTH elements, one warp a row.
//
// n = x · r rounded to R, y = n · w, with r = 1/sqrt(mean(x²) + eps).
// Backward, with d = dy · w: dx = r · (d − n · mean(d · n)), added to the gradient that flows past the norm; dw = Σ dy · n.
// eight, state: a copy in eight bits, if there is one: of y (y may be null then), and in the backward pass of the sum in residual.
// Statistics are computed anew from x, which has to be read anyway; so is y, which the products' weight gradients need.

constexpr int V = WIDTH % 8 == 0 ? 8 : 1;
constexpr int STEPS = (WIDTH + 32 * V - 1) / (32 * V);
constexpr bool KEEPS = STEPS * V <= 64;          // the backward pass keeps a row in registers between its two looks at it

// Whether lane's pack of this step lies in the row: known at compile time where rows are whole.
__device__ __forceinline__ bool inside(int column) { return WIDTH % (32 * V) == 0 || column < WIDTH; }

extern "C" __global__ __launch_bounds__(256) void rms_norm_forward(const R* x, const R* w, P* y, int rows, float eps, unsigned char* eight, float* state)
{
    int row = rows - 1 - (blockIdx.x * 8 + threadIdx.x / 32), lane = threadIdx.x % 32;
    if (row < 0) return;
    x += (size_t)row * WIDTH;
    y += (size_t)row * WIDTH;
    bool copies = EIGHT_BIT && eight != nullptr;
    float factor = copies ? state[1] : 0.0f, largest = 0;
    eight += (size_t)row * WIDTH;
    float kept[STEPS][V], squares = 0;
#pragma unroll
    for (int step = 0; step < STEPS; step++)
    {
        int column = (step * 32 + lane) * V;
        if (!inside(column)) continue;
        load(x + column, kept[step]);
#pragma unroll
        for (int i = 0; i < V; i++) squares += kept[step][i] * kept[step][i];
    }

    float r = rsqrtf(sum_of_lanes<32>(squares) / WIDTH + eps);
#pragma unroll
    for (int step = 0; step < STEPS; step++)
    {
        int column = (step * 32 + lane) * V;
        if (!inside(column)) continue;
        float weight[V];
        load(w + column, weight);
#pragma unroll
        for (int i = 0; i < V; i++) kept[step][i] = rounded<R>(kept[step][i] * r) * weight[i];
        if (copies) store_eight<false>(eight + column, kept[step], factor, largest);
        else store(y + column, kept[step]);
    }
    if (copies) note_largest(largest, state);
}

// residual: the gradient of x from past the norm, and the sum on return; first: there is none, and it is only written.
// rounded_residual: the same sum as products read it, or null where they read R. dy: the gradient of y; on return y itself, where y is wanted. partials: [blocks, WIDTH], summed by sum_partials.
extern "C" __global__ __launch_bounds__(128) void rms_norm_backward(
    P* dy, const R* x, const R* w, R* residual, P* rounded_residual, float* partials, int rows, float eps, int first, int wants_y,
    unsigned char* eight, float* state)
{
    __shared__ float total[WIDTH];
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    float dw[STEPS][V] = {};
    bool copies = EIGHT_BIT && eight != nullptr;
    float factor = copies ? state[1] : 0.0f, largest = 0;
    for (int row = rows - 1 - (blockIdx.x * 4 + warp); row >= 0; row -= gridDim.x * 4)
    {
        size_t begin = (size_t)row * WIDTH;
        float squares = 0, product = 0;
        Packed<R, V> xs[KEEPS ? STEPS : 1];
        Packed<P, V> dys[KEEPS ? STEPS : 1];
        if (KEEPS)
        {
#pragma unroll
            for (int step = 0; step < STEPS; step++)
            {
                int column = (step * 32 + lane) * V;
                if (!inside(column)) continue;
                xs[KEEPS ? step : 0] = packed<R, V>(x + begin + column);
                dys[KEEPS ? step : 0] = packed<P, V>(dy + begin + column);
            }
        }
#pragma unroll
        for (int step = 0; step < STEPS; step++)
        {
            int column = (step * 32 + lane) * V;
            if (!inside(column)) continue;
            float a[V], d[V], weight[V];
            load(KEEPS ? xs[KEEPS ? step : 0].values : x + begin + column, a);
            load(KEEPS ? dys[KEEPS ? step : 0].values : dy + begin + column, d);
            load(w + column, weight);
#pragma unroll
            for (int i = 0; i < V; i++)
            {
                squares += a[i] * a[i];
                product += a[i] * d[i] * weight[i];
            }
        }

        float r = rsqrtf(sum_of_lanes<32>(squares) / WIDTH + eps);
        float mean = sum_of_lanes<32>(product) * r / WIDTH;
        // A wide row is read again, from the L1 cache: there are not enough registers to keep it.
#pragma unroll
        for (int step = 0; step < STEPS; step++)
        {
            int column = (step * 32 + lane) * V;
            if (!inside(column)) continue;
            float a[V], d[V], weight[V], past[V];
            load(KEEPS ? xs[KEEPS ? step : 0].values : x + begin + column, a);
            load(KEEPS ? dys[KEEPS ? step : 0].values : dy + begin + column, d);
            load(w + column, weight);
            if (first)
            {
#pragma unroll
                for (int i = 0; i < V; i++) past[i] = 0;
            }
            else
            {
                load(residual + begin + column, past);
            }
#pragma unroll
            for (int i = 0; i < V; i++)
            {
                float exact = a[i] * r, n = rounded<R>(exact);
                dw[step][i] += d[i] * n;
                past[i] += r * (d[i] * weight[i] - exact * mean);
                d[i] = n * weight[i];
            }
            store(residual + begin + column, past);
            if (copies) store_eight<true>(eight + begin + column, past, factor, largest);
            if (rounded_residual != nullptr) store(rounded_residual + begin + column, past);
            if (wants_y) store(dy + begin + column, d);
        }
    }

    if (copies) note_largest(largest, state);

    // Warps add one after the other, so that the sum does not depend on which is faster.
    for (int turn = 0; turn < 4; turn++)
    {
        if (turn == warp)
        {
#pragma unroll
            for (int step = 0; step < STEPS; step++)
            {
                int column = (step * 32 + lane) * V;
                if (!inside(column)) continue;
#pragma unroll
                for (int i = 0; i < V; i++) total[column + i] = dw[step][i] + (turn == 0 ? 0.0f : total[column + i]);
            }
        }
        __syncthreads();
    }

    for (int column = threadIdx.x; column < WIDTH; column += 128) partials[(size_t)blockIdx.x * WIDTH + column] = total[column];
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
