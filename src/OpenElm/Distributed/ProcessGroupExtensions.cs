using System.Runtime.CompilerServices;
using System.Text;

namespace OpenElm.Distributed;

/// <summary>Exchanges of small values, made of those of <see cref="IProcessGroup"/>; all of them wait.</summary>
public static unsafe class ProcessGroupExtensions
{
    /// <summary>Waits for all ranks.</summary>
    /// <param name="group">The ranks.</param>
    public static void Barrier(this IProcessGroup group) => group.AllGather<byte>([0]);

    /// <summary>Puts equally many values of all ranks together.</summary>
    /// <typeparam name="T">Their type.</typeparam>
    /// <param name="group">The ranks.</param>
    /// <param name="values">This rank's.</param>
    /// <returns>[size · count] in the order of the ranks.</returns>
    public static T[] AllGather<T>(this IProcessGroup group, ReadOnlySpan<T> values)
        where T : unmanaged
    {
        ArgumentNullException.ThrowIfNull(group);
        T[] all = new T[group.Size * values.Length];
        values.CopyTo(all.AsSpan(group.Rank * values.Length));
        fixed (T* data = all)
        {
            group.StartAllGather((nint)data, (long)values.Length * Unsafe.SizeOf<T>()).Wait();
        }

        return all;
    }

    /// <summary>Sums whole numbers over all ranks.</summary>
    /// <param name="group">The ranks.</param>
    /// <param name="values">This rank's.</param>
    /// <returns>The sums.</returns>
    public static long[] Sum(this IProcessGroup group, params ReadOnlySpan<long> values)
    {
        long[] all = group.AllGather(values), sums = new long[values.Length];
        for (int i = 0; i < all.Length; i++)
        {
            sums[i % sums.Length] += all[i];
        }

        return sums;
    }

    /// <summary>Puts texts of all ranks together.</summary>
    /// <param name="group">The ranks.</param>
    /// <param name="text">This rank's.</param>
    /// <returns>One for each rank.</returns>
    public static string[] AllGather(this IProcessGroup group, string text)
    {
        byte[] bytes = Encoding.UTF8.GetBytes(text);
        int[] lengths = group.AllGather([bytes.Length]);
        int longest = lengths.Max();
        byte[] all = group.AllGather<byte>([.. bytes, .. new byte[longest - bytes.Length]]);
        return [.. lengths.Select((length, rank) => Encoding.UTF8.GetString(all, rank * longest, length))];
    }

    /// <summary>Tells all ranks a text that one has.</summary>
    /// <param name="group">The ranks.</param>
    /// <param name="text">The text; of no meaning on other ranks.</param>
    /// <param name="root">The rank that has it.</param>
    /// <returns>The text.</returns>
    public static string Broadcast(this IProcessGroup group, string text, int root = 0)
    {
        ArgumentNullException.ThrowIfNull(group);
        byte[] bytes = Encoding.UTF8.GetBytes(text);
        bytes = new byte[group.AllGather([bytes.Length])[root]] is var room && group.Rank == root ? bytes : room;
        fixed (byte* data = bytes)
        {
            group.StartBroadcast((nint)data, bytes.Length, root).Wait();
        }

        return Encoding.UTF8.GetString(bytes);
    }

    /// <summary>Lets the first rank do something while the others wait, however long it takes.</summary>
    /// <param name="group">The ranks; null is a single one.</param>
    /// <param name="work">The work.</param>
    public static void OnFirstRank(this IProcessGroup? group, Action work)
    {
        ArgumentNullException.ThrowIfNull(work);
        if (group is null)
        {
            work();
            return;
        }

        if (group.Rank == 0)
        {
            work();
        }

        TimeSpan patience = group.Patience;
        group.Patience = Timeout.InfiniteTimeSpan;
        group.Barrier();
        group.Patience = patience;
    }

    /// <summary>Whether this process writes files, logs and reports: the first rank, or one that is alone.</summary>
    /// <param name="group">The ranks; null is a single one.</param>
    /// <returns>Whether.</returns>
    public static bool IsFirst(this IProcessGroup? group) => group is null or { Rank: 0 };
}
