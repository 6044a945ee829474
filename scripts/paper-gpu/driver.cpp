// A driver without a device, for scripts/paper-gpu.sh: the calls of CUDA's driver interface that the program makes, in which memory is
// given and taken, streams are recorded and graphs started as the interface's documentation says, and no kernel does anything.
//
// What it looks for: work on memory that was given back; memory of a recording used in no order with its taking or giving back; calls that a
// recording forbids; a graph that is started after memory that it reads is gone. It tells that, and what it counted, when the program ends.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <mutex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include <sys/mman.h>

typedef unsigned long long Address;
typedef int Result;
static const Result OK = 0, INVALID = 1, UNSUPPORTED = 900;

struct Graph;

struct Block {
    size_t bytes;
    bool live;
    Graph *graph; // whose memory it is, if it was taken in a recording
    int taken, given;
};

struct Node {
    Graph *graph;
    int number;
    std::string name;
    std::vector<bool> after; // all nodes that come before it
    std::vector<Address> uses, alone; // of the last nobody else may use any meanwhile
};

struct Graph {
    std::deque<Node> nodes;
    std::vector<Node *> hangs;
    std::set<Address> outside; // blocks of others
};

struct Function {
    std::string name;
    std::vector<size_t> parameters; // bytes of each
};

struct Stream {
    Graph *recording = nullptr;
};

static std::recursive_mutex one;
#define ALONE std::lock_guard<std::recursive_mutex> alone(one)

static std::map<Address, Block> blocks;
static std::map<std::string, long> faults;
static std::map<std::string, long> counts;
static long launches, played;
static std::vector<std::string> recordings;
static size_t held, most;

static void fault(const std::string &what) { ++faults[what]; }

// Memory is never given twice, so that every use of what was given back is seen; its pages go back to the system.
static char *arena, *next_free;
static const size_t ARENA = (size_t)1 << 40;

static Address take(size_t bytes, Graph *graph, int node) {
    if (!arena) {
        arena = next_free = (char *)mmap(nullptr, ARENA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (arena == MAP_FAILED) abort();
    }
    Address at = (Address)next_free;
    next_free += (bytes + 4095) / 4096 * 4096 + 4096;
    if (next_free > arena + ARENA) abort();
    blocks[at] = Block{bytes, true, graph, node, -1};
    held += bytes;
    if (held > most) most = held;
    return at;
}

static void give(Address at, Block &b) {
    b.live = false;
    held -= b.bytes;
    madvise((void *)at, (b.bytes + 4095) / 4096 * 4096, MADV_DONTNEED);
}

static std::map<Address, Block>::iterator block_of(Address at) {
    auto found = blocks.upper_bound(at);
    if (found == blocks.begin()) return blocks.end();
    --found;
    return at < found->first + (found->second.bytes ? found->second.bytes : 1) ? found : blocks.end();
}

static Node *add(Graph *g, const std::string &name) {
    Node n{g, (int)g->nodes.size(), name, std::vector<bool>(g->nodes.size()), {}, {}};
    for (Node *before : g->hangs) {
        n.after[before->number] = true;
        for (size_t i = 0; i < before->after.size(); ++i)
            if (before->after[i]) n.after[i] = true;
    }
    g->nodes.push_back(n);
    g->hangs = {&g->nodes.back()};
    return &g->nodes.back();
}

static bool before(Graph *g, int a, int b) { return a < b && g->nodes[b].after[a]; }

// Work called `name` on memory at these addresses, the last few of which it has for itself: run, or a node of what the stream records.
extern "C" void paper_work(void *stream, const char *name, const Address *at, int n, int own) {
    ALONE;
    Graph *g = stream ? ((Stream *)stream)->recording : nullptr;
    Node *node = g ? add(g, name) : nullptr;
    if (!g) ++launches, ++counts[name];
    for (int i = 0; i < n; ++i) {
        auto b = block_of(at[i]);
        if (b == blocks.end()) continue;
        if (!b->second.live) fault(std::string(name) + " uses memory that was given back");
        if (b->second.graph && b->second.graph != g) fault(std::string(name) + " uses memory of a recording outside of it");
        if (!g) continue;
        if (i >= n - own) node->alone.push_back(b->first);
        if (b->second.graph == g) node->uses.push_back(b->first);
        else g->outside.insert(b->first);
    }
}

// Kernels with the bytes of their parameters, out of the text of PTX; no-nvcc.sh makes none, so PAPER_GPU_PTX may name a folder of it.
static std::map<std::string, std::vector<size_t>> entries;

static void entries_of(const char *ptx) {
    std::istringstream text(ptx);
    std::string line, name;
    while (std::getline(text, line)) {
        size_t at = line.find(".entry ");
        if (at != std::string::npos) {
            name = line.substr(at + 7, line.find_first_of("( \t", at + 7) - at - 7);
            entries[name].clear();
        }
        if (line.find(".param ") != std::string::npos && !name.empty() && line.find(name + "_param_") != std::string::npos) {
            size_t bytes = 0, open = line.rfind('[');
            for (const char *bits : {"8", "16", "32", "64"})
                for (const char *kind : {".u", ".s", ".f", ".b"})
                    if (line.find(std::string(kind) + bits + " ") != std::string::npos) bytes = atoi(bits) / 8;
            if (open != std::string::npos) bytes *= atoi(line.c_str() + open + 1);
            entries[name].push_back(bytes);
        } else if (line.find('{') == 0) {
            name.clear();
        }
    }
}

static void begin() {
    const char *folder = getenv("PAPER_GPU_PTX");
    if (!folder) return;
    for (auto &file : std::filesystem::directory_iterator(folder)) {
        if (file.path().extension() != ".ptx") continue;
        std::ifstream in(file.path());
        entries_of(std::string(std::istreambuf_iterator<char>(in), {}).c_str());
    }
}

static void tell() {
    const char *path = getenv("PAPER_GPU_REPORT");
    FILE *out = path ? fopen(path, "w") : stderr;
    if (!out) return;
    fprintf(out, "recordings %zu\nplayed %ld\nlaunches %ld\nmost_bytes %zu\n", recordings.size(), played, launches, most);
    for (auto &r : recordings) fprintf(out, "recording: %s\n", r.c_str());
    long all = 0;
    for (auto &f : faults) all += f.second;
    fprintf(out, "faults %ld\n", all);
    for (auto &f : faults) fprintf(out, "fault, %ld times: %s\n", f.second, f.first.c_str());
    if (getenv("PAPER_GPU_NAMES"))
        for (auto &c : counts) fprintf(out, "    %8ld %s\n", c.second, c.first.c_str());
    if (path) fclose(out);
}

extern "C" {
Result cuInit(unsigned) {
    static bool first = true;
    if (first) begin(), atexit(tell);
    first = false;
    return OK;
}
Result cuDeviceGetCount(int *n) { return *n = 1, OK; }
Result cuDeviceGet(int *device, int) { return *device = 0, OK; }
Result cuDeviceGetName(char *name, int n, int) { return snprintf(name, n, "paper"), OK; }
Result cuDeviceGetAttribute(int *value, int which, int) {
    *value = which == 75 ? 9 : which == 76 ? 0 : which == 115 ? 1 : 1024;
    return OK;
}
Result cuDevicePrimaryCtxRetain(void **c, int) { return *c = (void *)1, OK; }
Result cuDevicePrimaryCtxRelease_v2(int) { return OK; }
static thread_local void *current;
Result cuCtxSetCurrent(void *c) { return current = c, OK; }
Result cuCtxGetCurrent(void **c) { return *c = current, OK; }
Result cuCtxSynchronize() { return OK; }
Result cuDeviceGetDefaultMemPool(void **pool, int) { return *pool = (void *)1, OK; }
Result cuDeviceGetMemPool(void **pool, int) { return *pool = (void *)1, OK; }
Result cuMemPoolSetAttribute(void *, int, void *) { return OK; }
Result cuDeviceGraphMemTrim(int) { return OK; }
Result cuMemGetInfo_v2(size_t *left, size_t *all) { return *all = (size_t)80 << 30, *left = *all - held, OK; }
Result cuGetErrorName(int, const char **s) { return *s = "PAPER_ERROR", OK; }
Result cuGetErrorString(int, const char **s) { return *s = "an error of the paper driver", OK; }
Result cuEventCreate(void **e, unsigned) { return *e = malloc(1), OK; }
Result cuEventDestroy_v2(void *e) { return free(e), OK; }
Result cuEventRecord(void *, void *) { return OK; }
Result cuEventQuery(void *) { return OK; }
Result cuEventSynchronize(void *) { return OK; }
Result cuStreamWaitEvent(void *, void *, unsigned) { return OK; }
Result cuStreamCreate(void **s, unsigned) { return *s = new Stream, OK; }
Result cuStreamDestroy_v2(void *s) { return delete (Stream *)s, OK; }

static Graph *recording(void *s) { return s ? ((Stream *)s)->recording : nullptr; }

Result cuStreamSynchronize(void *s) {
    ALONE;
    if (recording(s)) return fault("waits for the stream while it is recorded"), UNSUPPORTED;
    return OK;
}
Result cuMemAllocAsync(Address *at, size_t bytes, void *s) {
    ALONE;
    Graph *g = recording(s);
    int node = g ? add(g, "take")->number : -1;
    *at = take(bytes, g, node);
    return OK;
}
Result cuMemAlloc_v2(Address *at, size_t bytes) {
    ALONE;
    return *at = take(bytes, nullptr, -1), OK;
}
Result cuMemFreeAsync(Address at, void *s) {
    ALONE;
    auto b = blocks.find(at);
    if (b == blocks.end() || !b->second.live) return fault("gives back what it has not"), INVALID;
    Graph *g = recording(s);
    if (!g && b->second.graph) return fault("gives memory of a recording back outside of it"), INVALID;
    if (g && b->second.graph != g) return fault("gives memory back in a recording that it was not taken in"), INVALID;
    if (g) {
        if (b->second.given >= 0) return fault("gives memory back twice in a recording"), INVALID;
        b->second.given = add(g, "give")->number;
    } else {
        give(at, b->second);
    }
    return OK;
}
Result cuMemFree_v2(Address at) { return cuMemFreeAsync(at, nullptr); }
Result cuMemsetD8Async(Address at, unsigned char v, size_t n, void *s) {
    paper_work(s, "memset", &at, 1, 0);
    if (!recording(s)) memset((void *)at, v, n);
    return OK;
}
Result cuMemcpyHtoDAsync_v2(Address to, const void *from, size_t n, void *s) {
    if (recording(s)) fault("uploads in a recording, which would read the host's memory each time it is played");
    paper_work(s, "upload", &to, 1, 0);
    if (!recording(s)) memcpy((void *)to, from, n);
    return OK;
}
Result cuMemcpyDtoHAsync_v2(void *to, Address from, size_t n, void *s) {
    if (recording(s)) return fault("reads back in a recording"), UNSUPPORTED;
    paper_work(s, "read", &from, 1, 0);
    memcpy(to, (void *)from, n);
    return OK;
}
Result cuMemcpyDtoDAsync_v2(Address to, Address from, size_t n, void *s) {
    Address both[] = {to, from};
    paper_work(s, "copy", both, 2, 0);
    if (!recording(s)) memmove((void *)to, (void *)from, n);
    return OK;
}

Result cuModuleLoadData(void **module, const void *image) {
    ALONE;
    entries_of((const char *)image);
    return *module = (void *)1, OK;
}
Result cuModuleUnload(void *) { return OK; }
Result cuModuleGetFunction(void **f, void *, const char *name) {
    ALONE;
    auto found = entries.find(name);
    if (!entries.empty() && found == entries.end()) fault(std::string("there is no kernel ") + name);
    *f = new Function{name, found == entries.end() ? std::vector<size_t>() : found->second};
    return OK;
}
Result cuLaunchKernel(void *f, unsigned x, unsigned y, unsigned z, unsigned bx, unsigned by, unsigned bz, unsigned, void *s, void **given, void **) {
    Function *function = (Function *)f;
    if (!x || !y || !z || !bx || !by || !bz || (unsigned long)bx * by * bz > 1024) return fault("a launch of no block: " + function->name), INVALID;
    std::vector<Address> at;
    for (size_t i = 0; i < function->parameters.size(); ++i)
        for (size_t from = 0; from + 8 <= function->parameters[i]; from += 8) {
            Address value;
            memcpy(&value, (char *)given[i] + from, 8);
            at.push_back(value);
        }
    paper_work(s, function->name.c_str(), at.data(), (int)at.size(), 0);
    return OK;
}

Result cuStreamBeginCapture_v2(void *s, int) {
    ALONE;
    if (recording(s)) return fault("records twice"), INVALID;
    return ((Stream *)s)->recording = new Graph, OK;
}
Result cuStreamIsCapturing(void *s, int *status) { return *status = recording(s) ? 1 : 0, OK; }
Result cuStreamGetCaptureInfo_v2(void *s, int *status, unsigned long long *id, void **graph, void *const **nodes, size_t *n) {
    ALONE;
    Graph *g = recording(s);
    *status = g ? 1 : 0;
    if (!g) return OK;
    if (id) *id = 1;
    if (graph) *graph = g;
    if (nodes) *nodes = (void *const *)g->hangs.data();
    if (n) *n = g->hangs.size();
    return OK;
}
Result cuStreamUpdateCaptureDependencies(void *s, void **nodes, size_t n, unsigned flags) {
    ALONE;
    Graph *g = recording(s);
    if (!g || flags > 1) return fault("moves what is not recorded"), INVALID;
    if (flags == 1) g->hangs.clear();
    for (size_t i = 0; i < n; ++i) {
        if (((Node *)nodes[i])->graph != g) return fault("hangs a recording on another"), INVALID;
        g->hangs.push_back((Node *)nodes[i]);
    }
    return OK;
}
Result cuStreamEndCapture(void *s, void **graph) {
    ALONE;
    Graph *g = recording(s);
    ((Stream *)s)->recording = nullptr;
    return *graph = g, g ? OK : INVALID;
}
Result cuGraphInstantiateWithFlags(void **exec, void *graph, unsigned long long) {
    ALONE;
    Graph *g = (Graph *)graph;
    std::map<std::string, int> names;
    std::vector<int> depth(g->nodes.size());
    int deepest = 0, work = 0;
    for (Node &n : g->nodes) {
        bool memory = n.name == "take" || n.name == "give";
        for (int i = 0; i < n.number; ++i)
            if (n.after[i] && depth[i] > depth[n.number]) depth[n.number] = depth[i];
        depth[n.number] += !memory;
        if (depth[n.number] > deepest) deepest = depth[n.number];
        work += !memory;
        ++names[n.name];
        for (Address at : n.uses) {
            Block &b = blocks[at];
            if (!before(g, b.taken, n.number)) fault(n.name + " of a recording does not wait for its memory to be taken");
            if (b.given >= 0 && !before(g, n.number, b.given)) fault(n.name + " of a recording may find its memory given back");
        }
    }
    std::map<Address, int> last;
    for (Node &n : g->nodes)
        for (Address at : n.alone) {
            if (last.count(at) && last[at] != n.number && !before(g, last[at], n.number))
                fault(n.name + " shares a library's own memory with work that it is in no order with");
            last[at] = n.number;
        }
    for (auto &b : blocks)
        if (b.second.graph == g && b.second.given < 0) fault("a recording keeps memory that it takes");
    std::ostringstream said;
    said << work << " launches, " << deepest << " one after another, " << names["take"] << " pieces of memory, " << g->outside.size() << " from outside:";
    for (auto &n : names)
        if (n.first != "take" && n.first != "give") said << " " << n.second << " " << n.first << ",";
    recordings.push_back(said.str());
    return *exec = g, OK;
}
Result cuGraphLaunch(void *exec, void *) {
    ALONE;
    ++played;
    for (Address at : ((Graph *)exec)->outside)
        if (!blocks[at].live) fault("a graph is started after memory that it uses was given back");
    return OK;
}
Result cuGraphExecDestroy(void *) { return OK; }
Result cuGraphDestroy(void *) { return OK; }
}
