// SwiGLU: y = SiLU(gate) · up, where a row holds all gates, then all ups. A thread has a column of a row, and of more rows only where a grid cannot reach
// them all, or where there is a copy in eight bits.
// Measured on an H100, 16384 rows of 12288 columns: 16 blocks a multiprocessor that walk along rows 427 us forward, 869 backward (2.83, 2.78 TB/s); a row each 397, 810 (3.04, 2.98, a copy's rate).
// Loads and stores that leave the caches early, two or four rows at once: no faster.
// eight, state: a copy in eight bits, if there is one: of y (which is not written then), and in the backward pass of the gradient of gates and ups.

template <int V> __device__ __forceinline__ void forward(const P* gate_up, P* y, int rows, int width, unsigned char* eight, float* state)
{
    int column = (blockIdx.x * blockDim.x + threadIdx.x) * V;
    bool copies = EIGHT_BIT && eight != nullptr, inside = column < width;
    if (!inside && !copies) return;
    float factor = copies ? state[1] : 0.0f, largest = 0;
#pragma unroll 2
    for (int row = rows - 1 - (int)blockIdx.y; inside && row >= 0; row -= gridDim.y)
    {
        const P* from = gate_up + (size_t)row * 2 * width + column;
        float gate[V], up[V];
        load(from, gate);
        load(from + width, up);
#pragma unroll
        for (int i = 0; i < V; i++) up[i] *= rounded<P>(__fdividef(gate[i], 1.0f + __expf(-gate[i])));
        if (copies) store_eight<false>(eight + (size_t)row * width + column, up, factor, largest);
        else store(y + (size_t)row * width + column, up);
    }
    if (copies) note_largest(largest, state);
}

// dy: the gradient of y; on return y. gate_up: the gradient on return.
template <int V> __device__ __forceinline__ void backward(P* dy, P* gate_up, int rows, int width, unsigned char* eight, float* state)
{
    int column = (blockIdx.x * blockDim.x + threadIdx.x) * V;
    bool copies = EIGHT_BIT && eight != nullptr, inside = column < width;
    if (!inside && !copies) return;
    float factor = copies ? state[1] : 0.0f, largest = 0;
#pragma unroll 2
    for (int row = rows - 1 - (int)blockIdx.y; inside && row >= 0; row -= gridDim.y)
    {
        P* at = gate_up + (size_t)row * 2 * width + column;
        float gate[V], up[V], d[V];
        load(at, gate);
        load(at + width, up);
        load(dy + (size_t)row * width + column, d);
#pragma unroll
        for (int i = 0; i < V; i++)
        {
            float sigmoid = __fdividef(1.0f, 1.0f + __expf(-gate[i])), silu = rounded<P>(gate[i] * sigmoid), y = silu * up[i];
            gate[i] = d[i] * up[i] * sigmoid * (1.0f + gate[i] * (1.0f - sigmoid));
            up[i] = d[i] * silu;
            d[i] = y;
        }
        store(at, gate);
        store(at + width, up);
        if (copies)
        {
            unsigned char* to = eight + (size_t)row * 2 * width + column;
            store_eight<true>(to, gate, factor, largest);
            store_eight<true>(to + width, up, factor, largest);
        }
        store(dy + (size_t)row * width + column, d);
    }
    if (copies) note_largest(largest, state);
}

extern "C" __global__ __launch_bounds__(128) void swiglu_forward(const P* gate_up, P* y, int rows, int width, unsigned char* eight, float* state)
{
    forward<8>(gate_up, y, rows, width, eight, state);
}

extern "C" __global__ __launch_bounds__(128) void swiglu_forward_odd(const P* gate_up, P* y, int rows, int width, unsigned char* eight, float* state)
{
    forward<1>(gate_up, y, rows, width, eight, state);
}

extern "C" __global__ __launch_bounds__(128) void swiglu_backward(P* dy, P* gate_up, int rows, int width, unsigned char* eight, float* state)
{
    backward<8>(dy, gate_up, rows, width, eight, state);
}

extern "C" __global__ __launch_bounds__(128) void swiglu_backward_odd(P* dy, P* gate_up, int rows, int width, unsigned char* eight, float* state)
{
    backward<1>(dy, gate_up, rows, width, eight, state);
}

