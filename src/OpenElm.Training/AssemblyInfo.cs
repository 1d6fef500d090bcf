using System.Runtime.CompilerServices;

[assembly: InternalsVisibleTo("OpenElm.Training.Tests")]
[assembly: InternalsVisibleTo("OpenElm.Verification")] // runs a single layer with an adapter
[assembly: InternalsVisibleTo("OpenElm.Benchmarks")]
