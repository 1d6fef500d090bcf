using System.Text;
using OpenElm.Inference.Constraints;

namespace OpenElm.Inference.Tests.Constraints;

public sealed class AutomatonTests
{
    [Fact]
    public void Bytes_of_a_character_pass_exactly_if_it_is_in_the_set()
    {
        var random = new Random(3);
        int[] borders = [0, 0x7F, 0x80, 0x7FF, 0x800, 0xD7FF, 0xE000, 0xFFFF, 0x10000, 0x10FFFF];
        for (int round = 0; round < 6; round++)
        {
            var ranges = Enumerable.Range(0, 3).Select(_ =>
            {
                int Any() => random.Next(2) == 0 ? borders[random.Next(borders.Length)] : random.Next(0x110000);
                (int a, int b) = (Any(), Any());
                return (Math.Min(a, b), Math.Max(a, b));
            }).Append((0x41, 0x41)).ToList();
            var automaton = new Automaton(NfaBuilder.Build(new Pattern.Characters(CodePoints.Of(ranges))));
            byte[] bytes = new byte[4];
            for (int value = 0; value <= 0x10FFFF; value++)
            {
                if (value is >= 0xD800 and <= 0xDFFF)
                {
                    continue;
                }

                AutomatonState? state = automaton.Start;
                foreach (byte b in bytes.AsSpan(0, new Rune(value).EncodeToUtf8(bytes)))
                {
                    if (!automaton.TryStep(state, b, out state))
                    {
                        break;
                    }
                }

                if (state is { IsFinal: true } != ranges.Any(range => range.Item1 <= value && value <= range.Item2))
                {
                    Assert.Fail($"U+{value:X}: {string.Join(", ", ranges)}");
                }
            }
        }
    }

    [Fact]
    public void Broken_utf8_never_passes()
    {
        var automaton = new Automaton(OutputConstraint.Regex(@"[\s\S]*").Nfa);
        var random = new Random(1);
        for (int i = 0; i < 20_000; i++)
        {
            byte[] bytes = new byte[random.Next(1, 5)];
            random.NextBytes(bytes);
            AutomatonState? state = automaton.Start;
            foreach (byte value in bytes)
            {
                if (!automaton.TryStep(state, value, out state))
                {
                    break;
                }
            }

            bool valid = System.Text.Unicode.Utf8.IsValid(bytes);
            Assert.Equal(valid, state is { IsAccepting: true });
        }
    }

    [Fact]
    public void Forgotten_states_change_nothing()
    {
        // The classic expression whose automaton has 2¹¹ states.
        Nfa nfa = OutputConstraint.Regex("(a|b)*a(a|b){10}").Nfa;
        Automaton small = new(nfa, mostStates: 5), large = new(nfa);
        AutomatonState inSmall = small.Start, inLarge = large.Start;
        var random = new Random(2);
        for (int i = 0; i < 5000; i++)
        {
            byte value = (byte)"ab"[random.Next(2)];
            inSmall = small.Current(inSmall);
            Assert.True(small.TryStep(inSmall, value, out inSmall!));
            Assert.True(large.TryStep(inLarge, value, out inLarge!));
            Assert.Equal(inLarge.IsAccepting, inSmall.IsAccepting);
            Assert.InRange(small.Count, 0, 7);
        }

        Assert.InRange(large.Count, 500, 2100);
    }

    [Theory]
    [InlineData("Once upon a (time|day), .*", false)]
    [InlineData("[a-z ]{3,}x|\n+", false)]
    [InlineData("[a-z ]{3,}x|\n+", true)]
    [InlineData("  ?The", true)]
    public void Masks_are_those_of_walking_every_token(string expression, bool atStart)
    {
        TokenMasks masks = RandomOutputs.Masks(OutputConstraint.Regex(expression));
        var automaton = new Automaton(OutputConstraint.Regex(expression).Nfa);
        var random = new Random(6);
        AutomatonState plain = automaton.Start, state = masks.Start;
        for (int step = 0; step < 20; step++, atStart = false)
        {
            ReadOnlySpan<ulong> mask = masks.Mask(state, atStart);
            var allowed = new List<int>();
            for (int id = 0; id < RandomOutputs.Tokenizer.PieceCount; id++)
            {
                bool expected = id == RandomOutputs.Tokenizer.EosId ? plain.IsAccepting : Walk(automaton, plain, Bytes(id, atStart)) is not null;
                Assert.True(expected == ((mask[id / 64] >> (id % 64) & 1) != 0), $"token {id} '{RandomOutputs.Tokenizer.PieceOf(id)}' at step {step}");
                if (expected && id != RandomOutputs.Tokenizer.EosId)
                {
                    allowed.Add(id);
                }
            }

            if (allowed is [])
            {
                return;
            }

            int token = allowed[random.Next(allowed.Count)];
            (plain, state) = (Walk(automaton, plain, Bytes(token, atStart))!, masks.Step(state, token, atStart));
        }
    }

    static byte[] Bytes(int id, bool atStart)
    {
        byte[] bytes = RandomOutputs.Tokenizer.SurfaceOf(id);
        return atStart && RandomOutputs.Tokenizer.PieceOf(id)[0] == '▁' ? bytes[1..] : bytes;
    }

    static AutomatonState? Walk(Automaton automaton, AutomatonState state, byte[] bytes)
    {
        AutomatonState? next = bytes is [] ? null : state; // what writes nothing leads nowhere
        foreach (byte value in bytes)
        {
            if (!automaton.TryStep(next!, value, out next))
            {
                return null;
            }
        }

        return next;
    }
}
