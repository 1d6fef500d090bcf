using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace OpenElm.Inference.Kernels.Assembled;

/// <content>Blocks of 256 columns with 4 bits.</content>
internal sealed partial class IntegerKernel
{
    // Few rows, weights from memory: scales as floats go to the scratch memory, both halves of 64 columns stay in registers.
    void Int4KStream()
    {
        Code.mov(rbp, Field(KernelCall.ScratchAt));
        Code.vmovdqu32(Z(17), __zmmword_ptr[rdx]);
        Code.vcvtph2ps(Z(16), ymm17);
        Code.vextracti64x4(ymm17, Z(17), 1);
        Code.vcvtph2ps(Z(17), ymm17);
        for (int line = 0; line < 4; line++)
        {
            Code.vmovdqu32(Z(8 + line), __zmmword_ptr[rdx + 64 + (line * 64)]);
        }

        for (int i = 0; i < 16; i++)
        {
            Code.vextracti32x4(xmm18, Z(8 + (i / 4)), (byte)(i % 4));
            Code.vpmovzxbd(Z(18), xmm18);
            Code.vcvtdq2ps(Z(18), Z(18));
            Code.vmulps(Z(18), Z(18), Z(16 + (i / 8)));
            Code.vmovups(__zmmword_ptr[rbp + (i * 64)], Z(18));
        }

        Code.add(rdx, 320);
        Code.mov(r15d, 4);
        Label pair = Here();
        for (int j = 0; j < 8; j++)
        {
            Code.vmovdqu32(Z(8 + j), __zmmword_ptr[rdx + (j * 64)]);
            Low(Weight(j), Z(8 + j));
        }

        Code.vmovups(Scale, __zmmword_ptr[rbp]);
        Code.vmovups(Min, __zmmword_ptr[rbp + 512]);
        Block(start: null, Scale, min: true);
        for (int j = 0; j < 8; j++)
        {
            Code.vpsrld(Weight(j), Z(8 + j), 4);
            Low(Weight(j), Weight(j));
        }

        Code.vmovups(Scale, __zmmword_ptr[rbp + 64]);
        Code.vmovups(Min, __zmmword_ptr[rbp + 576]);
        Block(start: null, Scale, min: true);
        Code.add(rbp, 128);
        Code.add(rdx, 512);
        Code.dec(r15d);
        Code.jnz(pair);
    }

    // rdx: the block of 256 columns, rbx: scales, rbp: numbers of the present 64 columns. The weights are in the cache and may be loaded twice.
    void Int4K()
    {
        Code.lea(rbx, __[rdx + 64]);
        Code.lea(rbp, __[rdx + 320]);
        Code.mov(r15d, 4);
        Label pair = Here();
        for (int half = 0; half < 2; half++)
        {
            Code.vpmovzxbd(Scale, __xmmword_ptr[rbx + (half * 16)]);
            Code.vpmovzxbd(Min, __xmmword_ptr[rbx + 128 + (half * 16)]);
            Code.vcvtdq2ps(Scale, Scale);
            Code.vcvtdq2ps(Min, Min);
            Code.vcvtph2ps(Z(16), __ymmword_ptr[rdx]);
            Code.vcvtph2ps(Z(17), __ymmword_ptr[rdx + 32]);
            Code.vmulps(Scale, Scale, Z(16));
            Code.vmulps(Min, Min, Z(17));
            for (int j = 0; j < 8; j++)
            {
                if (half == 0)
                {
                    Low(Weight(j), __zmmword_ptr[rbp + (j * 64)]);
                }
                else
                {
                    Code.vmovdqu32(Weight(j), __zmmword_ptr[rbp + (j * 64)]);
                    High(Weight(j));
                }
            }

            Block(start: null, Scale, min: true);
        }

        Code.add(rbx, 32);
        Code.add(rbp, 512);
        Code.dec(r15d);
        Code.jnz(pair);
        Code.add(rdx, 2368);
    }
}
