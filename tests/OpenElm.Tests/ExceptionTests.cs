namespace OpenElm.Tests;

public sealed class ExceptionTests
{
    [Fact]
    public void Several_problems_stand_on_lines_of_their_own() =>
        Assert.Equal("Invalid x:\n  a\n  b", OpenElmException.Of("Invalid x", ["a", "b"]).Message);
}
