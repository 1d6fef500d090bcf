using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace OpenElm.Inference.Kernels.Assembled;

/// <content>Blocks of 256 columns with 6 bits: 4 of them beside 2 of them, and a scale for every 16 columns.</content>
internal sealed partial class IntegerKernel
{
    // Tables of vpternlogd, bit by bit: third ? first : second; third ? second : first; second ? third : first.
    const byte FirstByThird = 0xE4, SecondByThird = 0xD8, ThirdBySecond = 0xB8;

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
}
