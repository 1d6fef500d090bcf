using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Iced.Intel;
using OpenElm.Inference.Kernels.Assembled;
using OpenElm.Inference.Tiles;
using static Iced.Intel.AssemblerRegisters;

namespace OpenElm.Benchmarks.Kernels;

/// <summary>What the machine can do at best: reading memory, and multiplying numbers that lie in registers.</summary>
internal static unsafe class Limits
{
    static readonly Dictionary<TileFormat, nint> Loops = [];

    /// <summary>Reads memory and nothing else.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Read(byte* from, long bytes)
    {
        Vector512<long> a = default, b = default, c = default, d = default;
        for (byte* end = from + (bytes & ~255L); from < end; from += 256)
        {
            a |= Vector512.Load((long*)from);
            b |= Vector512.Load((long*)(from + 64));
            c |= Vector512.Load((long*)(from + 128));
            d |= Vector512.Load((long*)(from + 192));
        }

        if ((a | b | c | d) == Vector512.Create(0x1234567890L))
        {
            Console.Error.WriteLine("a wonder");
        }
    }

    /// <summary>Multiplies registers: 24 independent sums of the instruction that the format is made for.</summary>
    /// <returns>Multiply-adds that were made.</returns>
    public static double Multiply(TileFormat format, long rounds)
    {
        if (!AssembledKernels.IsSupported)
        {
            return 0;
        }

        nint loop;
        lock (Loops)
        {
            if (!Loops.TryGetValue(format, out loop))
            {
                Loops[format] = loop = Build(format);
            }
        }

        ((delegate* unmanaged<long, void>)loop)(rounds);
        return rounds * 24 * (format == TileFormat.F32 ? 16 : format == TileFormat.BF16 ? 32 : 64);
    }

    static nint Build(TileFormat format)
    {
        var code = new Assembler(64);
        for (int i = 0; i < 32; i++)
        {
            AssemblerRegisterZMM register = new(Register.ZMM0 + i);
            code.vpxord(register, register, register);
        }

        Label again = code.CreateLabel();
        code.Label(ref again);
        for (int i = 0; i < 24; i++)
        {
            AssemblerRegisterZMM sum = new(Register.ZMM0 + i);
            switch (format)
            {
                case TileFormat.F32: code.vfmadd231ps(sum, zmm30, zmm31); break;
                case TileFormat.BF16: code.vdpbf16ps(sum, zmm30, zmm31); break;
                default: code.vpdpbusd(sum, zmm30, zmm31); break;
            }
        }

        code.dec(rdi);
        code.jnz(again);
        code.vzeroupper();
        code.ret();
        using var stream = new MemoryStream();
        code.Assemble(new StreamCodeWriter(stream), 0);
        return ExecutableMemory.Load(stream.ToArray());
    }
}
