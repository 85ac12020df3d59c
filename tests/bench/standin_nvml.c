/* A stand-in for NVIDIA's management library: one GPU, with the processes that STANDIN asks for.
 *
 * STANDIN=own    this process holds 300 MiB        STANDIN=zero   this process, memory unknown (0)
 *         sole   one process of another namespace          crowd  two foreign processes
 *         empty  no process                                denied the driver lists no processes
 * The device's use grows by 512 MiB after its first reading; with STANDIN_FLAT set it stays.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MIB (1024ull * 1024ull)
enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NO_PERMISSION = 4, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7 };

typedef struct { unsigned pid; unsigned long long memory; unsigned gpu, compute; } process_t;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } memory_t;

static const char *UUID = "GPU-12345678-1234-1234-1234-123456789abc";
static int gpu, readings;

static int is(const char *mode) {
    const char *set = getenv("STANDIN");
    return set && strcmp(set, mode) == 0;
}

int nvmlInitWithFlags(unsigned flags) { (void)flags; return SUCCESS; }
const char *nvmlErrorString(int code) { (void)code; return "Insufficient Permissions"; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 1; return SUCCESS; }

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) {
    *handle = &gpu;
    return index == 0 ? SUCCESS : INVALID_ARGUMENT;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, void **handle) {
    *handle = &gpu;
    return strcmp(uuid, UUID) == 0 ? SUCCESS : NOT_FOUND;
}

int nvmlDeviceGetUUID(void *handle, char *uuid, unsigned size) {
    (void)handle;
    strncpy(uuid, UUID, size);
    return SUCCESS;
}

int nvmlDeviceGetMemoryInfo_v2(void *handle, memory_t *memory) {
    (void)handle;
    memory->total = 81920 * MIB;
    memory->reserved = 600 * MIB;
    memory->used = 1000 * MIB + (readings && !getenv("STANDIN_FLAT") ? 512 * MIB : 0);
    memory->free = memory->total - memory->used;
    readings += 1;
    return SUCCESS;
}

int nvmlDeviceGetComputeRunningProcesses_v3(void *handle, unsigned *count, process_t *out) {
    unsigned wanted = is("crowd") ? 2 : is("empty") ? 0 : 1;
    (void)handle;
    if (is("denied")) return NO_PERMISSION;
    if (wanted == 0) { *count = 0; return SUCCESS; }
    if (*count < wanted) { *count = wanted; return INSUFFICIENT_SIZE; }
    *count = wanted;
    for (unsigned i = 0; i < wanted; i++) {
        int mine = is("own") || is("zero");
        out[i].pid = mine ? (unsigned)getpid() : 4000000u + i;
        out[i].memory = is("zero") ? 0 : (300 + i) * MIB;
    }
    return SUCCESS;
}
