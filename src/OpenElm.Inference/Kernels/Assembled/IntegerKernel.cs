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

    // Few rows: the time goes to reading the weights from memory.
    bool Streaming => Rows <= 8;

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
        if (Streaming && format is TileFormat.Int8 or TileFormat.Int4)
        {
            Code.mov(rbp, Field(KernelCall.ScratchAt));
            Code.lea(r14, __[rcx + 1]);
            Code.shr(r14, 1);
            Label line = Here();
            Code.vmovdqu32(Z(16), __zmmword_ptr[rbx]);
            Code.vmovdqu32(__zmmword_ptr[rbp], Z(16));
            Code.add(rbx, 64);
            Code.add(rbp, 64);
            Code.dec(r14);
            Code.jnz(line);
            Code.mov(rbx, Field(KernelCall.ScratchAt));
        }

        Label loop = Here();
        switch (format)
        {
            case TileFormat.Int8: Int8(); break;
            case TileFormat.Int4: Int4(); break;
            case TileFormat.Int8Affine: Affine(); break;
            case TileFormat.Int4K when Streaming: Int4KStream(); break;
            case TileFormat.Int4K: Int4K(); break;
            case TileFormat.Int6K when Rows == 1: Int6KStream(); break;
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

    void Int4KStream()
    {
        Code.mov(rbp, Field(KernelCall.ScratchAt));
        Code.vcvtph2ps(Z(16), __ymmword_ptr[rdx]);
        Code.vcvtph2ps(Z(17), __ymmword_ptr[rdx + 32]);
        for (int i = 0; i < 16; i++)
        {
            Code.vpmovzxbd(Z(18), __xmmword_ptr[rdx + 64 + (i * 16)]);
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
        Block(start: null, min: true);
        for (int j = 0; j < 8; j++)
        {
            Code.vpsrld(Weight(j), Z(8 + j), 4);
            Low(Weight(j), Weight(j));
        }

        Code.vmovups(Scale, __zmmword_ptr[rbp + 64]);
        Code.vmovups(Min, __zmmword_ptr[rbp + 576]);
        Block(start: null, min: true);
        Code.add(rbp, 128);
        Code.add(rdx, 512);
        Code.dec(r15d);
        Code.jnz(pair);
    }

    void Int6KStream()
    {
        // sum 0; dots 1..8; scratch 9..11; d 12; q 13; masks 20, 21; ql 14..19, 22..31
        static AssemblerRegisterZMM Ql(int i) => Z(i < 6 ? 14 + i : 16 + i);
        static AssemblerRegisterZMM Dots(int block, int half) => Z(1 + (2 * block) + half);
        Code.mov(rbp, Field(KernelCall.ScratchAt));
        Code.vcvtph2ps(Z(12), __ymmword_ptr[rdx]);
        for (int i = 0; i < 16; i++)
        {
            Code.vpmovsxbd(Z(9), __xmmword_ptr[rdx + 64 + (i * 16)]);
            Code.vcvtdq2ps(Z(9), Z(9));
            Code.vmulps(Z(9), Z(9), Z(12));
            Code.vmovups(__zmmword_ptr[rbp + (i * 64)], Z(9));
        }

        Code.add(rdx, 320);
        Code.mov(r15d, 2);
        Label again = Here();
        for (int j = 0; j < 16; j++)
        {
            Code.vmovdqu32(Ql(j), __zmmword_ptr[rdx + (j * 64)]);
        }

        for (int j = 0; j < 8; j++)
        {
            Code.vmovdqu32(Z(13), __zmmword_ptr[rdx + 1024 + (j * 64)]);
            for (int block = 0; block < 4; block++)
            {
                AssemblerRegisterZMM dot = Dots(block, j / 4), w = Z(9 + (block % 2)), high = Z(11 + (block % 2));
                if (j % 4 == 0)
                {
                    Code.vpbroadcastd(dot, XWord(0, (block * BlockBytes) + (j == 0 ? StartAt : SecondStartAt)));
                }

                switch (block)
                {
                    case 0: Code.vpslld(high, Z(13), 4); break;
                    case 1: Code.vpslld(high, Z(13), 2); break;
                    case 2: high = Z(13); break;
                    default: Code.vpsrld(high, Z(13), 2); break;
                }

                AssemblerRegisterZMM low = Ql(j + (block % 2 * 8));
                if (block >= 2)
                {
                    Code.vpsrld(w, low, 4);
                }
                else
                {
                    Code.vmovdqa32(w, low);
                }

                Code.vpternlogd(w, high, LowHalf, SelectByThird);
                Code.vpandd(w, w, SixBits);
                Code.vpdpbusd(dot, w, X(0, (block * BlockBytes) + (j * 4)));
            }
        }

        for (int group = 0; group < 8; group++)
        {
            AssemblerRegisterZMM dot = Dots(group / 2, group % 2);
            Code.vcvtdq2ps(dot, dot);
            Code.vmovups(Z(9), __zmmword_ptr[rbp + (group * 64)]);
            Code.vmulps(Z(9), Z(9), X(0, (group / 2 * BlockBytes) + ScaleAt));
            Code.vfmadd231ps(Z(0), dot, Z(9));
        }

        AdvanceX(4 * BlockBytes);
        Code.add(rbp, 512);
        Code.add(rdx, 1536);
        Code.dec(r15d);
        Code.jnz(again);
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
