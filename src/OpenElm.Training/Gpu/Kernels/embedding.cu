// Look-ups of rows of the embedding, and their gradient.

constexpr int V = WIDTH % 8 == 0 ? 8 : 1;

extern "C" __global__ __launch_bounds__(128) void embedding_forward(const int* ids, const R* weight, R* x)
{
    const R* from = weight + (size_t)ids[blockIdx.x] * WIDTH;
    R* to = x + (size_t)blockIdx.x * WIDTH;
    for (int column = threadIdx.x * V; column < WIDTH; column += 128 * V)
    {
        float values[V];
        load(from + column, values);
        store(to + column, values);
    }
}

// One block an id that occurs, of which there are *distinct and which may be fewer than blocks: order lists the tokens by id, starts where each id's tokens begin there, ids the ids. Sums go
// in the order of tokens, whatever the scheduling. The padding id is left out by the caller.
extern "C" __global__ __launch_bounds__(128) void embedding_backward(const R* dx, const int* order, const int* starts, const int* ids, const int* distinct, G* gradient)
{
    if (blockIdx.x >= *distinct) return;
    G* to = gradient + (size_t)ids[blockIdx.x] * WIDTH;
    int begin = starts[blockIdx.x], end = starts[blockIdx.x + 1];
    for (int column = threadIdx.x * V; column < WIDTH; column += 128 * V)
    {
        float sum[V] = {};
#pragma unroll 4
        for (int i = begin; i < end; i++)
        {
            float values[V];
            load(dx + (size_t)order[i] * WIDTH + column, values);
#pragma unroll
            for (int k = 0; k < V; k++) sum[k] += values[k];
        }
        float before[V];
        load(to + column, before);
#pragma unroll
        for (int k = 0; k < V; k++) before[k] += sum[k];
        store(to + column, before);
    }
}
