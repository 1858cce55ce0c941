/* Runs before the runtime of Rust, which opens /dev/null for reading and writing in place of a closed standard output.
 * Every write would then succeed, and a lost export would be called complete. This opens it for reading only, so that
 * the program can tell the difference. */
#include <fcntl.h>
#include <unistd.h>

__attribute__((constructor)) static void mark_closed_stdout(void) {
    int null;
    if (fcntl(STDOUT_FILENO, F_GETFD) != -1) return;
    null = open("/dev/null", O_RDONLY);
    if (null == -1 || null == STDOUT_FILENO) return;
    dup2(null, STDOUT_FILENO);
    close(null);
}
