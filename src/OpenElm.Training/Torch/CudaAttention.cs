using System.Runtime.InteropServices;
using static TorchSharp.torch;

namespace OpenElm.Training.Torch;

/// <summary>
/// Causal attention on a GPU without autograd, by libtorch's plain-C functions of single operators: <see cref="Dispatcher"/> cannot return tensors and numbers in one list.
/// Queries, keys and values may be views; heads of keys and values are fewer than those of queries.
/// </summary>
internal static unsafe partial class CudaAttention
{
    const string Library = NativeNames.TorchCuda;

    /// <summary>Attention by cuDNN, with what its backward pass needs.</summary>
    /// <param name="q">[batch, queryHeads, seq, headDim].</param>
    /// <param name="k">[batch, kvHeads, seq, headDim].</param>
    /// <param name="v">[batch, kvHeads, seq, headDim].</param>
    /// <returns>[batch, queryHeads, seq, headDim], logarithms of sums, and what else the library wants back.</returns>
    public static AttentionResult Cudnn(Tensor q, Tensor k, Tensor v)
    {
        nint* results = stackalloc nint[9];
        Check(CudnnForward(
            q.Handle, k.Handle, v.Handle, 0, 1, 0, 1, 0, 0, out results[0], out results[1], out results[2], out results[3], out long longestQuery, out long longestKey, out results[6], out results[7], out results[8]));
        return new(Take(results[0]), Take(results[1]), Take(results[2]), Take(results[3]), longestQuery, longestKey, Take(results[6]), Take(results[7]), Take(results[8]));
    }

    /// <summary>The gradients of <see cref="Cudnn"/>.</summary>
    /// <returns>As q, k and v.</returns>
    public static (Tensor Q, Tensor K, Tensor V) CudnnGradients(Tensor dy, Tensor q, Tensor k, Tensor v, AttentionResult forward)
    {
        using Tensor none = None();
        Check(CudnnBackward(
            dy.Handle, q.Handle, k.Handle, v.Handle, forward.Output.Handle, forward.LogSumExp.Handle, forward.Seed.Handle, forward.Offset.Handle, none.Handle, forward.QueryStarts.Handle, forward.KeyStarts.Handle,
            forward.LongestQuery, forward.LongestKey, 0, 1, 0, out nint dq, out nint dk, out nint dv));
        return (Take(dq), Take(dk), Take(dv));
    }

    /// <summary>Flash attention, with what its backward pass needs; of records that stand one after the other, if there are any.</summary>
    /// <param name="q">[batch, seq, queryHeads, headDim]; of records [tokens, queryHeads, headDim].</param>
    /// <param name="k">[batch, seq, kvHeads, headDim]; of records [tokens, kvHeads, headDim].</param>
    /// <param name="v">As <paramref name="k"/>.</param>
    /// <param name="starts">[records + 1]: where each begins, then where the last ends; int32. Null without records.</param>
    /// <param name="longest">Tokens of the longest record or sequence.</param>
    /// <returns>As q, logarithms of sums, and what else the library wants back.</returns>
    public static AttentionResult Flash(Tensor q, Tensor k, Tensor v, Tensor? starts, long longest)
    {
        nint first = starts?.Handle ?? 0;
        nint* records = starts is null ? null : &first;
        Check(FlashForward(
            q.Handle, k.Handle, v.Handle, records, records, longest, longest, 0, 1, 0, 0, 0, 0, 0, 0, out nint output, out nint logSumExp, out nint state, out nint unused, out nint mask));
        return new(Take(output), Take(logSumExp), starts is null ? None() : starts.alias(), None(), longest, longest, Take(state), Take(unused), Take(mask));
    }

    /// <summary>The gradients of <see cref="Flash"/>.</summary>
    /// <returns>As q, k and v.</returns>
    public static (Tensor Q, Tensor K, Tensor V) FlashGradients(Tensor dy, Tensor q, Tensor k, Tensor v, AttentionResult forward)
    {
        Check(FlashBackward(
            dy.Handle, q.Handle, k.Handle, v.Handle, forward.Output.Handle, forward.LogSumExp.Handle, forward.QueryStarts.Handle, forward.QueryStarts.Handle, forward.LongestQuery, forward.LongestKey,
            0, 1, forward.Seed.Handle, forward.Offset.Handle, 0, 0, 0, out nint dq, out nint dk, out nint dv));
        return (Take(dq), Take(dk), Take(dv));
    }

    static Tensor None()
    {
        Check(NativeInterface.NewUndefined(out nint none));
        return Take(none);
    }

    static Tensor Take(nint handle) => Tensor.UnsafeCreateTensor(handle);

    static void Check(int status)
    {
        if (status != 0)
        {
            throw new InvalidOperationException("attention failed; libtorch has written the reason to standard error.");
        }
    }

    [LibraryImport(Library, EntryPoint = "aoti_torch_cuda__scaled_dot_product_cudnn_attention")]
    private static partial int CudnnForward(
        nint q, nint k, nint v, nint bias, int wantsLogSumExp, double dropout, int isCausal, int wantsMask, nint scale,
        out nint output, out nint logSumExp, out nint queryStarts, out nint keyStarts, out long longestQuery, out long longestKey, out nint seed, out nint offset, out nint mask);

    [LibraryImport(Library, EntryPoint = "aoti_torch_cuda__scaled_dot_product_cudnn_attention_backward")]
    private static partial int CudnnBackward(
        nint dy, nint q, nint k, nint v, nint output, nint logSumExp, nint seed, nint offset, nint bias, nint queryStarts, nint keyStarts, long longestQuery, long longestKey, double dropout, int isCausal, nint scale,
        out nint dq, out nint dk, out nint dv);

    [LibraryImport(Library, EntryPoint = "aoti_torch_cuda__flash_attention_forward")]
    private static partial int FlashForward(
        nint q, nint k, nint v, nint* queryStarts, nint* keyStarts, long longestQuery, long longestKey, double dropout, int isCausal, int wantsMask, nint scale, nint windowLeft, nint windowRight, nint usedKeys, nint slopes,
        out nint output, out nint logSumExp, out nint state, out nint unused, out nint mask);

    [LibraryImport(Library, EntryPoint = "aoti_torch_cuda__flash_attention_backward")]
    private static partial int FlashBackward(
        nint dy, nint q, nint k, nint v, nint output, nint logSumExp, nint queryStarts, nint keyStarts, long longestQuery, long longestKey, double dropout, int isCausal, nint state, nint unused, nint scale, nint windowLeft, nint windowRight,
        out nint dq, out nint dk, out nint dv);
}
