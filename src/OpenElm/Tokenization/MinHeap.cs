namespace OpenElm.Tokenization;

/// <summary>A binary heap of numbers; the smallest comes out first.</summary>
internal sealed class MinHeap
{
    ulong[] _items = new ulong[64];

    public int Count { get; private set; }

    public void Clear() => Count = 0;

    public void Push(ulong item)
    {
        if (Count == _items.Length)
        {
            Array.Resize(ref _items, Count * 2);
        }
        int at = Count++;
        while (at > 0 && _items[(at - 1) / 2] > item)
        {
            _items[at] = _items[(at - 1) / 2];
            at = (at - 1) / 2;
        }
        _items[at] = item;
    }

    public ulong Pop()
    {
        ulong top = _items[0];
        ulong last = _items[--Count];
        int at = 0;
        for (int child = 1; child < Count; child = (2 * at) + 1)
        {
            if (child + 1 < Count && _items[child + 1] < _items[child])
            {
                child++;
            }
            if (_items[child] >= last)
            {
                break;
            }
            _items[at] = _items[child];
            at = child;
        }
        _items[at] = last;
        return top;
    }
}
