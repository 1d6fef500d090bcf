// CUDA on a processor: every thread of every block that runs is a fiber.
#pragma once
#include <cstdint>
#include <cstring>
#include <cmath>
#include <cstdlib>
#include <new>
typedef unsigned long long u64; typedef unsigned int u32; typedef unsigned short u16;
struct Dim { int x, y, z; };
struct Fiber { void* sp; Dim threadIdx, blockIdx; int linear; int warp; bool done; char* stack; };
struct Grid { Dim gridDim, blockDim; Fiber* current; int* block_arrived; int* block_gen; int* warp_arrived; int* warp_gen; u64* exchange; char** shared; int warps_per_block; int* warp_size_; int* block_live;};
extern "C" Grid* emu_grid; extern "C" void emu_yield();
#define __device__
#define __global__ EMU_KERNEL
#define __constant__ __attribute__((visibility("default")))
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __grid_constant__
#define __shared__ static
#define __align__(n) alignas(n)
#define threadIdx (emu_grid->current->threadIdx)
#define blockIdx (emu_grid->current->blockIdx)
#define blockDim (emu_grid->blockDim)
#define gridDim (emu_grid->gridDim)
#define DYNAMIC_SHARED(type, name) type* name = (type*)emu_grid->shared[emu_grid->current->linear]
// linear: index of the resident block
static inline void emu_meet(int* arrived, int* gen, int n) { int g = *gen; if (++*arrived == n) { *arrived = 0; ++*gen; } else while (*gen == g) emu_yield(); }
static inline void __syncthreads() { int b = emu_grid->current->linear; emu_meet(emu_grid->block_arrived + b, emu_grid->block_gen + b, emu_grid->block_live[b]); }
static inline void __syncwarp() { int w = emu_grid->current->warp; emu_meet(emu_grid->warp_arrived + w, emu_grid->warp_gen + w, emu_grid->warp_size_[w]); }
template <class X> static inline X emu_exchange(X x, int from) {
    int w = emu_grid->current->warp, lane = threadIdx.x % 32; u64 v = 0; memcpy(&v, &x, sizeof x); emu_grid->exchange[w * 32 + lane] = v;
    __syncwarp(); v = emu_grid->exchange[w * 32 + from]; __syncwarp(); memcpy(&x, &v, sizeof x); return x; }
template <class X> static inline X __shfl_xor_sync(unsigned, X x, int mask) { return emu_exchange(x, (threadIdx.x % 32) ^ mask); }
template <class X> static inline X __shfl_sync(unsigned, X x, int lane) { return emu_exchange(x, lane); }
static inline float __ldcg(const float* p) { return *(volatile const float*)p; }
static inline void __threadfence() {}
static inline u32 __float_as_uint(float x) { u32 b; memcpy(&b, &x, 4); return b; }
static inline float __uint_as_float(u32 b) { float x; memcpy(&x, &b, 4); return x; }
#define __expf expf
static inline int __float_as_int(float x) { int b; memcpy(&b, &x, 4); return b; }
static inline float __int_as_float(int b) { float x; memcpy(&x, &b, 4); return x; }
static inline float __fdividef(float a, float b) { return a / b; }
static inline float rsqrtf(float x) { return 1 / sqrtf(x); }
static inline int atomicMax(int* p, int v) { int o = *p; if (v > o) *p = v; return o; }
template <class X> static inline X min(X a, X b) { return a < b ? a : b; }
struct alignas(16) uint4 { u32 x, y, z, w; }; struct alignas(8) uint2 { u32 x, y; }; struct alignas(16) float4 { float x, y, z, w; };
static inline uint4 make_uint4(u32 x, u32 y, u32 z, u32 w) { return { x, y, z, w }; }
static inline uint2 make_uint2(u32 x, u32 y) { return { x, y }; }
static inline float4 make_float4(float x, float y, float z, float w) { return { x, y, z, w }; }
static inline u64 atomicMax(u64* p, u64 v) { u64 o = *p; if (v > o) *p = v; return o; }
static inline u32 atomicAdd(u32* p, u32 v) { u32 o = *p; *p += v; return o; }
static inline u64 atomicAdd(u64* p, u64 v) { u64 o = *p; *p += v; return o; }
static inline u64 atomicExch(u64* p, u64 v) { u64 o = *p; *p = v; return o; }
// the engine's copies
// A barrier: its phase, arrivals that are missing, arrivals of a phase, bytes that are missing.
struct EmuBarrier { u64 phase : 1, left : 15, count : 16; long long bytes : 32; };
static inline EmuBarrier* emu_barrier(u64* b) { return (EmuBarrier*)b; }
static inline void emu_settle(EmuBarrier* b) { if (b->left == 0 && b->bytes == 0) { b->phase ^= 1; b->left = b->count; } }
static inline void init_arrival(u64* b, int arrivals) { EmuBarrier* e = emu_barrier(b); e->phase = 0; e->left = e->count = arrivals; e->bytes = 0; }
static inline void publish_arrivals() {}
static inline void expect(u64* b, int bytes) { EmuBarrier* e = emu_barrier(b); e->bytes += bytes; e->left--; emu_settle(e); }
static inline void emu_copied(u64* b, int bytes) { EmuBarrier* e = emu_barrier(b); e->bytes -= bytes; if (e->left == 0) emu_settle(e); }
static inline void copy_async(void* to, const void* from, int bytes, u64* b) { if (((size_t)to | (size_t)from | bytes) & 15) abort(); memcpy(to, from, bytes); emu_copied(b, bytes); }
// A matrix as cuTensorMapEncodeTiled of emulator.cpp fills it.
struct EmuMap { char* values; u64 sizes[3], strides[2], box[3]; };
static inline u64 read_once() { return 0; }
static inline void fetch_map(const void*) {}
static inline void copy_box(void* to, const void* map, int x, int z, u64* b, u64)
{
    const EmuMap& m = *(const EmuMap*)map; u64* out = (u64*)to; if ((size_t)to & 127) abort();
    for (u64 k = 0; k < m.box[2]; k++) for (u64 j = 0; j < m.box[1]; j++) for (u64 i = 0; i < m.box[0]; i++)
        *out++ = x + i < m.sizes[0] && z + k < m.sizes[2] ? *(const u64*)(m.values + (x + i) * 8 + j * m.strides[0] + (z + k) * m.strides[1]) : 0;
    emu_copied(b, (int)(m.box[0] * m.box[1] * m.box[2] * 8));
}
static inline void emu_arrive(u64* b, int count) { EmuBarrier* e = emu_barrier(b); e->left -= count; emu_settle(e); }
static inline void arrive(u64* b) { emu_arrive(b, 1); }
#define arrive_for_all(b) emu_arrive(b, WARPS)
typedef char* Shared;
static inline Shared shared_place(const void* p) { return (char*)p; }
template <int N> static inline void read_shared(Shared p, u32 (&to)[N]) { if ((size_t)p % (4 * N)) abort(); memcpy(to, p, 4 * N); }
static inline u32 read_shared(Shared p) { if ((size_t)p % 4) abort(); return *(const u32*)p; }
static inline void write_shared(Shared p, float x) { *(float*)p = x; }
static inline int kept(int x) { return x; }
static inline u32 read_shared_half(Shared p) { if ((size_t)p % 2) abort(); return *(const u16*)p; }
static inline void arrive_at(Shared b) { arrive((u64*)b); }
static inline bool has_arrived(u64* b, int parity) { return (int)emu_barrier(b)->phase != parity; }
static inline void emu_meet_of(int threads) { static int arrived[256], gen[256]; int b = emu_grid->current->linear; emu_meet(arrived + b, gen + b, threads); }
#define meet() emu_meet_of(THREADS)
static inline void await_arrival(u64* b, int parity) { while ((int)emu_barrier(b)->phase == parity) emu_yield(); }
static inline void await_arrival_at(Shared b, int parity) { await_arrival((u64*)b, parity); }
static inline u32 read_word(const float* p) { return *(volatile const u32*)p; }
static inline void read_words(const float* p, u32 (&w)[4]) { if ((size_t)p & 15) abort(); for (int i = 0; i < 4; i++) w[i] = ((volatile const u32*)p)[i]; }
static inline void write_word(float* p, u32 bits) { *(volatile u32*)p = bits; }
static inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz(x); }
static inline u32 __ballot_sync(unsigned, bool x)
{
    int w = emu_grid->current->warp, lane = threadIdx.x % 32; emu_grid->exchange[w * 32 + lane] = x; __syncwarp();
    u32 all = 0; for (int i = 0; i < emu_grid->warp_size_[w]; i++) all |= (u32)(emu_grid->exchange[w * 32 + i] != 0) << i;
    __syncwarp(); return all;
}
static inline u32 __byte_perm(u32 a, u32 b, u32 which) { u64 both = (u64)b << 32 | a; u32 four = 0; for (int i = 0; i < 4; i++) four |= (u32)(both >> 8 * (which >> 4 * i & 7) & 255) << 8 * i; return four; }
static inline int __float2int_rn(float x) { return (int)rintf(x); }
static inline int __dp4a(int a, int b, int c) { for (int i = 0; i < 32; i += 8) c += (int)(signed char)(a >> i) * (signed char)(b >> i); return c; }
static inline float half_to_float(u16 bits) { _Float16 x; memcpy(&x, &bits, 2); return (float)x; }
static inline void rest() { emu_yield(); }
static inline long long cycles() { static long long c; return ++c; }

static inline void multiply(float (&d)[4], const u32 (&a)[4], u32 b0, u32 b1)
{
    static u32 all[4096][32][6]; int w = emu_grid->current->warp, lane = threadIdx.x % 32;
    u32* own = all[w][lane]; for (int i = 0; i < 4; i++) own[i] = a[i]; own[4] = b0; own[5] = b1; __syncwarp();
    auto half = [](u32 x, int h) { return __uint_as_float((h ? x >> 16 : x & 0xffff) << 16); };
    for (int i = 0; i < 4; i++) { int r = lane / 4 + i / 2 * 8, c = lane % 4 * 2 + i % 2; float s = 0;
        for (int k = 0; k < 16; k++) s += half(all[w][r % 8 * 4 + k % 8 / 2][r / 8 + k / 8 * 2], k % 2) * half(all[w][c * 4 + k % 8 / 2][4 + k / 8], k % 2);
        d[i] += s; }
    __syncwarp();
}
// Bytes: [16, 32] · [32, 8]; L: of the left side.
template <class L> static inline void emu_multiply_bytes(int (&d)[4], const u32 (&a)[4], u32 b0, u32 b1)
{
    static u32 all[4096][32][6]; int w = emu_grid->current->warp, lane = threadIdx.x % 32;
    u32 own[6] = { a[0], a[1], a[2], a[3], b0, b1 }; memcpy(all[w][lane], own, sizeof own); __syncwarp();
    for (int i = 0; i < 4; i++) { int r = lane / 4 + i / 2 * 8, c = lane % 4 * 2 + i % 2;
        for (int k = 0; k < 32; k++) d[i] += (int)(L)(all[w][r % 8 * 4 + k % 16 / 4][r / 8 + k / 16 * 2] >> k % 4 * 8) * (signed char)(all[w][c * 4 + k % 16 / 4][4 + k / 16] >> k % 4 * 8); }
    __syncwarp();
}
static inline void multiply_bytes(int (&d)[4], const u32 (&a)[4], u32 b0, u32 b1) { emu_multiply_bytes<signed char>(d, a, b0, b1); }
static inline void multiply_nibbles(int (&d)[4], const u32 (&a)[4], u32 b0, u32 b1) { emu_multiply_bytes<unsigned char>(d, a, b0, b1); }
static inline void load_matrices(const u16* row, u32 (&r)[4])
{
    int lane = threadIdx.x % 32;
    for (int i = 0; i < 4; i++) { const u16* own = (const u16*)emu_exchange((u64)row, i * 8 + lane / 4); r[i] = own[lane % 4 * 2] | (u32)own[lane % 4 * 2 + 1] << 16; }
}
static inline void load_transposed(const u16* row, u32 (&r)[4])
{
    int lane = threadIdx.x % 32;
    for (int i = 0; i < 4; i++) { const u16* r0 = (const u16*)emu_exchange((u64)row, i * 8 + lane % 4 * 2); const u16* r1 = (const u16*)emu_exchange((u64)row, i * 8 + lane % 4 * 2 + 1); r[i] = r0[lane / 4] | (u32)r1[lane / 4] << 16; }
}
// A warp's part of a product of four, 16 rows of the left side. What lies in shared memory is swizzled: 16 bytes change places with the row's number.
static inline float emu_of_stage(const u16* stage, size_t offset) { size_t at = (size_t)stage + offset; return __uint_as_float((u32)*(const u16*)(at ^ (at >> 7 & 7) << 4) << 16); }
static inline size_t emu_along(int row, int k) { return row / 8 * 1024 + row % 8 * 128 + k * 2; }
template <int COLUMNS> static inline void multiply_team(float (&d)[COLUMNS][4], const u16* a, const u16* b, bool adds)
{
    int warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32;
    for (int n = 0; n < COLUMNS; n++) for (int i = 0; i < 4; i++) { int r = 16 * warp + lane / 4 + i / 2 * 8, c = n * 8 + lane % 4 * 2 + i % 2; float s = 0;
        for (int k = 0; k < 16; k++) s += emu_of_stage(a, emu_along(r, k)) * emu_of_stage(b, emu_along(c, k));
        d[n][i] = (adds ? d[n][i] : 0) + s; }
}
template <int COLUMNS> static inline void multiply_team(float (&d)[COLUMNS][4], const u32 (&a)[4], const u16* b)
{
    static u32 all[4096][32][4]; int w = emu_grid->current->warp, lane = threadIdx.x % 32; memcpy(all[w][lane], a, sizeof a); __syncwarp();
    auto half = [](u32 x, int h) { return __uint_as_float((h ? x >> 16 : x & 0xffff) << 16); };
    for (int n = 0; n < COLUMNS; n++) for (int i = 0; i < 4; i++) { int r = lane / 4 + i / 2 * 8, c = n * 8 + lane % 4 * 2 + i % 2; float s = 0;
        for (int k = 0; k < 16; k++) s += half(all[w][r % 8 * 4 + k % 8 / 2][r / 8 + k / 8 * 2], k % 2) * emu_of_stage(b, emu_along(k, c % 64) + c / 64 * 8192);
        d[n][i] += s; }
    __syncwarp();
}
static inline void publish() {}
static inline void begin_products() {}
static inline void await_products() {}
static inline void copy_early(void* to, const void* from, bool there) { if (((size_t)to | (size_t)from) & 15) abort(); if (there) memcpy(to, from, 16); else memset(to, 0, 16); }
static inline void end_group() {}
static inline void meet_team(int team, int threads) { static int arrived[4096], gen[4096]; int b = 8 * emu_grid->current->linear + team; emu_meet(arrived + b, gen + b, threads); }
static inline void await_groups_but_one() {}
static inline int __reduce_max_sync(unsigned, int x) { for (int mask = 16; mask > 0; mask >>= 1) { int other = __shfl_xor_sync(0, x, mask); if (other > x) x = other; } return x; }
static inline void fetch_early(const void* from, int bytes, u64) { if (((size_t)from | bytes) & 15) abort(); static volatile char seen; seen = ((const volatile char*)from)[0]; seen = ((const volatile char*)from)[bytes - 1]; }
static inline u64 read_long(const u64* p) { return *(volatile const u64*)p; }
static inline int read_acquired(const int* p) { return *(const volatile int*)p; }
static inline void write_released(int* p, int x) { *(volatile int*)p = x; }
static inline void fence_device() {}
static inline void write_long(u64* p, u64 bits) { *(volatile u64*)p = bits; }
static inline void publish_to_engine() {}
