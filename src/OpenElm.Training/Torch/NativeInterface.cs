using System.Runtime.InteropServices;

namespace OpenElm.Training.Torch;

/// <summary>The functions of libtorch's plain-C interface that this project uses. All but the version return 0 on success.</summary>
internal static unsafe partial class NativeInterface
{
    const string Library = NativeNames.TorchCpu;

    /// <summary>major ≪ 56 | minor ≪ 48 | patch ≪ 40 of the loaded library.</summary>
    [LibraryImport(Library, EntryPoint = "aoti_torch_abi_version")]
    public static partial ulong AbiVersion();

    /// <summary>Calls an ATen operator; arguments are replaced by results.</summary>
    [LibraryImport(Library, EntryPoint = "torch_call_dispatcher")]
    public static partial int CallDispatcher(byte* op, byte* overload, ulong* stack, ulong builtForVersion);

    /// <summary>A second handle on the same tensor, which the dispatcher may consume.</summary>
    [LibraryImport(Library, EntryPoint = "aoti_torch_new_tensor_handle")]
    public static partial int NewTensorHandle(nint tensor, out nint handle);

    /// <summary>A tensor that is none, for arguments that may be missing without being optional.</summary>
    [LibraryImport(Library, EntryPoint = "aoti_torch_new_uninitialized_tensor")]
    public static partial int NewUndefined(out nint handle);

    [LibraryImport(Library, EntryPoint = "torch_new_list_reserve_size")]
    public static partial int NewList(nuint capacity, out nint list);

    [LibraryImport(Library, EntryPoint = "torch_list_push_back")]
    public static partial int PushBack(nint list, ulong item);

    [LibraryImport(Library, EntryPoint = "torch_list_size")]
    public static partial int ListSize(nint list, out nuint size);

    [LibraryImport(Library, EntryPoint = "torch_list_get_item")]
    public static partial int ListItem(nint list, nuint index, out ulong item);

    [LibraryImport(Library, EntryPoint = "torch_delete_list")]
    public static partial int DeleteList(nint list);

    /// <summary>The first element, the view's offset included.</summary>
    [LibraryImport(Library, EntryPoint = "aoti_torch_get_data_ptr")]
    public static partial int DataPointer(nint tensor, out nint pointer);

    /// <summary>Splits a range over the threads that libtorch's own operators use.</summary>
    [LibraryImport(Library, EntryPoint = "torch_parallel_for")]
    public static partial int ParallelFor(long begin, long end, long grain, delegate* unmanaged<long, long, nint, void> body, nint context);
}
