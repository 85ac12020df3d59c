/* A stand-in for NVIDIA's management library, which plays what STANDIN asks for.
 *
 * STANDIN=own    this process holds 300 MiB        STANDIN=zero   this process, memory unknown (0)
 *         crowd  two foreign processes                     empty  no process
 *         shared this process and a foreign one            denied the driver lists no processes
 * As in a container, where the driver lists ids of the host; the first question finds only what was
 * there before this process:
 *         sole   then this process with 300 MiB, alone
 *         before a foreign process with 700 MiB; then this one with 300 too
 *         same   as before, and the foreign process has the number that this one has inside
 *         joined this process with 300 MiB; from the fourth question on a foreign one with 700 too
 *         late   a foreign process with 100 MiB, and never this one
 *         two    two GPUs; on the second this process holds 700 MiB
 *         mig    the GPU is cut in two; this process holds 90 MiB of the second instance
 *         midway this process holds 300 MiB, when asked for the fourth time 500; then the GPU is lost
 *         plain  as own, without energy, clocks, limits and reasons for throttling
 * Compiled with -DOLD it is a driver without the newer versions of its calls.
 * The device's use grows by 512 MiB after its first reading; with STANDIN_FLAT set it stays.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MIB (1024ull * 1024ull)
enum {
    SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NO_PERMISSION = 4, NOT_FOUND = 6,
    INSUFFICIENT_SIZE = 7, GPU_IS_LOST = 15
};

typedef struct { unsigned pid; unsigned long long memory; unsigned gpu, compute; } process_t;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } memory_t;
typedef struct { const char *uuid; unsigned long long held; } device_t;

static device_t devices[] = {
    {"GPU-12345678-1234-1234-1234-123456789abc", 300},
    {"GPU-87654321-4321-4321-4321-cba987654321", 700},
    {"MIG-aaaaaaaa-1111-1111-1111-111111111111", 40},
    {"MIG-bbbbbbbb-2222-2222-2222-222222222222", 90},
};
enum { KNOWN = sizeof devices / sizeof *devices };
static int readings, questions, energies;

static int is(const char *mode) {
    const char *set = getenv("STANDIN");
    return set && strcmp(set, mode) == 0;
}

static int lost(void) { return is("midway") && questions > 4; }

/* A GPU that is cut into instances tells of itself only to the administrator. */
static int whole(void *handle) { return is("mig") && handle == &devices[0]; }

static int exists(unsigned at) {
    return at == 0 || (at == 1 && is("two")) || (at >= 2 && is("mig"));
}

int nvmlInitWithFlags(unsigned flags) { (void)flags; return SUCCESS; }

const char *nvmlErrorString(int code) {
    switch (code) {
    case NOT_SUPPORTED: return "Not Supported";
    case NO_PERMISSION: return "Insufficient Permissions";
    case NOT_FOUND: return "Not Found";
    case GPU_IS_LOST: return "GPU is lost";
    default: return "Invalid Argument";
    }
}

int nvmlSystemGetDriverVersion(char *version, unsigned size) {
    strncpy(version, "599.99", size);
    return SUCCESS;
}

int nvmlDeviceGetCount_v2(unsigned *count) { *count = is("two") ? 2 : 1; return SUCCESS; }

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) {
    if (index > 1 || !exists(index)) return INVALID_ARGUMENT;
    *handle = &devices[index];
    return SUCCESS;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, void **handle) {
    for (unsigned at = 0; at < KNOWN; at++)
        if (exists(at) && strcmp(uuid, devices[at].uuid) == 0) {
            *handle = &devices[at];
            return SUCCESS;
        }
    return NOT_FOUND;
}

int nvmlDeviceGetUUID(void *handle, char *uuid, unsigned size) {
    strncpy(uuid, ((device_t *)handle)->uuid, size);
    return SUCCESS;
}

int nvmlDeviceGetMigMode(void *handle, unsigned *current, unsigned *pending) {
    (void)handle;
    if (!is("mig")) return NOT_SUPPORTED;
    *current = *pending = 1;
    return SUCCESS;
}

int nvmlDeviceGetMaxMigDeviceCount(void *handle, unsigned *count) {
    (void)handle;
    *count = 7;
    return SUCCESS;
}

int nvmlDeviceGetMigDeviceHandleByIndex(void *handle, unsigned index, void **instance) {
    (void)handle;
    if (index % 2) return NOT_FOUND; /* places without an instance lie between the others */
    if (index > 2) return NOT_FOUND;
    *instance = &devices[2 + index / 2];
    return SUCCESS;
}

static unsigned long long in_use(void) {
    return 1000 * MIB + (readings++ && !getenv("STANDIN_FLAT") ? 512 * MIB : 0);
}

#ifdef OLD
typedef struct { unsigned long long total, free, used; } old_memory_t;

int nvmlDeviceGetMemoryInfo(void *handle, old_memory_t *memory) {
    (void)handle;
    memory->total = 81920 * MIB;
    memory->used = in_use() + 600 * MIB; /* with the driver's reserve */
    memory->free = memory->total - memory->used;
    return SUCCESS;
}
#define nvmlDeviceGetComputeRunningProcesses_v3 nvmlDeviceGetComputeRunningProcesses_v2
#else
int nvmlDeviceGetMemoryInfo_v2(void *handle, memory_t *memory) {
    if (lost()) return GPU_IS_LOST;
    if (whole(handle)) return NO_PERMISSION;
    memory->total = 81920 * MIB;
    memory->reserved = 600 * MIB;
    memory->used = in_use();
    memory->free = memory->total - memory->used;
    return SUCCESS;
}
#endif

enum { MOST = 2 };

static process_t one(unsigned pid, unsigned long long mebibytes) {
    process_t process = {pid, mebibytes * MIB, 0, 0};
    return process;
}

/* Write the processes that the driver lists, and return how many. */
static unsigned listed(device_t *device, process_t *out) {
    unsigned own = (unsigned)getpid(), hosts = 4000001u, foreign = 4000000u, count = 0;
    if (is("empty")) return 0;
    if (is("sole") || is("before") || is("same") || is("joined") || is("late")) {
        if (is("before")) out[count++] = one(foreign, 700);
        if (is("same")) out[count++] = one(own, 700);
        if (questions < 2) return count;
        out[count++] = is("late") ? one(foreign, 100) : one(hosts, 300);
        if (is("joined") && questions >= 4) out[count++] = one(foreign, 700);
        return count;
    }
    if (is("crowd") || is("shared")) out[count++] = one(foreign, device->held);
    if (is("crowd")) out[count++] = one(hosts, device->held + 1);
    else out[count++] = one(own, is("zero") ? 0 : device->held + count);
    if (is("midway") && questions == 4) out[0].memory = 500 * MIB;
    return count;
}

int nvmlDeviceGetComputeRunningProcesses_v3(void *handle, unsigned *count, process_t *out) {
    process_t all[MOST];
    unsigned wanted, room = *count;
    if (is("denied") || whole(handle)) return NO_PERMISSION;
    if (room == 0) questions += 1;
    if (lost()) return GPU_IS_LOST;
    *count = wanted = listed(handle, all);
    if (wanted == 0) return SUCCESS;
    if (room < wanted) return INSUFFICIENT_SIZE;
    memcpy(out, all, wanted * sizeof *out);
    return SUCCESS;
}

int nvmlDeviceGetTotalEnergyConsumption(void *handle, unsigned long long *millijoules) {
    if (is("plain") || is("mig")) return NOT_SUPPORTED;
    if (lost()) return GPU_IS_LOST;
    (void)handle;
    *millijoules = 5000000 + 2500ull * energies++;
    return SUCCESS;
}

int nvmlDeviceGetClockInfo(void *handle, int kind, unsigned *mhz) {
    (void)handle;
    if (is("plain")) return NOT_SUPPORTED;
    *mhz = kind == 1 ? 1410 : 2619;
    return SUCCESS;
}

int nvmlDeviceGetEnforcedPowerLimit(void *handle, unsigned *milliwatts) {
    (void)handle;
    if (is("plain")) return NOT_SUPPORTED;
    *milliwatts = 350000;
    return SUCCESS;
}

int nvmlDeviceGetTemperature(void *handle, int sensor, unsigned *celsius) {
    (void)handle;
    (void)sensor;
    *celsius = 61;
    return SUCCESS;
}

int nvmlDeviceGetCurrentClocksThrottleReasons(void *handle, unsigned long long *reasons) {
    (void)handle;
    if (is("plain")) return NOT_SUPPORTED;
    *reasons = 0x01 | 0x04 | 0x40; /* idle, which is no throttling; power cap; temperature */
    return SUCCESS;
}
