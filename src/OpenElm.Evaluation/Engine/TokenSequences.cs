using System.Collections.Immutable;
using System.IO.Hashing;
using System.Runtime.InteropServices;

namespace OpenElm.Evaluation.Engine;

/// <summary>Equality and order of token sequences: what begins alike stands together.</summary>
internal sealed class TokenSequences : IEqualityComparer<ImmutableArray<int>>, IComparer<ImmutableArray<int>>
{
    public static TokenSequences Comparer { get; } = new();

    public bool Equals(ImmutableArray<int> x, ImmutableArray<int> y) => x.AsSpan().SequenceEqual(y.AsSpan());

    public int GetHashCode(ImmutableArray<int> obj) => (int)XxHash3.HashToUInt64(MemoryMarshal.AsBytes(obj.AsSpan()));

    public int Compare(ImmutableArray<int> x, ImmutableArray<int> y) => x.AsSpan().SequenceCompareTo(y.AsSpan());

    /// <summary>How many tokens two sequences have in common at the beginning.</summary>
    public static int Shared(ImmutableArray<int> x, ImmutableArray<int> y) => x.AsSpan().CommonPrefixLength(y.AsSpan());
}
