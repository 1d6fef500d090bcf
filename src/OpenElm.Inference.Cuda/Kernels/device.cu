// What all kernels share. T: weights, activations of products, and the KV cache; everything else is float.
// LAYER_NORM: 1 has LayerNorm in the place of every RMSNorm, for measurements: x − mean(x) for x. The products of few rows do not know it.
//
// EMULATED compiles the same text for a processor, block by block in fibers: the few primitives that are the chip's own are guarded by it.

#ifdef EMULATED
#include "emulated.h"
#else
typedef unsigned long long u64;
typedef unsigned int u32;
typedef unsigned short u16;
#define DYNAMIC_SHARED(type, name) extern __shared__ __align__(128) type name[]
#endif

constexpr float INFINITE = 3.402823466e38f;

#if BF16
typedef u16 T;
#else
typedef float T;
#endif

struct __align__(16) Float4 { float x, y, z, w; };
struct __align__(8) Float2 { float x, y; };
struct __align__(16) Word4 { u32 x, y, z, w; };

__device__ __forceinline__ float bits_to_float(u32 bits) { return __uint_as_float(bits); }

__device__ __forceinline__ float widen(u16 bits) { return bits_to_float((u32)bits << 16); }
__device__ __forceinline__ float widen(float x) { return x; }
__device__ __forceinline__ float widen(signed char x) { return x; }

#ifdef EMULATED
// To the nearest bfloat16, halves to the even one.
inline void narrow(float x, u16& to)
{
    u32 bits = __float_as_uint(x);
    to = (u16)((bits & 0x7fffffff) > 0x7f800000 ? (bits >> 16) | 64 : (bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

inline u32 pair(float low, float high)
{
    u16 a, b;
    narrow(low, a);
    narrow(high, b);
    return a | (u32)b << 16;
}

inline float power(float x) { return exp2f(x); }
#else
__device__ __forceinline__ void narrow(float x, u16& to) { asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(to) : "f"(x)); }

// Two bfloat16 numbers.
__device__ __forceinline__ u32 pair(float low, float high)
{
    u32 both;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
    return both;
}

// Of two; very small ones are 0.
__device__ __forceinline__ float power(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

__device__ __forceinline__ float half_to_float(u16 bits)
{
    float x;
    asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(bits));
    return x;
}
#endif
__device__ __forceinline__ void narrow(float x, float& to) { to = x; }

__device__ __forceinline__ float sum_of_warp(float x)
{
#pragma unroll
    for (int mask = 16; mask > 0; mask >>= 1) x += __shfl_xor_sync(0xffffffff, x, mask);
    return x;
}

// What a norm divides by the root of, from the means of squares and of numbers: RMSNorm the former, LayerNorm the variance.
__device__ __forceinline__ float spread(float squares, float mean) { return LAYER_NORM ? fmaxf(squares - mean * mean, 0) : squares; }

__device__ __forceinline__ float silu(float x) { return __fdividef(x, 1 + __expf(-x)); }

__device__ __forceinline__ void load8(const T* from, float* to)
{
#if BF16
    Word4 word = *(const Word4*)from;
    u32 words[4] = { word.x, word.y, word.z, word.w };
#pragma unroll
    for (int i = 0; i < 4; i++)
    {
        to[2 * i] = bits_to_float(words[i] << 16);
        to[2 * i + 1] = bits_to_float(words[i] & 0xffff0000);
    }
#else
#pragma unroll
    for (int i = 0; i < 8; i++) to[i] = from[i];
#endif
}

__device__ __forceinline__ void store8(T* to, const float* x)
{
#if BF16
    u32 words[4];
#pragma unroll
    for (int i = 0; i < 4; i++) words[i] = pair(x[2 * i], x[2 * i + 1]);
    *(Word4*)to = Word4{ words[0], words[1], words[2], words[3] };
#else
#pragma unroll
    for (int i = 0; i < 8; i++) to[i] = x[i];
#endif
}

__device__ __forceinline__ void store4(T* to, const Float4& x)
{
#if BF16
    *(u64*)to = (u64)pair(x.z, x.w) << 32 | pair(x.x, x.y);
#else
    *(Float4*)to = x;
#endif
}

// How a matrix is kept. Packed rows are pieces of some columns, the last one maybe of fewer: the piece's numbers, then a half for each 32 of them,
// their scale, which nibbles follow up with another half, what is subtracted. A nibble's byte j of 32 has numbers j and j + 16. Of a piece's blocks of 32 come
// number 0, 8, 16, … first, then 1, 9, 17, …: a warp of eight has what lies together.
enum Format { PLAIN = 0, NIBBLES = 4, BYTES = 8 };

// Eight neighbouring numbers of a packed row, whose pieces have some columns.
__device__ __forceinline__ void load_packed(const char* row, int width, int columns, int format, int at, float* to)
{
    int piece = at / columns, c = width - piece * columns < columns ? width - piece * columns : columns, i = at - piece * columns;
    int block = i / 32 % 8 * (c / 256) + i / 256;
    const char* from = row + (size_t)piece * (format == BYTES ? columns / 16 * 17 : columns / 8 * 5);
    const u16* scales = (const u16*)(from + (format == BYTES ? c : c / 2)) + (format == BYTES ? block : 2 * block);
    float scale = half_to_float(scales[0]), less = format == BYTES ? 0 : half_to_float(scales[1]);
#pragma unroll
    for (int j = 0; j < 8; j++)
    {
        int number = format == BYTES ? ((const signed char*)from)[block * 32 + i % 32 + j] : ((const unsigned char*)from)[block * 16 + (i + j) % 16] >> (i % 32 < 16 ? 0 : 4) & 15;
        to[j] = scale * number - less;
    }
}
