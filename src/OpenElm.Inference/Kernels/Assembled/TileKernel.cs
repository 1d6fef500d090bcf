using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace OpenElm.Inference.Kernels.Assembled;

/// <summary>
/// Writes the frame that all kernels share: for every group of tiles, sums in registers begin with 0 or y, run along the columns, and go
/// to y. The sum of row t and tile n of the group is <see cref="Sum"/>(t, n).
/// </summary>
/// <param name="rows">Rows of activations that are worked on together.</param>
/// <param name="tiles">Tiles side by side.</param>
internal abstract class TileKernel(int rows, int tiles)
{
    /// <summary>Rows that <see cref="X"/> reaches.</summary>
    public const int MaxRows = 27;

    const int RowsPerBase = 9;

    // Of the ABI's registers, rax is free for the frame, rdi holds the call, and rdx, rbx, rbp, r14, r15 belong to the columns.
    static readonly AssemblerRegister64[] Bases = [rsi, r8, r9];
    static readonly AssemblerRegister64[] Saved = [rbx, rbp, r12, r13, r14, r15];

    /// <summary>The code so far.</summary>
    protected Assembler Code { get; } = new(64);

    /// <summary>Rows.</summary>
    protected int Rows => rows;

    /// <summary>Tiles.</summary>
    protected int Tiles => tiles;

    /// <summary>Writes and loads the kernel.</summary>
    /// <returns>Its entry: takes the address of a <see cref="KernelCall"/>.</returns>
    public nint Build()
    {
        foreach (AssemblerRegister64 register in Saved)
        {
            Code.push(register);
        }

        Code.mov(r10, Field(KernelCall.XStrideAt));
        Code.lea(r11, __[r10 + (r10 * 2)]);
        Code.lea(r12, __[r10 + (r10 * 4)]);
        Code.lea(r13, __[r11 + (r10 * 4)]);
        Prepare();
        Label group = Here();
        Code.mov(Bases[0], Field(KernelCall.XAt));
        for (int b = 1; b * RowsPerBase < rows; b++)
        {
            Code.lea(Bases[b], __[Bases[b - 1] + r10]);
            Code.lea(Bases[b], __[Bases[b] + (r10 * 8)]);
        }

        Begin();
        Columns();
        End();
        Code.mov(rax, Field(KernelCall.GroupStrideAt));
        Code.add(Field(KernelCall.WeightAt), rax);
        Code.add(Field(KernelCall.YAt), tiles * 64);
        Code.dec(Field(KernelCall.GroupsAt));
        Code.jnz(group);
        Code.vzeroupper();
        foreach (AssemblerRegister64 register in Saved.Reverse())
        {
            Code.pop(register);
        }

        Code.ret();
        using var stream = new MemoryStream();
        Code.Assemble(new StreamCodeWriter(stream), 0);
        return ExecutableMemory.Load(stream.GetBuffer().AsSpan(0, (int)stream.Length));
    }

    /// <summary>Writes what happens once a call.</summary>
    protected virtual void Prepare()
    {
    }

    /// <summary>Writes the loop along the columns of a group.</summary>
    protected abstract void Columns();

    /// <summary>The register of a sum.</summary>
    /// <param name="row">Row.</param>
    /// <param name="tile">Tile of the group.</param>
    /// <returns>A register from 0 on.</returns>
    protected AssemblerRegisterZMM Sum(int row, int tile) => Z((row * tiles) + tile);

    /// <summary>A vector register by number.</summary>
    /// <param name="number">0 … 31.</param>
    /// <returns>The register.</returns>
    protected static AssemblerRegisterZMM Z(int number) => new(Register.ZMM0 + number);

    /// <summary>A field of the call.</summary>
    /// <param name="at">Its offset.</param>
    /// <returns>The operand.</returns>
    protected static AssemblerMemoryOperand Field(int at) => __qword_ptr[rdi + at];

    /// <summary>Four bytes of a row of activations, in every lane.</summary>
    /// <param name="row">The row.</param>
    /// <param name="at">Bytes behind the present column.</param>
    /// <returns>The operand.</returns>
    protected static AssemblerMemoryOperand X(int row, int at) => Row(__dword_bcst, row, at);

    /// <summary>The same for instructions that take four bytes from memory.</summary>
    /// <param name="row">The row.</param>
    /// <param name="at">Bytes behind the present column.</param>
    /// <returns>The operand.</returns>
    protected static AssemblerMemoryOperand XWord(int row, int at) => Row(__dword_ptr, row, at);

    // The strides 1, 3, 5 and 7 times the scales of an address reach nine rows from a base.
    static AssemblerMemoryOperand Row(AssemblerMemoryOperandFactory operand, int row, int at)
    {
        AssemblerRegister64 from = Bases[row / RowsPerBase];
        return (row % RowsPerBase) switch
        {
            0 => operand[from + at],
            1 => operand[from + r10 + at],
            2 => operand[from + (r10 * 2) + at],
            3 => operand[from + r11 + at],
            4 => operand[from + (r10 * 4) + at],
            5 => operand[from + r12 + at],
            6 => operand[from + (r11 * 2) + at],
            7 => operand[from + r13 + at],
            _ => operand[from + (r10 * 8) + at],
        };
    }

    /// <summary>Writes: on to later columns of the activations.</summary>
    /// <param name="bytes">How far.</param>
    protected void AdvanceX(int bytes)
    {
        for (int b = 0; b * RowsPerBase < rows; b++)
        {
            Code.add(Bases[b], bytes);
        }
    }

    /// <summary>A label at this place.</summary>
    /// <returns>The label.</returns>
    protected Label Here()
    {
        Label label = Code.CreateLabel();
        Code.Label(ref label);
        return label;
    }

    void Begin()
    {
        Label add = Code.CreateLabel(), done = Code.CreateLabel();
        Code.cmp(Field(KernelCall.AddAt), 0);
        Code.jnz(add);
        ForEachSum((sum, _) => Code.vpxord(sum, sum, sum));
        Code.jmp(done);
        Code.Label(ref add);
        ForEachSum((sum, y) => Code.vmovups(sum, y));
        Code.Label(ref done);
    }

    void End() => ForEachSum((sum, y) => Code.vmovups(y, sum));

    void ForEachSum(Action<AssemblerRegisterZMM, AssemblerMemoryOperand> write)
    {
        Code.mov(rax, Field(KernelCall.YAt));
        for (int row = 0; row < rows; row++)
        {
            for (int tile = 0; tile < tiles; tile++)
            {
                write(Sum(row, tile), __zmmword_ptr[rax + (tile * 64)]);
            }

            if (row < rows - 1)
            {
                Code.add(rax, Field(KernelCall.YStrideAt));
            }
        }
    }
}
