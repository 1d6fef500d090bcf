// Hopper's own on a processor (Kernels/hopper.cu): the two blocks of a pair run together, addresses of shared memory count from the block's first byte, and the copy engine and products are done with when they are begun.
#pragma once

#define __cluster_dims__(x, y, z) EMU_CLUSTER(x)

// As cuTensorMapEncodeTiled of emulator.cpp fills it.
struct TensorMap { char* values; u64 columns, rows, rowBytes, boxColumns, boxRows; char rest[80]; };

static inline char* emu_place(u32 address, int block) { return emu_grid->shared[block] + address; }
static inline int emu_block() { return emu_grid->current->linear; }
static inline EmuBarrier* emu_arrival(u32 address, int block) { return (EmuBarrier*)emu_place(address, block); }
static inline u32 emu_swizzled(u32 address) { return address ^ (address >> 7 & 7) << 4; }

static inline u32 shared_start() { return 0; }
static inline u32 rank_in_pair() { return blockIdx.x & 1; }
template <int N> static inline void keep_registers() {}
template <int N> static inline void take_registers() {}
static inline void spend(long long) { emu_yield(); }
static inline void init(u32 arrival, u32 count) { init_arrival((u64*)emu_place(arrival, emu_block()), count); }
static inline void expect(u32 arrival, u32 bytes) { expect((u64*)emu_place(arrival, emu_block()), (int)bytes); }
static inline void await(u32 arrival, u32 phase) { await_arrival((u64*)emu_place(arrival, emu_block()), phase); }
static inline void show_arrivals() {}
static inline void arrive(u32 arrival, u32 block) { arrive((u64*)emu_place(arrival, block)); }
static inline void show_to_copies() {}
static inline void meet_pair() { static int arrived, generation; emu_meet(&arrived, &generation, 2 * blockDim.x); }

// A box between memory and shared memory: rows of 128 bytes whose words of 16 bytes are swapped by the row's number.
static inline void emu_copy(const TensorMap& map, u32 address, int block, int column, int row, bool isSent)
{
    for (u64 r = 0; r < map.boxRows; r++)
        for (u64 c = 0; c < map.boxColumns; c++)
        {
            u16* here = (u16*)emu_place(emu_swizzled(address + r * 128 + c * 2), block);
            bool inside = row + r < map.rows && column + c < map.columns;
            u16* there = (u16*)(map.values + (row + r) * map.rowBytes) + column + c;
            if (!isSent) *here = inside ? *there : 0;
            else if (inside) *there = *here;
        }
}

static inline void emu_fetch(u32 to, const TensorMap& map, u32 arrival, int column, int row, int block)
{
    emu_copy(map, to, block, column, row, false);
    EmuBarrier* barrier = emu_arrival(arrival, block);
    barrier->bytes -= map.boxRows * map.boxColumns * 2;
    if (barrier->left == 0) emu_settle(barrier);
}

static inline void fetch(u32 to, const TensorMap& map, u32 arrival, int column, int row) { emu_fetch(to, map, arrival, column, row, emu_block()); }
static inline void fetch_for_both(u32 to, const TensorMap& map, u32 arrival, int column, int row) { for (int block = 0; block < 2; block++) emu_fetch(to, map, arrival, column, row, block); }
static inline void send(const TensorMap& map, u32 from, int column, int row) { emu_copy(map, from, emu_block(), column, row, true); }
static inline void close_group() {}
template <int N> static inline void await_read() {}
static inline void await_sent() {}

// Block i of four has its rows where lanes 8 i to 8 i + 7 say.
static inline void put(u32 to, const u32* w) { int lane = threadIdx.x % 32; for (int i = 0; i < 4; i++) memcpy(emu_place(emu_exchange(to, 8 * i + lane / 4), emu_block()) + lane % 4 * 4, w + i, 4); __syncwarp(); }
static inline void get(u32 from, u32* w) { int lane = threadIdx.x % 32; for (int i = 0; i < 4; i++) memcpy(w + i, emu_place(emu_exchange(from, 8 * i + lane / 4), emu_block()) + lane % 4 * 4, 4); __syncwarp(); }
static inline float sigmoid(float x) { return 1 / (1 + expf(-x)); }

static inline void close_products() {}
template <int N> static inline void await_products() { __syncwarp(); }

static inline float emu_element(u32 address) { u16 bits; memcpy(&bits, emu_place(emu_swizzled(address), emu_block()), 2); return __uint_as_float((u32)bits << 16); }

template <int Transposed> static inline void multiply(float (&d)[128], u64 a, u64 b, int add)
{
    auto start = [](u64 of) { return (u32)(of & 0x3fff) << 4; };
    auto stride = [](u64 of) { return (u32)(of >> 32 & 0x3fff) << 4; };
    auto along = [&](u64 of, int row, int k) { return emu_element(start(of) + row / 8 * stride(of) + row % 8 * 128 + k * 2); };
    u32 leading = (u32)(b >> 16 & 0x3fff) << 4;
    int warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32;
    float rows[2][16];
    for (int i = 0; i < 2; i++) for (int k = 0; k < 16; k++) rows[i][k] = along(a, 16 * warp + lane / 4 + 8 * i, k);
    for (int j = 0; j < 32; j++)
        for (int c = 0; c < 2; c++)
        {
            int column = 8 * j + lane % 4 * 2 + c;
            float sums[2] = {add ? d[4 * j + c] : 0, add ? d[4 * j + 2 + c] : 0};
            for (int k = 0; k < 16; k++)
            {
                float x = Transposed ? emu_element(start(b) + column / 64 * leading + column % 64 * 2 + k / 8 * stride(b) + k % 8 * 128) : along(b, column, k);
                sums[0] += rows[0][k] * x, sums[1] += rows[1][k] * x;
            }
            d[4 * j + c] = sums[0], d[4 * j + 2 + c] = sums[1];
        }
}
