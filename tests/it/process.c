/* Replaces functions of the C library. Environment variables select how they fail. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

/* FAULT_CLOCK_FILE: a file with the number of nanoseconds that the clock is fast, as a 64-bit integer. A test can
   change it at any time. */
static const volatile int64_t *fast;

__attribute__((constructor)) static void open_clock(void) {
    const char *path = getenv("FAULT_CLOCK_FILE");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *mapped = mmap(NULL, sizeof *fast, PROT_READ, MAP_SHARED, file, 0);
    if (mapped != MAP_FAILED) fast = mapped;
    close(file);
}

/* FAULT_CLOCK: number of seconds that the clock is slow. */
int clock_gettime(clockid_t id, struct timespec *time) {
    int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(id, time);
    if (id != CLOCK_REALTIME) return result;
    const char *slow = getenv("FAULT_CLOCK");
    if (slow) time->tv_sec -= atoll(slow);
    if (fast) {
        int64_t more = *fast, second = 1000000000;
        time->tv_sec += more / second;
        time->tv_nsec += more % second;
        if (time->tv_nsec >= second) {
            time->tv_nsec -= second;
            time->tv_sec++;
        }
        if (time->tv_nsec < 0) {
            time->tv_nsec += second;
            time->tv_sec--;
        }
    }
    return result;
}

/* FAULT_THREADS: number of threads that can be started. FAULT_ERRNO: the error code for further threads. */
int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *argument) {
    static atomic_int started;
    int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *) = dlsym(RTLD_NEXT, "pthread_create");
    const char *most = getenv("FAULT_THREADS");
    if (most && atomic_fetch_add(&started, 1) >= atoi(most)) return atoi(getenv("FAULT_ERRNO"));
    return real(thread, attributes, start, argument);
}

/* FAULT_RANDOM: if set, the system gives no random bytes. The standard library panics then. */
ssize_t getrandom(void *bytes, size_t length, unsigned flags) {
    ssize_t (*real)(void *, size_t, unsigned) = dlsym(RTLD_NEXT, "getrandom");
    if (getenv("FAULT_RANDOM")) {
        errno = EIO;
        return -1;
    }
    return real(bytes, length, flags);
}

/* FAULT_KILL: number of files that are synced before the process is killed. Folders are synced without the C
   library. */
static void kill_in_turn(void) {
    static atomic_int synced;
    const char *most = getenv("FAULT_KILL");
    if (most && atomic_fetch_add(&synced, 1) >= atoi(most)) kill(getpid(), SIGKILL);
}

int fsync(int file) {
    int (*real)(int) = dlsym(RTLD_NEXT, "fsync");
    kill_in_turn();
    return real(file);
}

int fdatasync(int file) {
    int (*real)(int) = dlsym(RTLD_NEXT, "fdatasync");
    kill_in_turn();
    return real(file);
}
