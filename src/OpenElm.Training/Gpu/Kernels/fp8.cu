// Copies of weights in eight bits, and the factors of all copies (elements.cu).

// w: [rows, columns]; to: the same in eight bits, or null where only the transposed copy is read; transposed: [columns, rows]. One block a tile of 64 x 64.
extern "C" __global__ __launch_bounds__(256) void eight_bit_weight(const P* w, unsigned char* to, unsigned char* transposed, float* state, int rows, int columns)
{
    __shared__ float tile[64][65];
    int row = blockIdx.y * 64 + threadIdx.x / 8, column = blockIdx.x * 64 + threadIdx.x % 8 * 8;
    float factor = state[1], largest = 0;
#pragma unroll
    for (int half = 0; half < 2; half++, row += 32)
    {
        float x[8] = {};
        if (row < rows && column < columns)
        {
            load(w + (size_t)row * columns + column, x);
            if (to != nullptr) store_eight<false>(to + (size_t)row * columns + column, x, factor, largest);
        }
#pragma unroll
        for (int i = 0; i < 8; i++) tile[row % 64][threadIdx.x % 8 * 8 + i] = x[i];
    }

    __syncthreads();
    row = blockIdx.y * 64 + threadIdx.x % 8 * 8;
    column = blockIdx.x * 64 + threadIdx.x / 8;
#pragma unroll
    for (int half = 0; half < 2; half++, column += 32)
    {
        float x[8];
#pragma unroll
        for (int i = 0; i < 8; i++) x[i] = tile[threadIdx.x % 8 * 8 + i][column % 64];
        if (row < rows && column < columns) store_eight<false>(transposed + (size_t)column * rows + row, x, factor, largest);
    }
    note_largest(largest, state);
}

// Chooses the next factors: half of what the largest recent number allows, so that the next batch may have larger ones. kinds: how many copies a layer has;
// gradients: a bit for each kind that is stored as e5m2. A copy without numbers keeps its factor.
extern "C" __global__ void next_factors(float* states, int count, int kinds, unsigned gradients)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    float* state = states + 4 * (size_t)i;
    float top = gradients >> i % kinds & 1 ? 57344.0f : 448.0f, remembered = fmaxf(state[2], 0.98f * state[3]);
    state[2] = 0;
    state[3] = remembered;
    if (!(remembered > 0) || remembered > 3.4e38f) return;
    float factor = exp2f(floorf(log2f(0.5f * top / remembered)));
    state[0] = 1 / factor;
    state[1] = factor;
}
