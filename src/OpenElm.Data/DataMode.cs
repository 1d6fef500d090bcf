namespace OpenElm.Data;

/// <summary>How texts become sequences of one length.</summary>
public enum DataMode
{
    /// <summary>
    /// As OpenELM was trained: every group of <see cref="DataConfig.DocumentSplitSize"/> words is one sequence, padded or cut.
    /// </summary>
    Faithful,

    /// <summary>Documents run on across sequence borders; no token is padded and none is cut.</summary>
    Packing,
}

/// <summary>What happens to a record or file that cannot be read.</summary>
public enum BadRecordPolicy
{
    /// <summary>Stop with an error that names the file and the record.</summary>
    Fail,

    /// <summary>Go on with the next record (after damaged compression: the next file), count it and warn.</summary>
    Skip,
}
