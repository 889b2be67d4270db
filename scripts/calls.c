/* Prints how many nanoseconds one system call takes, over a loop of them.
 *
 *   calls getppid|personality COUNT
 *
 * getppid is allowed whatever its arguments, so the kernel keeps it in a bitmap and runs no filter.
 * Profiles test the argument of personality, so the filter runs each time; 0xffffffff only asks. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    long count = argc == 3 ? atol(argv[2]) : 0;
    long number, failed = 0;
    struct timespec from, to;

    if (count > 0 && !strcmp(argv[1], "getppid"))
        number = SYS_getppid;
    else if (count > 0 && !strcmp(argv[1], "personality"))
        number = SYS_personality;
    else
        return fprintf(stderr, "usage: calls getppid|personality COUNT\n"), 2;
    clock_gettime(CLOCK_MONOTONIC, &from);
    for (long n = 0; n < count; n++)
        failed += syscall(number, 0xffffffffUL) < 0;
    clock_gettime(CLOCK_MONOTONIC, &to);
    if (failed)
        return fprintf(stderr, "calls: %s was denied\n", argv[1]), 1;
    printf("%.2f\n", ((to.tv_sec - from.tv_sec) * 1e9 + (to.tv_nsec - from.tv_nsec)) / count);
    return 0;
}
