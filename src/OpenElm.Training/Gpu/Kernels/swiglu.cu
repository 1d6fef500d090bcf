// SwiGLU: y = SiLU(gate) · up, where a row holds all gates, then all ups. A thread keeps its column and walks along rows.

template <int V> __device__ __forceinline__ void forward(const P* gate_up, P* y, int rows, int width)
{
    int column = (blockIdx.x * blockDim.x + threadIdx.x) * V;
    if (column >= width) return;
#pragma unroll 2
    for (int row = rows - 1 - (int)blockIdx.y; row >= 0; row -= gridDim.y)
    {
        const P* from = gate_up + (size_t)row * 2 * width + column;
        float gate[V], up[V];
        load(from, gate);
        load(from + width, up);
#pragma unroll
        for (int i = 0; i < V; i++) up[i] *= rounded<P>(__fdividef(gate[i], 1.0f + __expf(-gate[i])));
        store(y + (size_t)row * width + column, up);
    }
}

// dy: the gradient of y; on return y. gate_up: the gradient on return.
template <int V> __device__ __forceinline__ void backward(P* dy, P* gate_up, int rows, int width)
{
    int column = (blockIdx.x * blockDim.x + threadIdx.x) * V;
    if (column >= width) return;
#pragma unroll 2
    for (int row = rows - 1 - (int)blockIdx.y; row >= 0; row -= gridDim.y)
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
        store(dy + (size_t)row * width + column, d);
    }
}

extern "C" __global__ __launch_bounds__(128) void swiglu_forward(const P* gate_up, P* y, int rows, int width) { forward<8>(gate_up, y, rows, width); }
extern "C" __global__ __launch_bounds__(128) void swiglu_forward_odd(const P* gate_up, P* y, int rows, int width) { forward<1>(gate_up, y, rows, width); }
extern "C" __global__ __launch_bounds__(128) void swiglu_backward(P* dy, P* gate_up, int rows, int width) { backward<8>(dy, gate_up, rows, width); }
extern "C" __global__ __launch_bounds__(128) void swiglu_backward_odd(P* dy, P* gate_up, int rows, int width) { backward<1>(dy, gate_up, rows, width); }
