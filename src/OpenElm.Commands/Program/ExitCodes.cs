namespace OpenElm.Commands;

/// <summary>What the process says to the shell that started it.</summary>
internal static class ExitCodes
{
    public const int Success = 0;

    /// <summary>Our bug: the message carries a stack. <c>verify</c> also returns it when a comparison fails.</summary>
    public const int Bug = 1;

    /// <summary>The user's input: one message says what is wrong, where, and what to do.</summary>
    public const int UserInput = 2;

    /// <summary>Stopped by Ctrl-C, as shells number it (128 + SIGINT).</summary>
    public const int Stopped = 130;

    /// <summary>Stopped by SIGTERM (128 + 15).</summary>
    public const int Terminated = 143;
}
