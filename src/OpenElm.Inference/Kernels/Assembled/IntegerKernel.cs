using Iced.Intel;
using OpenElm.Inference.Tiles;
using static Iced.Intel.AssemblerRegisters;

namespace OpenElm.Inference.Kernels.Assembled;

/// <summary>
/// Products with quantised tiles. The 32 columns of a block are unpacked into eight registers, unsigned, once for all rows; then every row
/// takes eight vpdpbusd with its activations in every lane, converts the sum, and adds it times both scales. The integer sums of
/// different rows do not depend on each other, so one register is enough for them: the processor renames it.
/// </summary>
/// <remarks>
/// What was tried (one core of an AMD EPYC, Zen 4, 3.7 GHz, 2026-11-25; kernel lab of the benchmarks).
/// Many rows: a block of a row is 8 vpdpbusd, 1 multiplication and 1 addition (2 with a minimum) for the same two units, so 80 % (73 %) of the
/// peak of 236 G multiply-adds a second is all there is; 77 % (68 %) are reached. Two tiles by seven rows with sums of both kinds
/// in registers is no faster, and unpacks 4 bits more often. Sizes baked into the code could only save scalar instructions, which wait for nothing.
/// One row: the time goes to reading memory, and decides itself by the order of the loads. The prefetchers follow a kernel that loads every
/// line of a tile once and in its order, to 95-105 % of plain reading. What broke it: scales in a section of their own in front of the
/// tile (Int4 25 %, Int8 60 % of plain reading; copying them first 85 %), a line loaded in two halves (Int8 90 %), low and high parts of 6 bits
/// a kilobyte apart (45 %), 24 loads in a row before the arithmetic (55 %). Prefetch instructions at any distance lost against the
/// hardware; reading ahead by plain loads, too.
/// </remarks>
/// <param name="format">An integer format.</param>
/// <param name="rows">Rows together, at most <see cref="MostRows"/>.</param>
internal sealed partial class IntegerKernel(TileFormat format, int rows) : TileKernel(rows, 1)
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
