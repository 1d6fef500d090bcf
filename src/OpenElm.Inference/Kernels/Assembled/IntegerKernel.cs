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

    /// <summary>With more rows than these, reading the weights from memory and multiplying do not overlap well.</summary>
    /// <param name="format">The format.</param>
    /// <returns>Rows.</returns>
    public static int RowsFromMemory(TileFormat format) => format switch
    {
        TileFormat.Int8 or TileFormat.Int8Affine => 5,
        TileFormat.Int6K => 2,
        _ => 4,
    };

    const int ScaleAt = 32, ScaledSumAt = 36, StartAt = 40, SecondStartAt = 44; // in ActivationBlock
    const int BlockBytes = 48;

    bool Streaming => Rows <= RowsFromMemory(format);

    static readonly AssemblerRegisterZMM LowHalf = Z(20), EvenPairs = Z(21), Min = Z(22), SecondScale = Z(22), Scale = Z(23);

    /// <inheritdoc/>
    protected override void Prepare()
    {
        Fill(LowHalf, 0x0F0F0F0F);
        Fill(EvenPairs, 0x33333333);

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
        Code.mov(rcx, Field(KernelCall.StepsAt));
        if (format is TileFormat.Int8 or TileFormat.Int4)
        {
            Pairs();
            return;
        }

        Label loop = Here();
        switch (format)
        {
            case TileFormat.Int8Affine: Affine(); break;
            case TileFormat.Int4K when Streaming: Int4KStream(); break;
            case TileFormat.Int4K: Int4K(); break;
            case TileFormat.Int6K when Streaming: Int6KStream(); break;
            default: Int6K(); break;
        }

        Code.dec(rcx);
        Code.jnz(loop);
    }

    // Two blocks that share a line of scales, and perhaps one more.
    void Pairs()
    {
        Label rest = Code.CreateLabel(), done = Code.CreateLabel();
        Code.sub(rcx, 2);
        Code.jl(rest);
        Label loop = Here();
        Code.vcvtph2ps(Scale, __ymmword_ptr[rdx]);
        Code.vcvtph2ps(SecondScale, __ymmword_ptr[rdx + 32]);
        OfPair(0, Scale);
        OfPair(1, SecondScale);
        Code.add(rdx, format == TileFormat.Int8 ? 1088 : 576);
        Code.sub(rcx, 2);
        Code.jge(loop);
        Code.Label(ref rest);
        Code.add(rcx, 2);
        Code.jz(done);
        Code.vcvtph2ps(Scale, __ymmword_ptr[rdx]);
        OfPair(0, Scale);
        Code.Label(ref done);

        void OfPair(int block, AssemblerRegisterZMM scale)
        {
            for (int j = 0; j < 8; j++)
            {
                AssemblerMemoryOperand quants = __zmmword_ptr[rdx + format.QuantsAt(block) + (j * 64)];
                if (format == TileFormat.Int8)
                {
                    Code.vmovdqu32(Weight(j), quants);
                }
                else if (j < 4)
                {
                    Code.vmovdqu32(Weight(j + 4), quants);
                    Low(Weight(j), Weight(j + 4));
                    High(Weight(j + 4));
                }
            }

            Block(StartAt, scale);
        }
    }

    void Affine()
    {
        Code.vmovups(Scale, __zmmword_ptr[rdx]);
        Code.vmovups(Min, __zmmword_ptr[rdx + 64]);
        for (int j = 0; j < 8; j++)
        {
            Code.vmovdqu32(Weight(j), __zmmword_ptr[rdx + 128 + (j * 64)]);
        }

        Block(start: null, Scale, min: true);
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

            Block(start: null, Scale, min: true);
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

    // One or two rows: all eight sums of 128 columns are open at once, so that every vector of weights is loaded once.
    void Int6KStream()
    {
        // 0, 1: sums; 2-17: dots; the others have names
        (AssemblerRegisterZMM w, AssemblerRegisterZMM low01, AssemblerRegisterZMM high23) = (Z(18), Z(23), Z(24));
        (AssemblerRegisterZMM scale, AssemblerRegisterZMM scales, AssemblerRegisterZMM d) = (Z(30), Z(31), Z(29));
        AssemblerRegisterZMM[] ql = [Z(19), Z(22)];
        static AssemblerRegisterZMM Dots(int row, int group) => Z(2 + (8 * row) + group);
        Code.vcvtph2ps(d, __ymmword_ptr[rdx]);
        for (int i = 0; i < 4; i++)
        {
            Code.vmovdqu32(Z(25 + i), __zmmword_ptr[rdx + 64 + (i * 64)]);
        }

        for (int half = 0; half < 2; half++)
        {
            for (int j = 0; j < 8; j++)
            {
                int at = 320 + (half * 1536) + (j * 192);
                Code.vmovdqu32(ql[0], __zmmword_ptr[rdx + at]);
                Code.vmovdqu32(ql[1], __zmmword_ptr[rdx + at + 64]);
                Code.vmovdqu32(high23, __zmmword_ptr[rdx + at + 128]);
                Code.vpandd(low01, high23, EvenPairs);
                Code.vpandnd(high23, EvenPairs, high23);
                for (int block = 0; block < 4; block++)
                {
                    switch (block)
                    {
                        case 0: Code.vpslld(w, low01, 4); break;
                        case 1: Code.vpslld(w, high23, 2); break;
                        case 3: Code.vpsrld(high23, high23, 2); break;
                        default: break;
                    }

                    if (block < 2)
                    {
                        Code.vpternlogd(w, ql[block % 2], LowHalf, SecondByThird);
                    }
                    else
                    {
                        Code.vpsrld(w, ql[block % 2], 4);
                        Code.vpternlogd(w, block == 2 ? low01 : high23, LowHalf, FirstByThird);
                    }

                    for (int row = 0; row < Rows; row++)
                    {
                        AssemblerRegisterZMM dot = Dots(row, (2 * block) + (j / 4));
                        if (j % 4 == 0)
                        {
                            Code.vpbroadcastd(dot, XWord(row, (block * BlockBytes) + (j == 0 ? StartAt : SecondStartAt)));
                        }

                        Code.vpdpbusd(dot, w, X(row, (block * BlockBytes) + (j * 4)));
                    }
                }
            }

            for (int group = 0; group < 8; group++)
            {
                AssemblerRegisterXMM bytes = new(Register.XMM0 + 30);
                Code.vextracti32x4(bytes, Z(25 + (2 * half) + (group / 4)), (byte)(group % 4));
                Code.vpmovsxbd(scale, bytes);
                Code.vcvtdq2ps(scale, scale);
                Code.vmulps(scale, scale, d);
                for (int row = 0; row < Rows; row++)
                {
                    AssemblerRegisterZMM dot = Dots(row, group);
                    Code.vcvtdq2ps(dot, dot);
                    Code.vmulps(scales, scale, X(row, (group / 2 * BlockBytes) + ScaleAt));
                    Code.vfmadd231ps(Sum(row, 0), dot, scales);
                }
            }

            AdvanceX(4 * BlockBytes);
        }

        Code.add(rdx, 3392);
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
            for (int j = 0; j < 8; j++)
            {
                (AssemblerRegisterZMM w, AssemblerRegisterZMM high) = (Weight(j), block < 2 ? Weight(j) : Z(16 + (j % 4)));
                AssemblerMemoryOperand ql = __zmmword_ptr[rbp + (block % 2 * 64) + (j * 192)], qh = __zmmword_ptr[rbp + 128 + (j * 192)];
                if (block % 2 == 0)
                {
                    Code.vpandd(high, EvenPairs, qh);
                }
                else
                {
                    Code.vpandnd(high, EvenPairs, qh);
                }

                switch (block)
                {
                    case 0: Code.vpslld(high, high, 4); break;
                    case 1: Code.vpslld(high, high, 2); break;
                    case 3: Code.vpsrld(high, high, 2); break;
                    default: break;
                }

                if (block < 2)
                {
                    Code.vpternlogd(w, LowHalf, ql, ThirdBySecond);
                }
                else
                {
                    Code.vpsrld(w, ql, 4);
                    Code.vpternlogd(w, high, LowHalf, FirstByThird);
                }
            }

            Code.vcvtph2ps(Z(16), __ymmword_ptr[rdx]);
            GroupScale(Scale, 2 * block);
            GroupScale(SecondScale, (2 * block) + 1);
            for (int row = 0; row < Rows; row++)
            {
                Dot(row, StartAt, 0, 4, Scale);
                Dot(row, SecondStartAt, 4, 8, SecondScale);
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

    // Tables of vpternlogd, bit by bit: third ? first : second; third ? second : first; second ? third : first.
    const byte FirstByThird = 0xE4, SecondByThird = 0xD8, ThirdBySecond = 0xB8;

    void Block(int? start, AssemblerRegisterZMM scale, bool min = false)
    {
        for (int row = 0; row < Rows; row++)
        {
            Dot(row, start, 0, 8, scale);
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
