// Two products of the feed-forward network with SwiGLU in their last step; Hopper's own instructions, bfloat16, sums in single precision.
//
//   BACKWARD 0: gate = x · Wgᵀ, up = x · Wuᵀ, y = SiLU(gate) · up, for x [rows, inner] and W [2 · columns, inner]: all rows of gates, then all of ups.
//   BACKWARD 1: dy = x · W for x [rows, inner], the gradient behind the network, and W [inner, columns]; then gate and up turn into their gradients, and y is computed again.
//
// Rows are any number, columns and inner multiples of 8: what lies outside is read as zeros and not written.
//
// A pair of blocks (cluster) makes 256 rows of tiles of 128 x 256, one for each block, and walks through all tiles in bands of Group rows of tiles, so that what it reads stays in the L2 cache. Of a tile's
// 256 columns half are gates and half the ups that belong to them (forward), so that both are in the registers of one thread. One thread fetches steps of 64 of the inner dimension into a ring of slots, half of
// W's part for both blocks (multicast); two warp groups multiply, 64 rows each (wgmma m64n256k16). Arrival "full" is one's of the copy engine, "empty" all 16 multiplying warps' of the pair.
// Results go through shared memory and are sent by the copy engine, 16 rows of 64 columns a warp at a time: no warp waits for another. Forward they have a place of their own; backward a slot of the ring holds
// 64 columns of gates and ups as if they were a step, they are overwritten by their gradients, and the rest of the slot takes y.
//
// Measured on an H100, 16,384 rows, against cuBLASLt's best product and the kernel of swiglu.cu (what it adds), in turn on the same chip (median of 2, microseconds):
//   inner x columns      forward: product + kernel, this    backward: product + kernel, this
//   1280 x 1536          171 + 57     214                    98 + 113     157
//   1280 x 4608          520 + 162    625                    271 + 340    441
//   2048 x 5888          1062 + 210   1250                   556 + 425    766
//   3072 x 6656          1832 + 235   2060                   948 + 492    1166
// The main loop runs at the tensor cores' full rate (1,024 cycles a step of a tile). What is lost is the time after it: 4,300 cycles forward (2,300 for a plain product by the same kernel, which is therefore
// 7 to 16 % slower than cuBLASLt's and is not used), and backward some 10,000, because all multiprocessors read gates and ups and send three results at once.
// Tried: an arrival at the other block with release semantics for the cluster (a memory barrier for the whole GPU each time: 460 instead of 680 TFLOP/s); blocks without a pair (−10 %, measured with that barrier);
// the two warp groups one to three steps apart (no change: the ring is too short for more); three slots and more room for results (0 to −3 %); bands of 4 and 16 (no change); results and gates marked to leave the
// L2 cache first (no change); gates and ups fetched into the L2 cache during the main loop (−4 to +2 %); starting the pairs that have one tile less than others later, backward, so that not all send at once
// (4 to 10 % faster: kept), and all pairs (3 to 6 %).

constexpr int BlockRows = 128, TileColumns = 256, Step = 64, Slots = 4, Group = 8;
constexpr int Span = BACKWARD ? TileColumns : TileColumns / 2; // columns of the result that a tile covers
constexpr u32 PartBytes = BlockRows * Step * 2;                // 128 rows of 64 elements
constexpr u32 SlotBytes = 3 * PartBytes;                       // of x, and of W twice as much
constexpr u32 BoxBytes = 16 * 64 * 2;                          // what a warp sends at once
constexpr int Boxes = BACKWARD ? 0 : 2;                        // places of a warp for that

// Boxes: x 128 x 64, w 128 x 64 (forward) or 64 x 64 (backward), gate, up and y 16 x 64, gateTile and upTile 128 x 64.
struct Maps { TensorMap x, w, gate, up, y, gateTile, upTile; };

__device__ __forceinline__ float low(u32 both) { return __uint_as_float(both << 16); }
__device__ __forceinline__ float high(u32 both) { return __uint_as_float(both & 0xffff0000u); }

// A matrix in shared memory as the copy engine leaves it: rows of 128 bytes, swizzled, eight to a block. leading: bytes between blocks of 64 columns, where rows are of the inner dimension.
__device__ __forceinline__ u64 described(u32 address, u32 leading)
{
    return (u64)((address & 0x3ffff) >> 4) | (u64)(leading >> 4) << 16 | (u64)(1024 >> 4) << 32 | 1ull << 62;
}

struct Place
{
    u32 slot = 0, phase = 0;
    __device__ __forceinline__ void next() { if (++slot == Slots) slot = 0, phase ^= 1; }
};

// The first row and column of a block's tile.
__device__ __forceinline__ void locate(int tile, int rowTiles, int columnTiles, u32 rank, int& row, int& column)
{
    int band = tile / (Group * columnTiles), rest = tile - band * Group * columnTiles, height = min(Group, rowTiles - band * Group);
    column = rest / height;
    row = ((band * Group + rest - column * height) * 2 + rank) * BlockRows;
    column *= Span;
}

extern "C" __global__ __launch_bounds__(384, 1) __cluster_dims__(2, 1, 1) void swiglu_product(const __grid_constant__ Maps maps, int rows, int columns, int inner)
{
    u32 slots = (shared_start() + 1023) & ~1023u, boxes = slots + Slots * SlotBytes, full = boxes + 8 * Boxes * BoxBytes, empty = full + 8 * Slots, rank = rank_in_pair();
    int steps = (inner + Step - 1) / Step, rowTiles = (rows + 2 * BlockRows - 1) / (2 * BlockRows), columnTiles = (columns + Span - 1) / Span, tiles = rowTiles * columnTiles;
    int pair = blockIdx.x / 2, pairs = gridDim.x / 2;

    if (threadIdx.x == 0)
    {
        for (int i = 0; i < Slots; i++) init(full + 8 * i, 1), init(empty + 8 * i, 16);
        show_arrivals();
    }
    meet_pair();

    int group = threadIdx.x / 128;
    if (group == 0)
    {
        keep_registers<24>();
        if (threadIdx.x == 0)
        {
            Place place;
            if (BACKWARD && pair >= tiles % pairs) spend((steps * 1024LL + 6000) * (pair - tiles % pairs + 1) / (pairs - tiles % pairs + 1));
            for (int tile = pair; tile < tiles; tile += pairs)
            {
                int row, column;
                locate(tile, rowTiles, columnTiles, rank, row, column);
                for (int step = 0; step < steps; step++)
                {
                    u32 to = slots + place.slot * SlotBytes, arrival = full + 8 * place.slot;
                    await(empty + 8 * place.slot, place.phase ^ 1);
                    expect(arrival, SlotBytes);
                    fetch(to, maps.x, arrival, step * Step, row);
                    to += PartBytes + rank * PartBytes;
                    if (BACKWARD)
                    {
                        fetch_for_both(to, maps.w, arrival, column + 128 * rank, step * Step);
                        fetch_for_both(to + PartBytes / 2, maps.w, arrival, column + 128 * rank + 64, step * Step);
                    }
                    else fetch_for_both(to, maps.w, arrival, step * Step, column + rank * columns);
                    place.next();
                }
                for (int part = 0; BACKWARD && part < 4; part++)
                {
                    u32 to = slots + place.slot * SlotBytes, arrival = full + 8 * place.slot;
                    await(empty + 8 * place.slot, place.phase ^ 1);
                    expect(arrival, 2 * PartBytes);
                    fetch(to, maps.gateTile, arrival, column + 64 * part, row);
                    fetch(to + PartBytes, maps.upTile, arrival, column + 64 * part, row);
                    place.next();
                }
            }
        }
        __syncwarp();
    }
    else
    {
        take_registers<240>();
        int lane = threadIdx.x % 32, warp = threadIdx.x / 32 - 4;
        u32 ofLane = (lane & 15) * 128, swizzle = lane & 7, half = lane >> 4; // the row of a box that the lane names to put and get
        Place place;
        float d[128];
#if !BACKWARD
        int box = 0;
#endif
        for (int tile = pair; tile < tiles; tile += pairs)
        {
            int row, column;
            locate(tile, rowTiles, columnTiles, rank, row, column);
            row += warp * 16;
            u32 previous = 0;
            for (int step = 0; step < steps; step++)
            {
                await(full + 8 * place.slot, place.phase);
                u32 at = slots + place.slot * SlotBytes;
                u64 a = described(at + (group - 1) * (PartBytes / 2), 16), b = described(at + PartBytes, BACKWARD ? PartBytes / 2 : 16);
                begin_products();
#pragma unroll
                for (int i = 0; i < 4; i++) multiply<BACKWARD>(d, a + i * 2, b + i * (BACKWARD ? 128 : 2), step > 0 || i > 0);
                close_products();
                if (step > 0)
                {
                    await_products<1>();
                    if (lane < 2) arrive(empty + 8 * previous, lane);
                }
                previous = place.slot;
                place.next();
            }
            await_products<0>();
            if (lane < 2) arrive(empty + 8 * previous, lane);

#if BACKWARD
#pragma unroll
            for (int part = 0; part < 4; part++)
            {
                await(full + 8 * place.slot, place.phase);
                u32 at = slots + place.slot * SlotBytes + warp * BoxBytes;
#pragma unroll
                for (int p = 0; p < 4; p++)
                {
                    u32 gate[4], up[4], y[4], here = at + ofLane + (((2 * p + half) ^ swizzle) << 4);
                    get(here, gate);
                    get(here + PartBytes, up);
#pragma unroll
                    for (int i = 0; i < 4; i++)
                    {
                        float g[2] = {low(gate[i]), high(gate[i])}, u[2] = {low(up[i]), high(up[i])}, s[2] = {sigmoid(g[0]), sigmoid(g[1])};
                        u32 both = pack(g[0] * s[0], g[1] * s[1]);
                        float silu[2] = {low(both), high(both)};
                        y[i] = pack(silu[0] * u[0], silu[1] * u[1]);
#pragma unroll
                        for (int j = 0; j < 2; j++)
                        {
                            float dy = d[(part * 8 + 2 * p) * 4 + 2 * i + j];
                            g[j] = dy * u[j] * s[j] * (1.0f + (g[j] - g[j] * s[j]));
                            u[j] = dy * silu[j];
                        }
                        gate[i] = pack(g[0], g[1]), up[i] = pack(u[0], u[1]);
                    }
                    put(here, gate);
                    put(here + PartBytes, up);
                    put(here + 2 * PartBytes, y);
                }
                show_to_copies();
                __syncwarp();
                if (lane == 0)
                {
                    send(maps.gate, at, column + 64 * part, row);
                    send(maps.up, at + PartBytes, column + 64 * part, row);
                    send(maps.y, at + 2 * PartBytes, column + 64 * part, row);
                    close_group();
                    if (part > 0) await_read<1>();
                }
                __syncwarp();
                if (part > 0 && lane < 2) arrive(empty + 8 * previous, lane);
                previous = place.slot;
                place.next();
            }
            if (lane == 0) await_read<0>();
            __syncwarp();
            if (lane < 2) arrive(empty + 8 * previous, lane);
#else
            auto give = [&](const u32 (&w)[16], const TensorMap& map, int column)
            {
                u32 at = boxes + (warp * Boxes + box) * BoxBytes;
                if (++box == Boxes) box = 0;
                if (lane == 0) await_read<Boxes - 1>();
                __syncwarp();
#pragma unroll
                for (int p = 0; p < 4; p++) put(at + ofLane + (((2 * p + half) ^ swizzle) << 4), w + 4 * p);
                show_to_copies();
                __syncwarp();
                if (lane == 0)
                {
                    send(map, at, column, row);
                    close_group();
                }
            };
#pragma unroll
            for (int part = 0; part < 2; part++)
            {
                u32 gate[16], up[16];
#pragma unroll
                for (int i = 0; i < 16; i++) gate[i] = pack(d[part * 32 + 2 * i], d[part * 32 + 2 * i + 1]);
                give(gate, maps.gate, column + 64 * part);
#pragma unroll
                for (int i = 0; i < 16; i++) up[i] = pack(d[64 + part * 32 + 2 * i], d[64 + part * 32 + 2 * i + 1]);
                give(up, maps.up, column + 64 * part);
#pragma unroll
                for (int i = 0; i < 16; i++)
                {
                    float first = low(gate[i]), second = high(gate[i]);
                    u32 silu = pack(first * sigmoid(first), second * sigmoid(second));
                    gate[i] = pack(low(silu) * low(up[i]), high(silu) * high(up[i]));
                }
                give(gate, maps.y, column + 64 * part);
            }
#endif
        }
        if (lane == 0) await_sent();
        __syncwarp();
    }
    meet_pair();
}
