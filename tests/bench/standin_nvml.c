/* A stand-in for NVIDIA's management library, which plays what STANDIN asks for.
 *
 * STANDIN=own    this process holds 300 MiB        STANDIN=zero   this process, memory unknown (0)
 *         sole   one process of another namespace          crowd  two foreign processes
 *         empty  no process                                denied the driver lists no processes
 *         shared this process and a foreign one
 *         two    two GPUs; on the second this process holds 700 MiB
 *         mig    the GPU is cut in two; this process holds 90 MiB of the second instance
 *         midway this process holds 300 MiB, when asked for the third time 500; then the GPU is lost
 *         plain  as own, without energy, clocks, limits and reasons for throttling
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

static int lost(void) { return is("midway") && questions > 3; }

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

int nvmlDeviceGetMemoryInfo_v2(void *handle, memory_t *memory) {
    if (lost()) return GPU_IS_LOST;
    if (whole(handle)) return NO_PERMISSION;
    memory->total = 81920 * MIB;
    memory->reserved = 600 * MIB;
    memory->used = 1000 * MIB + (readings && !getenv("STANDIN_FLAT") ? 512 * MIB : 0);
    memory->free = memory->total - memory->used;
    readings += 1;
    return SUCCESS;
}

int nvmlDeviceGetComputeRunningProcesses_v3(void *handle, unsigned *count, process_t *out) {
    unsigned wanted = is("crowd") || is("shared") ? 2 : is("empty") ? 0 : 1;
    if (is("denied") || whole(handle)) return NO_PERMISSION;
    if (*count == 0) questions += 1;
    if (lost()) return GPU_IS_LOST;
    if (wanted == 0) { *count = 0; return SUCCESS; }
    if (*count < wanted) { *count = wanted; return INSUFFICIENT_SIZE; }
    *count = wanted;
    for (unsigned i = 0; i < wanted; i++) {
        int foreign = is("sole") || is("crowd") || (is("shared") && i == 0);
        out[i].pid = foreign ? 4000000u + i : (unsigned)getpid();
        out[i].memory = is("zero") ? 0 : (((device_t *)handle)->held + i) * MIB;
        if (is("midway") && questions == 3) out[i].memory = 500 * MIB;
    }
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
