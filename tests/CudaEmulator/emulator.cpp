#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>
#include <set>
#include <map>
#include <functional>
#include <regex>
#include <fstream>
#include <dlfcn.h>
#include <unistd.h>
#include <sys/mman.h>
#include <chrono>
#define EMU_RUNTIME
struct Dim { int x, y, z; };
struct Fiber { void* sp; Dim threadIdx, blockIdx; int linear; int warp; bool done; char* stack; };
typedef unsigned long long u64;
struct Grid { Dim gridDim, blockDim; Fiber* current; int* block_arrived; int* block_gen; int* warp_arrived; int* warp_gen; u64* exchange; char** shared; int warps_per_block; int* warp_size_; int* block_live;};
extern "C" { Grid* emu_grid; void emu_yield(); }
typedef void (*Entry)(void**);
extern "C" void emu_switch(void** save, void* to);
asm(R"(
.globl emu_switch
emu_switch:
 pushq %rbp
 pushq %rbx
 pushq %r12
 pushq %r13
 pushq %r14
 pushq %r15
 movq %rsp, (%rdi)
 movq %rsi, %rsp
 popq %r15
 popq %r14
 popq %r13
 popq %r12
 popq %rbx
 popq %rbp
 ret
)");
static void* scheduler_sp; static Entry entry; static void** entry_args;
void emu_yield() { Fiber* f = emu_grid->current; emu_switch(&f->sp, scheduler_sp); }
static void fiber_main() { entry(entry_args); emu_grid->current->done = true; Fiber* f = emu_grid->current; emu_switch(&f->sp, scheduler_sp); abort(); }
static const size_t STACK = 128 << 10;
static std::vector<char*> stacks;
static char* stack_at(size_t i) { while (stacks.size() <= i) stacks.push_back((char*)mmap(0, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)); return stacks[i]; }
static void run_blocks(Dim grid, int threads, int shared_bytes, int first, int count)
{
    Grid g{}; g.gridDim = grid; g.blockDim = { threads, 1, 1 }; int wpb = (threads + 31) / 32; g.warps_per_block = wpb;
    std::vector<int> ba(count), bg(count), wa(count * wpb), wg(count * wpb), ws(count * wpb), bl(count, threads); std::vector<u64> ex(count * wpb * 32); std::vector<char*> sh(count);
    for (int i = 0; i < count * wpb; i++) ws[i] = threads - (i % wpb) * 32 < 32 ? threads - (i % wpb) * 32 : 32;
    for (auto& s : sh) { s = (char*)aligned_alloc(1024, (shared_bytes + 2047) / 1024 * 1024); memset(s, 0xff, shared_bytes); }
    g.block_arrived = ba.data(); g.block_gen = bg.data(); g.warp_arrived = wa.data(); g.warp_gen = wg.data(); g.exchange = ex.data(); g.shared = sh.data(); g.warp_size_ = ws.data(); g.block_live = bl.data();
    std::vector<Fiber> fibers(count * threads);
    for (int b = 0; b < count; b++) for (int t = 0; t < threads; t++) {
        Fiber& f = fibers[b * threads + t]; f.threadIdx = { t, 0, 0 }; f.blockIdx = { (first + b) % grid.x, (first + b) / grid.x % grid.y, (first + b) / grid.x / grid.y }; f.linear = b; f.warp = b * wpb + t / 32; f.done = false; f.stack = stack_at(b * threads + t);
        void** top = (void**)(f.stack + STACK - 64); *--top = 0; *--top = (void*)fiber_main; for (int i = 0; i < 6; i++) *--top = 0; f.sp = top; }
    emu_grid = &g; size_t left = fibers.size();
    while (left) for (auto& f : fibers) if (!f.done) { g.current = &f; emu_switch(&scheduler_sp, f.sp); if (f.done) {
        left--; bl[f.linear]--; ws[f.warp]--;
        // the threads left may all have arrived already
        if (bl[f.linear] && ba[f.linear] == bl[f.linear]) { ba[f.linear] = 0; bg[f.linear]++; }
        if (ws[f.warp] && wa[f.warp] == ws[f.warp]) { wa[f.warp] = 0; wg[f.warp]++; } } }
    for (auto s : sh) free(s);
}
#define API extern "C" __attribute__((visibility("default"))) int
static int env(const char* n, int d) { const char* v = getenv(n); return v ? atoi(v) : d; }
API cuInit(unsigned) { return 0; }
API cuDeviceGet(int* d, int) { *d = 0; return 0; }
API cuDeviceGetName(char* n, int, int) { strcpy(n, "Emulated"); return 0; }
API cuDeviceGetAttribute(int* v, int a, int) { *v = a == 16 ? env("EMU_SM", 3) : a == 75 ? 9 : 0; return 0; }
API cuDevicePrimaryCtxRetain(void** c, int) { *c = (void*)1; return 0; }
API cuCtxSetCurrent(void*) { return 0; }
API cuMemGetInfo_v2(size_t* f, size_t* t) { *f = *t = 1ull << 34; return 0; }
API cuMemsetD8Async(void* p, unsigned char v, size_t n, void*) { memset(p, v, n); return 0; }
API cuMemHostAlloc(void** p, size_t n, unsigned) { *p = aligned_alloc(4096, (n + 4095) / 4096 * 4096); return 0; }
API cuMemFreeHost(void* p) { free(p); return 0; }
API cuMemAlloc_v2(void** p, size_t n) { *p = aligned_alloc(4096, (n + 4095) / 4096 * 4096); memset(*p, 0xff, n); return 0; }
API cuMemFree_v2(void* p) { free(p); return 0; }
API cuMemcpyHtoDAsync_v2(void* t, void* s, size_t n, void*) { memcpy(t, s, n); return 0; }
API cuMemcpyDtoHAsync_v2(void* t, void* s, size_t n, void*) { memcpy(t, s, n); return 0; }
API cuMemcpyDtoDAsync_v2(void* t, void* s, size_t n, void*) { memmove(t, s, n); return 0; }
API cuModuleLoadData(void** m, void* image) {
    // image: 8 bytes of size, then the library
    size_t n = *(size_t*)image; char name[] = "/tmp/emu-XXXXXX"; int fd = mkstemp(name); if (write(fd, (char*)image + 8, n) != (ssize_t)n) return 1; close(fd);
    *m = dlopen(name, RTLD_NOW | RTLD_LOCAL); if (!*m) fprintf(stderr, "%s\n", dlerror()); unlink(name); return *m ? 0 : 1; }
API cuModuleUnload(void*) { return 0; }
static std::map<void*, int> arguments_of;
static std::map<void*, int> cluster_of; // blocks that run together
API cuModuleGetFunction(void** f, void* m, const char* name) {
    *f = dlsym(m, (std::string("launch_") + name).c_str()); if (!*f) return 500;
    arguments_of[*f] = ((int (*)())dlsym(m, (std::string("count_") + name).c_str()))();
    int* cluster = (int*)dlsym(m, (std::string("cluster_") + name).c_str()); cluster_of[*f] = cluster ? *cluster : 1; return 0; }
API cuModuleGetGlobal_v2(void** p, size_t* n, void* m, const char* name) { *p = dlsym(m, name); *n = ~0ull; return *p ? 0 : 500; }
// What a kernel on a processor wants to know of a matrix: of two dimensions and swizzled (emulated_pair.h), of three and plain (emulated.h).
API cuTensorMapEncodeTiled(void* map, int type, unsigned rank, char* values, u64* sizes, u64* strides, unsigned* box, unsigned*, int, int swizzle, int, int) {
    if (((size_t)map & 63) || ((size_t)values & 15) || (strides[0] & 15)) return 1;
    if (rank == 3) {
        if (type != 8 || (strides[1] & 15) || box[0] > 256 || box[1] > 256 || box[2] > 256 || (box[0] & 1) || swizzle) return 1;
        u64 all[] = { (u64)values, sizes[0], sizes[1], sizes[2], strides[0], strides[1], box[0], box[1], box[2] }; memcpy(map, all, sizeof all); return 0; }
    if (type != 9 || rank != 2 || box[0] * 2 != 128 || box[1] > 256 || swizzle != 3) return 1;
    u64 all[] = { (u64)values, sizes[0], sizes[1], strides[0], box[0], box[1] }; memcpy(map, all, sizeof all); return 0; }
API cuFuncSetAttribute(void*, int, int) { return 0; }
// A recorded launch keeps its arguments, of 8 bytes at most.
static std::vector<std::function<void()>>* recording;
static void launch_all(void* f, Dim grid, int threads, int shared, void** args) {
    entry = (Entry)f; entry_args = args; int together = cluster_of[f]; for (int b = 0; b < grid.x * grid.y * grid.z; b += together) run_blocks(grid, threads, shared, b, together); }
API cuLaunchKernel(void* f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned, unsigned, unsigned sh, void*, void** args, void**) {
    Dim grid = { (int)gx, (int)gy, (int)gz };
    if (!recording) { launch_all(f, grid, bx, sh, args); return 0; }
    std::vector<u64> kept(32); for (int i = 0; i < arguments_of[f]; i++) memcpy(&kept[i], args[i], 8);
    recording->push_back([=]() mutable { void* pointers[32]; for (int i = 0; i < 32; i++) pointers[i] = &kept[i]; launch_all(f, grid, bx, sh, pointers); }); return 0; }
struct LaunchSettings { unsigned gx, gy, gz, bx, by, bz, sh; void* stream; void* attributes; unsigned count; };
API cuLaunchKernelEx(LaunchSettings* s, void* f, void** args, void** extra) { return cuLaunchKernel(f, s->gx, s->gy, s->gz, s->bx, s->by, s->bz, s->sh, s->stream, args, extra); }
API cuStreamBeginCapture_v2(void*, int) { recording = new std::vector<std::function<void()>>; return 0; }
API cuStreamEndCapture(void*, void** g) { *g = recording; recording = nullptr; return 0; }
API cuGraphInstantiateWithFlags(void** e, void* g, u64) { *e = new std::vector<std::function<void()>>(*(std::vector<std::function<void()>>*)g); return 0; }
API cuGraphDestroy(void* g) { delete (std::vector<std::function<void()>>*)g; return 0; }
API cuGraphExecDestroy(void* g) { delete (std::vector<std::function<void()>>*)g; return 0; }
API cuGraphLaunch(void* g, void*) { for (auto& f : *(std::vector<std::function<void()>>*)g) f(); return 0; }
API cuLaunchCooperativeKernel(void* f, unsigned gx, unsigned, unsigned, unsigned bx, unsigned, unsigned, unsigned sh, void*, void** args) {
    entry = (Entry)f; entry_args = args; run_blocks({ (int)gx, 1, 1 }, bx, sh, 0, gx); return 0; }
API cuStreamSynchronize(void*) { return 0; }
API cuStreamCreate(void** s, unsigned) { *s = (void*)1; return 0; }
API cuStreamDestroy_v2(void*) { return 0; }
API cuStreamWaitEvent(void*, void*, unsigned) { return 0; }
API cuEventCreate(void** e, unsigned) { *e = new double(0); return 0; }
API cuEventDestroy_v2(void*) { return 0; }
API cuEventRecord(void* e, void*) { *(double*)e = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count(); return 0; }
API cuEventSynchronize(void*) { return 0; }
API cuEventElapsedTime(float* ms, void* a, void* b) { *ms = *(double*)b - *(double*)a; return 0; }
API cuGetErrorString(int, const char** t) { *t = "emulated error"; return 0; }
// NVRTC
struct Program { std::string source, log, binary; };
API nvrtcVersion(int* a, int* b) { *a = 99; *b = (int)time(0) % 100000; return 0; }
API nvrtcCreateProgram(void** p, const char* s, const char*, int, char**, char**) { *p = new Program{ s }; return 0; }
API nvrtcCompileProgram(void* p, int n, char** o) {
    // What the preprocessor leaves, then a wrapper for each kernel that takes its arguments as the driver does.
    Program& q = *(Program*)p;
    std::string home = getenv("EMU_HOME"), defs;
    for (int i = 0; i < n; i++) if (!strncmp(o[i], "--define-macro=", 15)) defs += std::string(" -D") + (o[i] + 15);
    char base[] = "/tmp/emusrc-XXXXXX"; close(mkstemp(base));
    std::string name = base, err = name + ".err", cpp = name + ".cpp", so = name + ".so";
    auto read = [](const std::string& file) { std::ifstream f(file, std::ios::binary); return std::string((std::istreambuf_iterator<char>(f)), {}); };
    std::ofstream(cpp) << "#define EMULATED 1\n#include <tuple>\n#include <utility>\n" + q.source;
    int rc = system(("g++ -std=c++17 -E -P -I" + home + defs + " " + cpp + " -o " + name + ".ii 2> " + err).c_str());
    if (!rc)
    {
        std::string text = read(name + ".ii");
        std::regex kernel("extern \"C\" EMU_KERNEL[^{;]*?(\\w+)\\((?=[^()]*\\)\\s*\\{)"); std::set<std::string> names;
        for (std::sregex_iterator i(text.begin(), text.end(), kernel), e; i != e; ++i) names.insert((*i)[1]);
        text += "\ntemplate <class... A, size_t... I> void emu_call(void (*f)(A...), void** a, std::index_sequence<I...>) { f(*(std::remove_reference_t<A>*)a[I]...); }\ntemplate <class... A> int emu_count(void (*f)(A...)) { return sizeof...(A); }\ntemplate <class... A> void emu_call(void (*f)(A...), void** a) { emu_call(f, a, std::index_sequence_for<A...>()); }\n";
        // the cluster of a kernel is behind its attributes: EMU_CLUSTER(n) void name(
        std::regex paired("EMU_CLUSTER\\((\\d+)\\) void (\\w+)\\(");
        for (std::sregex_iterator i(text.begin(), text.end(), paired), e; i != e; ++i) text += "\nextern \"C\" int cluster_" + (*i)[2].str() + "; int cluster_" + (*i)[2].str() + " = " + (*i)[1].str() + ";\n";
        for (auto& k : names) text += "extern \"C\" void launch_" + k + "(void** a) { emu_call(&" + k + ", a); }\nextern \"C\" int count_" + k + "() { return emu_count(&" + k + "); }\n";
        std::ofstream(cpp) << text;
        rc = system(("g++ -std=c++17 -O2 -w -fsanitize=alignment -fsanitize-undefined-trap-on-error -shared -fPIC -DEMU_KERNEL= '-DEMU_CLUSTER(n)=' " + cpp + " " + home + "/libcuda.so.1 -o " + so + " 2> " + err).c_str());
    }
    (rc ? q.log : q.binary) = read(rc ? err : so);
    for (auto& file : { name, name + ".ii", err, cpp, so }) unlink(file.c_str());
    return rc ? 6 : 0; }
API nvrtcDestroyProgram(void** p) { delete (Program*)*p; return 0; }
API nvrtcGetCUBINSize(void* p, size_t* n) { *n = ((Program*)p)->binary.size() + 8; return 0; }
API nvrtcGetCUBIN(void* p, char* b) { auto& s = ((Program*)p)->binary; *(size_t*)b = s.size(); memcpy(b + 8, s.data(), s.size()); return 0; }
API nvrtcGetProgramLogSize(void* p, size_t* n) { *n = ((Program*)p)->log.size() + 1; return 0; }
API nvrtcGetProgramLog(void* p, char* b) { strcpy(b, ((Program*)p)->log.c_str()); return 0; }
// cuBLASLt: column-major D = op(A) op(B) (+ beta C)
struct Desc { int ta, tb; }; struct Layout { int type; u64 r, c; long ld; };
API cublasLtCreate(void** h) { *h = (void*)1; return 0; }
API cublasLtDestroy(void*) { return 0; }
extern "C" size_t cublasLtGetVersion() { return 1; }
API cublasLtMatmulDescCreate(void** d, int, int) { *d = new Desc{}; return 0; }
API cublasLtMatmulDescDestroy(void*) { return 0; }
API cublasLtMatmulDescSetAttribute(void* d, int a, void* v, size_t) { (a == 3 ? ((Desc*)d)->ta : ((Desc*)d)->tb) = *(int*)v; return 0; }
API cublasLtMatrixLayoutCreate(void** l, int t, u64 r, u64 c, long ld) { *l = new Layout{ t, r, c, ld }; return 0; }
API cublasLtMatrixLayoutDestroy(void*) { return 0; }
API cublasLtMatmulPreferenceCreate(void** p) { *p = (void*)1; return 0; }
API cublasLtMatmulPreferenceDestroy(void*) { return 0; }
API cublasLtMatmulPreferenceSetAttribute(void*, int, void*, size_t) { return 0; }
API cublasLtMatmulAlgoGetHeuristic(void*, void*, void*, void*, void*, void*, void*, int, void*, int* found) { *found = 1; return 0; }
static float at(void* p, Layout* l, size_t i) { if (l->type == 0) return ((float*)p)[i]; unsigned b = (unsigned)((unsigned short*)p)[i] << 16; float x; memcpy(&x, &b, 4); return x; }
static void put(void* p, Layout* l, size_t i, float x) { if (l->type == 0) { ((float*)p)[i] = x; return; } unsigned b; memcpy(&b, &x, 4); ((unsigned short*)p)[i] = (b + 0x7fff + (b >> 16 & 1)) >> 16; }
static void product(Desc* d, float alpha, void* a, Layout* al, void* b, Layout* bl, float beta, void* c, Layout* cl, void* o, Layout* ol) {
    u64 m = ol->r, n = ol->c, k = d->ta ? al->r : al->c; 
    for (u64 j = 0; j < n; j++) for (u64 i = 0; i < m; i++) { double s = 0; for (u64 q = 0; q < k; q++) s += (double)at(a, al, d->ta ? q + i * al->ld : i + q * al->ld) * at(b, bl, d->tb ? j + q * bl->ld : q + j * bl->ld);
        put(o, ol, i + j * ol->ld, (float)(alpha * s) + (beta ? beta * at(c, cl, i + j * cl->ld) : 0)); } }

API cublasLtMatmul(void*, Desc* d, float* alpha, void* a, Layout* al, void* b, Layout* bl, float* beta, void* c, Layout* cl, void* o, Layout* ol, void*, void*, size_t, void*) {
    float one = *alpha, other = *beta;
    if (recording) recording->push_back([=] { product(d, one, a, al, b, bl, other, c, cl, o, ol); });
    else product(d, one, a, al, b, bl, other, c, cl, o, ol);
    return 0; }
