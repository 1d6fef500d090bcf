namespace OpenElm.Inference.Generation;

/// <summary>Why an output ended.</summary>
public enum FinishReason
{
    /// <summary>It has not.</summary>
    None,

    /// <summary>The model ended the sequence.</summary>
    EndOfSequence,

    /// <summary>A stop text appeared.</summary>
    StopText,

    /// <summary>A stop token appeared.</summary>
    StopToken,

    /// <summary>It matches its constraint, and nothing may follow.</summary>
    Complete,

    /// <summary>It has as many tokens as were asked for.</summary>
    MaxTokens,

    /// <summary>The sequence has reached the model's longest.</summary>
    LengthLimit,
}
