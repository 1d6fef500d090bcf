using System.Runtime.CompilerServices;

[assembly: InternalsVisibleTo("OpenElm.Training.Tests")]
[assembly: InternalsVisibleTo("OpenElm.Benchmarks")]
