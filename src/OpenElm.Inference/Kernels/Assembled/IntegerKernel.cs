using Iced.Intel;
using OpenElm.Inference.Tiles;
using static Iced.Intel.AssemblerRegisters;

namespace OpenElm.Inference.Kernels.Assembled;

/// <summary>
/// Products with quantised tiles. The 32 columns of a block are unpacked into eight registers, unsigned, once for all rows; then every row
/// takes eight vpdpbusd with its activations in every lane, converts the sum, and adds it times both scales. The integer sums of
/// different rows do not depend on each other, so one register is enough for them: the processor renames it.
/// </summary>
/// <param name="format">An integer format.</param>
/// <param name="rows">Rows together, at most <see cref="MostRows"/>.</param>
internal sealed class IntegerKernel(TileFormat format, int rows) : TileKernel(rows, 1)
{
    /// <summary>More rows than these do not fit beside the weights.</summary>
    public const int MostRows = 16;

    const int ScaleAt = 32, ScaledSumAt = 36, StartAt = 40, SecondStartAt = 44; // in ActivationBlock
    const int BlockBytes = 48;

    static readonly AssemblerRegisterZMM LowHalf = Z(20), SixBits = Z(21), Min = Z(22), Scale = Z(23);

    /// <inheritdoc/>
    protected override void Prepare()
    {
        Fill(LowHalf, 0x0F0F0F0F);
        Fill(SixBits, 0x3F3F3F3F);

        void Fill(AssemblerRegisterZMM register, int value)
        {
            Code.mov(eax, value);
            Code.vpbroadcastd(register, eax);
        }
    }

    /// <inheritdoc/>
    protected override void Columns()
    {
        Code.mov(rdx, Field(KernelCall.WeightAt));
        Code.mov(rbx, Field(KernelCall.ScalesAt));
        Code.mov(rcx, Field(KernelCall.StepsAt));
        Label loop = Here();
        switch (format)
        {
            case TileFormat.Int8: Int8(); break;
            case TileFormat.Int4: Int4(); break;
            case TileFormat.Int8Affine: Affine(); break;
            case TileFormat.Int4K: Int4K(); break;
            default: Int6K(); break;
        }

        Code.dec(rcx);
        Code.jnz(loop);
    }

    void Int8()
    {
        Code.vcvtph2ps(Scale, __ymmword_ptr[rbx]);
        for (int j = 0; j < 8; j++)
        {
            Code.vmovdqu32(Weight(j), __zmmword_ptr[rdx + (j * 64)]);
        }

        Block(StartAt);
        Code.add(rdx, 512);
        Code.add(rbx, 32);
    }

    void Int4()
    {
        Code.vcvtph2ps(Scale, __ymmword_ptr[rbx]);
        for (int j = 0; j < 4; j++)
        {
            Code.vmovdqu32(Weight(j + 4), __zmmword_ptr[rdx + (j * 64)]);
            Low(Weight(j), Weight(j + 4));
            High(Weight(j + 4));
        }

        Block(StartAt);
        Code.add(rdx, 256);
        Code.add(rbx, 32);
    }

    void Affine()
    {
        Code.vmovups(Scale, __zmmword_ptr[rdx]);
        Code.vmovups(Min, __zmmword_ptr[rdx + 64]);
        for (int j = 0; j < 8; j++)
        {
            Code.vmovdqu32(Weight(j), __zmmword_ptr[rdx + 128 + (j * 64)]);
        }

        Block(start: null, min: true);
        Code.add(rdx, 640);
    }

    // rdx: the block of 256 columns, rbx: scales, rbp: numbers of the present 64 columns.
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

            Block(start: null, min: true);
        }

        Code.add(rbx, 32);
        Code.add(rbp, 512);
        Code.dec(r15d);
        Code.jnz(pair);
        Code.add(rdx, 2368);
    }

    // rdx: the block of 256 columns, rbx: scales, rbp: numbers of the present 128 columns.
    void Int6K()
    {
        Code.lea(rbx, __[rdx + 64]);
        Code.lea(rbp, __[rdx + 320]);
        Code.mov(r15d, 2);
        Label half = Here();
        for (int block = 0; block < 4; block++)
        {
            // Weight = low four bits of ql or its high half, over two bits of qh that are shifted to bits 4 and 5.
            for (int j = 0; j < 8; j++)
            {
                AssemblerRegisterZMM w = Weight(j), high = Z(16 + (j % 4));
                Code.vmovdqu32(w, __zmmword_ptr[rbp + (block % 2 * 512) + (j * 64)]);
                AssemblerMemoryOperand bits = __zmmword_ptr[rbp + 1024 + (j * 64)];
                switch (block)
                {
                    case 0: Code.vpslld(high, bits, 4); break;
                    case 1: Code.vpslld(high, bits, 2); break;
                    case 2: Code.vmovdqu32(high, bits); break;
                    default: Code.vpsrld(high, bits, 2); break;
                }

                if (block >= 2)
                {
                    Code.vpsrld(w, w, 4);
                }

                Code.vpternlogd(w, high, LowHalf, SelectByThird);
                Code.vpandd(w, w, SixBits);
            }

            Code.vcvtph2ps(Z(16), __ymmword_ptr[rdx]);
            GroupScale(Scale, 2 * block);
            GroupScale(Min, (2 * block) + 1); // a second scale: this format has no minimum
            for (int row = 0; row < Rows; row++)
            {
                Dot(row, StartAt, 0, 4, Scale);
                Dot(row, SecondStartAt, 4, 8, Min);
            }

            AdvanceX(BlockBytes);
        }

        Code.add(rbx, 128);
        Code.add(rbp, 1536);
        Code.dec(r15d);
        Code.jnz(half);
        Code.add(rdx, 3392);

        void GroupScale(AssemblerRegisterZMM scale, int group)
        {
            Code.vpmovsxbd(scale, __xmmword_ptr[rbx + (group * 16)]);
            Code.vcvtdq2ps(scale, scale);
            Code.vmulps(scale, scale, Z(16));
        }
    }

    // first = third ? first : second, bit by bit.
    const byte SelectByThird = 0xE4;

    void Block(int? start, bool min = false)
    {
        for (int row = 0; row < Rows; row++)
        {
            Dot(row, start, 0, 8, Scale);
            if (!min)
            {
                continue;
            }

            if (format == TileFormat.Int4K)
            {
                Code.vfnmadd231ps(Sum(row, 0), Min, X(row, ScaledSumAt)); // stored with the opposite sign
            }
            else
            {
                Code.vfmadd231ps(Sum(row, 0), Min, X(row, ScaledSumAt));
            }
        }

        AdvanceX(BlockBytes);
    }

    // Sum += float(start + Σ weights j · activations) · (scale · the row's scale).
    void Dot(int row, int? start, int first, int end, AssemblerRegisterZMM scale)
    {
        (AssemblerRegisterZMM dot, AssemblerRegisterZMM scales) = row % 2 == 0 ? (Z(16), Z(17)) : (Z(18), Z(19));
        if (start is { } at)
        {
            Code.vpbroadcastd(dot, XWord(row, at));
        }
        else
        {
            Code.vpxord(dot, dot, dot);
        }

        for (int j = first; j < end; j++)
        {
            Code.vpdpbusd(dot, Weight(j), X(row, j * 4));
        }

        Code.vcvtdq2ps(dot, dot);
        Code.vmulps(scales, scale, X(row, ScaleAt));
        Code.vfmadd231ps(Sum(row, 0), dot, scales);
    }

    void Low(AssemblerRegisterZMM to, AssemblerRegisterZMM from) => Code.vpandd(to, from, LowHalf);

    void Low(AssemblerRegisterZMM to, AssemblerMemoryOperand from) => Code.vpandd(to, LowHalf, from);

    void High(AssemblerRegisterZMM register)
    {
        Code.vpsrld(register, register, 4);
        Code.vpandd(register, register, LowHalf);
    }

    static AssemblerRegisterZMM Weight(int j) => Z(24 + j);
}
