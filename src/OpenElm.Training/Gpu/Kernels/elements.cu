// Number formats and vector accesses; put in front of every other file.
//
// Definitions given by the compiler's caller: RESIDUAL_BF16, PRODUCT_BF16, GRADIENT_BF16 (0 or 1), WIDTH (of the residual stream),
// HEAD_DIM, VOCAB, NORM_THREADS (of a block of a norm of the residual stream), EIGHT_BIT (1: some products read copies in eight bits). The types are R for weights and the residual stream, P for matrix products, G for gradients of weights.
// A file is given those only that it names (a format also where it names the type), so that models share what does not depend on the rest.
// Arithmetic is in single precision; values are rounded where the reference kernels round them.
//
// Kernels walk from the last row to the first. Products write and read from the first to the last, so what a product wrote last is read
// while it is still in the L2 cache, and what a kernel wrote last is what the next product reads first.

// EMULATED compiles the same text for a processor (tests/CudaEmulator).

#ifdef EMULATED
#include "emulated.h"
#endif

struct bf16 { unsigned short bits; };

template <int IsBf16> struct Type { typedef float T; };
template <> struct Type<1> { typedef bf16 T; };
#ifdef RESIDUAL_BF16
typedef Type<RESIDUAL_BF16>::T R;
#endif
#ifdef PRODUCT_BF16
typedef Type<PRODUCT_BF16>::T P;
#endif
#ifdef GRADIENT_BF16
typedef Type<GRADIENT_BF16>::T G;
#endif

__device__ __forceinline__ float widen(float x) { return x; }
__device__ __forceinline__ float widen(bf16 x) { return __uint_as_float((unsigned)x.bits << 16); }

__device__ __forceinline__ void narrow(float x, float& to) { to = x; }
__device__ __forceinline__ void narrow(float x, bf16& to)
{
#ifdef EMULATED
    unsigned bits = __float_as_uint(x);
    to.bits = (bits & 0x7fffffff) > 0x7f800000 ? 0x7fff : (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
#else
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(to.bits) : "f"(x));
#endif
}

__device__ __forceinline__ unsigned pack(float low, float high)
{
#ifdef EMULATED
    bf16 first, second;
    narrow(low, first);
    narrow(high, second);
    return first.bits | (unsigned)second.bits << 16;
#else
    unsigned both;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
    return both;
#endif
}

// x as T would hold it.
template <class T> __device__ __forceinline__ float rounded(float x)
{
    T narrowed;
    narrow(x, narrowed);
    return widen(narrowed);
}

// N neighbouring elements. N is 8 wherever rows are whole 16-byte words, and 4 where single precision should be.
template <int N> __device__ __forceinline__ void load(const bf16* from, float (&x)[N])
{
    if constexpr (N == 8)
    {
        uint4 words = *reinterpret_cast<const uint4*>(from);
        unsigned w[4] = {words.x, words.y, words.z, words.w};
#pragma unroll
        for (int i = 0; i < 4; i++)
        {
            x[2 * i] = __uint_as_float(w[i] << 16);
            x[2 * i + 1] = __uint_as_float(w[i] & 0xffff0000u);
        }
    }
    else if constexpr (N == 4)
    {
        uint2 words = *reinterpret_cast<const uint2*>(from);
        x[0] = __uint_as_float(words.x << 16), x[1] = __uint_as_float(words.x & 0xffff0000u), x[2] = __uint_as_float(words.y << 16), x[3] = __uint_as_float(words.y & 0xffff0000u);
    }
    else
    {
#pragma unroll
        for (int i = 0; i < N; i++) x[i] = widen(from[i]);
    }
}

template <int N> __device__ __forceinline__ void load(const float* from, float (&x)[N])
{
    if constexpr (N == 8)
    {
        float4 a = reinterpret_cast<const float4*>(from)[0], b = reinterpret_cast<const float4*>(from)[1];
        x[0] = a.x, x[1] = a.y, x[2] = a.z, x[3] = a.w, x[4] = b.x, x[5] = b.y, x[6] = b.z, x[7] = b.w;
    }
    else if constexpr (N == 4)
    {
        float4 a = *reinterpret_cast<const float4*>(from);
        x[0] = a.x, x[1] = a.y, x[2] = a.z, x[3] = a.w;
    }
    else
    {
#pragma unroll
        for (int i = 0; i < N; i++) x[i] = from[i];
    }
}

template <int N> __device__ __forceinline__ void store(bf16* to, const float (&x)[N])
{
    if constexpr (N == 8)
        *reinterpret_cast<uint4*>(to) = make_uint4(pack(x[0], x[1]), pack(x[2], x[3]), pack(x[4], x[5]), pack(x[6], x[7]));
    else if constexpr (N == 4)
        *reinterpret_cast<uint2*>(to) = make_uint2(pack(x[0], x[1]), pack(x[2], x[3]));
    else
    {
#pragma unroll
        for (int i = 0; i < N; i++) narrow(x[i], to[i]);
    }
}

template <int N> __device__ __forceinline__ void store(float* to, const float (&x)[N])
{
    if constexpr (N == 8)
    {
        reinterpret_cast<float4*>(to)[0] = make_float4(x[0], x[1], x[2], x[3]);
        reinterpret_cast<float4*>(to)[1] = make_float4(x[4], x[5], x[6], x[7]);
    }
    else if constexpr (N == 4)
        *reinterpret_cast<float4*>(to) = make_float4(x[0], x[1], x[2], x[3]);
    else
    {
#pragma unroll
        for (int i = 0; i < N; i++) to[i] = x[i];
    }
}

// N elements as they are stored, kept in registers between two passes.
template <class T, int N> struct Packed { T values[N]; };
template <> struct __align__(16) Packed<bf16, 8> { bf16 values[8]; };
template <> struct __align__(16) Packed<float, 8> { float values[8]; };

template <class T, int N> __device__ __forceinline__ Packed<T, N> packed(const T* from) { return *reinterpret_cast<const Packed<T, N>*>(from); }

// Makes the compiler forget that it has unpacked p, so that it keeps packed words over a barrier and unpacks them again: half the registers, for a shift each.
template <class T, int N> __device__ __forceinline__ void keep_packed(Packed<T, N>& p)
{
#ifndef EMULATED
    if constexpr (sizeof(Packed<T, N>) == 16)
    {
        uint4& words = *reinterpret_cast<uint4*>(&p);
        asm volatile("" : "+r"(words.x), "+r"(words.y), "+r"(words.z), "+r"(words.w));
    }
#endif
}

// The sum over groups of Lanes neighbouring lanes; every lane gets it. Lanes is a power of two.
template <int Lanes> __device__ __forceinline__ float sum_of_lanes(float x)
{
#pragma unroll
    for (int distance = Lanes / 2; distance > 0; distance /= 2) x += __shfl_xor_sync(0xffffffffu, x, distance);
    return x;
}

// The sum over a block of up to 1024 threads, in a fixed order; every thread gets it. shared holds 33 floats.
__device__ __forceinline__ float sum_of_block(float x, float* shared)
{
    x = sum_of_lanes<32>(x);
    __syncthreads();
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = x;
    __syncthreads();
    if (threadIdx.x < 32)
    {
        float all = sum_of_lanes<32>(threadIdx.x < (blockDim.x + 31) / 32 ? shared[threadIdx.x] : 0.0f);
        if (threadIdx.x == 0) shared[32] = all;
    }
    __syncthreads();
    return shared[32];
}

// A tensor's copy in eight bits has a factor: x · factor is stored, as e4m3, or as e5m2 where it is a gradient. state holds what products multiply with, 1/factor,
// then factor, then the largest |x| since the factors were last chosen, then the largest that is remembered (fp8.cu). Nothing is stored where there is no copy.
template <bool Gradient> __device__ __forceinline__ unsigned eight_bits(float low, float high)
{
    unsigned short both = 0;
#if EIGHT_BIT && !defined(EMULATED)
    if constexpr (Gradient) asm("cvt.rn.satfinite.e5m2x2.f32 %0, %1, %2;" : "=h"(both) : "f"(high), "f"(low));
    else asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(both) : "f"(high), "f"(low));
#endif
    return both;
}

template <bool Gradient, int N> __device__ __forceinline__ void store_eight(unsigned char* to, const float (&x)[N], float factor, float& largest)
{
    if constexpr (EIGHT_BIT && N == 8)
    {
        unsigned words[2];
#pragma unroll
        for (int i = 0; i < 2; i++)
        {
            words[i] = eight_bits<Gradient>(x[4 * i] * factor, x[4 * i + 1] * factor) | eight_bits<Gradient>(x[4 * i + 2] * factor, x[4 * i + 3] * factor) << 16;
        }
        *reinterpret_cast<uint2*>(to) = make_uint2(words[0], words[1]);
#pragma unroll
        for (int i = 0; i < N; i++) largest = fmaxf(largest, fabsf(x[i]));
    }
}

// Called by whole warps at their end.
__device__ __forceinline__ void note_largest(float largest, float* state)
{
    if constexpr (EIGHT_BIT)
    {
#pragma unroll
        for (int distance = 16; distance > 0; distance /= 2) largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, distance));
        if (threadIdx.x % 32 == 0 && largest > *(volatile float*)(state + 2)) atomicMax(reinterpret_cast<int*>(state + 2), __float_as_int(largest));
    }
}

// The same for a block that has one row only, so that not every warp of every row asks memory. shared holds a float for each warp and has been read.
__device__ __forceinline__ void note_largest_of_block(float largest, float* state, float* shared)
{
    if constexpr (EIGHT_BIT)
    {
#pragma unroll
        for (int distance = 16; distance > 0; distance /= 2) largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, distance));
        __syncthreads();
        if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = largest;
        __syncthreads();
        if (threadIdx.x < 32) note_largest(threadIdx.x < blockDim.x / 32 ? shared[threadIdx.x] : 0.0f, state);
    }
}
