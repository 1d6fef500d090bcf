using OpenElm.Training.Torch;

namespace OpenElm.Training.Tests.Torch;

public sealed class ElfVersionNeedsTests
{
    const string Version = "GLIBCXX_3.4.32";

    [Fact]
    public void Lists_what_the_shim_asks_for()
    {
        List<ElfVersionNeeds.Need> needs = ElfVersionNeeds.Read(File.ReadAllBytes(Shim()));

        ElfVersionNeeds.Need need = Assert.Single(needs, need => need.Version == Version);
        Assert.Equal("libstdc++.so.6", need.Library);
        Assert.False(need.IsWeak);
        Assert.Contains(needs, other => other.Library == "libc.so.6");
    }

    [Fact]
    public void Weakens_one_flag_of_one_version_and_nothing_else()
    {
        byte[] original = File.ReadAllBytes(Shim()), changed = [.. original];

        Assert.Equal(1, ElfVersionNeeds.Weaken(changed, Version));
        Assert.Equal(0, ElfVersionNeeds.Weaken(changed, Version)); // the second time there is nothing to do
        int[] differences = [.. Enumerable.Range(0, original.Length).Where(i => original[i] != changed[i])];

        ElfVersionNeeds.Need need = ElfVersionNeeds.Read(changed).Single(need => need.Version == Version);
        Assert.True(need.IsWeak);
        Assert.Equal([need.FlagsOffset], differences);
        Assert.Equal(ElfVersionNeeds.Read(original).Count, ElfVersionNeeds.Read(changed).Count);
    }

    [Fact]
    public void Refuses_what_is_no_elf_library()
    {
        Assert.Throws<InvalidDataException>(() => ElfVersionNeeds.Read([]));
        Assert.Throws<InvalidDataException>(() => ElfVersionNeeds.Read("MZ and much more than sixty-four bytes of something that is no ELF file"u8.ToArray()));
        byte[] elf32 = File.ReadAllBytes(Shim());
        elf32[4] = 1;
        Assert.Throws<InvalidDataException>(() => ElfVersionNeeds.Read(elf32));
    }

    [Fact]
    public void Refuses_truncated_libraries_instead_of_reading_past_them()
    {
        byte[] whole = File.ReadAllBytes(Shim());
        foreach (int length in new[] { 64, 65, 1000, whole.Length / 2, whole.Length - 1 })
        {
            Assert.Throws<InvalidDataException>(() => ElfVersionNeeds.Read(whole.AsSpan(0, length)));
        }
    }

    [Fact]
    public void The_copy_is_made_once_and_the_original_stays()
    {
        using var folder = new TemporaryFolder();
        byte[] before = File.ReadAllBytes(Shim());

        string copy = PatchedShim.Create(Shim(), Version, [folder.Path]);
        DateTime written = File.GetLastWriteTimeUtc(copy);
        string again = PatchedShim.Create(Shim(), Version, [folder.Path]);

        Assert.Equal(copy, again);
        Assert.Equal(written, File.GetLastWriteTimeUtc(again));
        Assert.Equal(before, File.ReadAllBytes(Shim()));
        Assert.True(ElfVersionNeeds.Read(File.ReadAllBytes(copy)).Single(need => need.Version == Version).IsWeak);
        Assert.Single(Directory.GetFiles(folder.Path, "*", SearchOption.AllDirectories));
    }

    [Fact]
    public void A_damaged_copy_is_replaced()
    {
        using var folder = new TemporaryFolder();
        string copy = PatchedShim.Create(Shim(), Version, [folder.Path]);
        byte[] good = File.ReadAllBytes(copy);
        File.WriteAllText(copy, "half a file");

        Assert.Equal(good, File.ReadAllBytes(PatchedShim.Create(Shim(), Version, [folder.Path])));
    }

    [Fact]
    public void The_next_folder_is_used_when_the_first_is_not_writable()
    {
        using var folder = new TemporaryFolder();
        File.WriteAllText(folder["file"], "no folder can be made below a file");

        string copy = PatchedShim.Create(Shim(), Version, [Path.Combine(folder["file"], "sub"), folder["second"]]);

        Assert.StartsWith(folder["second"], copy);
        string refusal = Assert.Throws<OpenElmException>(() => PatchedShim.Create(Shim(), Version, [Path.Combine(folder["file"], "sub")])).Message;
        Assert.Contains("no folder for it is writable", refusal);
    }

    [Fact]
    public void A_damaged_shim_and_a_version_it_does_not_ask_for_are_said_so()
    {
        using var folder = new TemporaryFolder();
        File.WriteAllText(folder["libLibTorchSharp.so"], "not a library");

        Assert.Contains("is damaged", Assert.Throws<OpenElmException>(() => PatchedShim.Create(folder["libLibTorchSharp.so"], Version, [folder.Path])).Message);
        Assert.Contains("does not ask for GLIBCXX_9", Assert.Throws<OpenElmException>(() => PatchedShim.Create(Shim(), "GLIBCXX_9", [folder.Path])).Message);
    }

    static string Shim()
    {
        string path = Path.Combine(AppContext.BaseDirectory, "runtimes", "linux-x64", "native", "libLibTorchSharp.so");
        Assert.SkipUnless(File.Exists(path), $"This machine's build has no {path}: the remedy is for Linux.");
        return path;
    }
}
