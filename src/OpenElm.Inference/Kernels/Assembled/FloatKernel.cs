using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace OpenElm.Inference.Kernels.Assembled;

/// <summary>
/// Products with tiles of floats, or of pairs of bfloat16: one vector of 16 outputs a step, and one number (or pair) of every row.
/// </summary>
/// <remarks>
/// One core of an AMD EPYC (Zen 4), 2026-11-25: 24 rows by one tile with the activation as the broadcast operand of the product run at 95 % of one
/// product a cycle (F32 111 GFLOP/s, BF16 111 G multiply-adds a second). Few rows take more tiles side by side, to have enough sums that do not wait
/// for each other. The instruction for BF16 doubles the rate; the same from intrinsics would widen to floats first.
/// </remarks>
/// <param name="pairs">Whether a step is a pair of bfloat16 (vdpbf16ps) and not a float.</param>
/// <param name="rows">Rows together.</param>
/// <param name="tiles">Tiles side by side; rows · tiles is at most 26.</param>
internal sealed class FloatKernel(bool pairs, int rows, int tiles) : TileKernel(rows, tiles)
{
    /// <summary>With more rows than these, reading the weights from memory and multiplying do not overlap well.</summary>
    public const int RowsFromMemory = 6;

    const int Unrolled = 4;

    static readonly AssemblerRegister64[] Weights = [rdx, rbx, rbp, r14];

    /// <inheritdoc/>
    protected override void Prepare() => Code.mov(r15, Field(KernelCall.StepStrideAt));

    /// <inheritdoc/>
    protected override void Columns()
    {
        Code.mov(Weights[0], Field(KernelCall.WeightAt));
        for (int tile = 1; tile < Tiles; tile++)
        {
            Code.mov(Weights[tile], Weights[tile - 1]);
            Code.add(Weights[tile], Field(KernelCall.TileStrideAt));
        }

        Label rest = Code.CreateLabel(), done = Code.CreateLabel();
        Code.mov(rcx, Field(KernelCall.StepsAt));
        Code.sub(rcx, Unrolled);
        Code.jl(rest);
        Label loop = Here();
        for (int step = 0; step < Unrolled; step++)
        {
            Step(step * 4);
        }

        AdvanceX(Unrolled * 4);
        Code.sub(rcx, Unrolled);
        Code.jge(loop);
        Code.Label(ref rest);
        Code.add(rcx, Unrolled);
        Code.jz(done);
        Label one = Here();
        Step(0);
        AdvanceX(4);
        Code.dec(rcx);
        Code.jnz(one);
        Code.Label(ref done);
    }

    void Step(int at)
    {
        AssemblerRegisterZMM x = Z(31);
        for (int tile = 0; tile < Tiles; tile++)
        {
            Code.vmovups(Z(30 - tile), __zmmword_ptr[Weights[tile]]);
            Code.add(Weights[tile], r15);
        }

        for (int row = 0; row < Rows; row++)
        {
            if (Tiles > 1)
            {
                Code.vpbroadcastd(x, XWord(row, at)); // twice as fast as vbroadcastss here
            }

            for (int tile = 0; tile < Tiles; tile++)
            {
                (AssemblerRegisterZMM sum, AssemblerRegisterZMM w) = (Sum(row, tile), Z(30 - tile));
                switch (pairs, Tiles)
                {
                    case (false, 1): Code.vfmadd231ps(sum, w, X(row, at)); break;
                    case (false, _): Code.vfmadd231ps(sum, w, x); break;
                    case (true, 1): Code.vdpbf16ps(sum, w, X(row, at)); break;
                    default: Code.vdpbf16ps(sum, w, x); break;
                }
            }
        }
    }
}
