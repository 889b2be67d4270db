/* Runs a program as an older kernel would: what a later one brought is not there.
 *
 *   old_kernel 5.15 PROGRAM ARGUMENT...       calls and flags that are newer than this version
 *   old_kernel 435,442 PROGRAM ARGUMENT...    calls by their numbers
 *
 * A call that is not there is ENOSYS, a flag that is not there what that call says of unknown flags.
 * It is a seccomp filter, which all that comes of the program inherits. It sees registers: what
 * stands in memory (the flags of clone3 and openat2), files of the cgroup file system and the release
 * that uname tells stay those of the host.
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define V(major, minor) ((major) * 1000 + (minor))
#define COUNT(array) (sizeof(array) / sizeof(*(array)))

/* The highest number of a call in that version and those behind it. Since 424 they are the same on all
 * architectures. Source: arch/x86/entry/syscalls/syscall_64.tbl of each. */
static const struct { int version, last; } numbers[] = {
    { V(5, 3), 435 },  { V(5, 6), 438 },  { V(5, 8), 439 },  { V(5, 10), 440 }, { V(5, 11), 441 },
    { V(5, 12), 442 }, { V(5, 13), 446 }, { V(5, 14), 447 }, { V(5, 15), 448 }, { V(5, 16), 449 },
    { V(5, 17), 450 }, { V(6, 5), 451 },  { V(6, 6), 453 },  { V(6, 7), 456 },  { V(6, 8), 461 },
    { V(6, 10), 462 }, { V(6, 13), 466 }, { V(6, 15), 467 }, { V(6, 17), 469 },
};

/* What came to a call that had been there: any of these bits, or exactly this value. */
static const struct { int since, call, argument; unsigned bits, value; int error; } parts[] = {
    { V(5, 11), SYS_close_range, 2, 4, 0, EINVAL },             /* CLOSE_RANGE_CLOEXEC */
    { V(5, 14), SYS_prctl, 0, 0, 62, EINVAL },                  /* PR_SCHED_CORE */
    { V(5, 15), SYS_move_mount, 4, 0x100, 0, EINVAL },          /* MOVE_MOUNT_SET_GROUP */
    { V(5, 17), SYS_prctl, 0, 0, 0x53564d41, EINVAL },          /* PR_SET_VMA */
    { V(5, 19), SYS_seccomp, 1, 32, 0, EINVAL },                /* FLAG_WAIT_KILLABLE_RECV */
    { V(6, 3), SYS_memfd_create, 1, 0x18, 0, EINVAL },          /* MFD_NOEXEC_SEAL, MFD_EXEC */
    { V(6, 3), SYS_prctl, 0, 0, 65, EINVAL },                   /* PR_SET_MDWE */
    { V(6, 4), SYS_prctl, 0, 0, 67, EINVAL },                   /* PR_SET_MEMORY_MERGE */
    { V(6, 5), SYS_move_mount, 4, 0x200, 0, EINVAL },           /* MOVE_MOUNT_BENEATH */
    { V(6, 6), SYS_fsconfig, 1, 0, 8, EOPNOTSUPP },             /* FSCONFIG_CMD_CREATE_EXCL */
    { V(6, 6), SYS_ioctl, 1, 0, 0x40082104, EINVAL },           /* SECCOMP_IOCTL_NOTIF_SET_FLAGS */
    { V(6, 9), SYS_pidfd_open, 1, 0x80, 0, EINVAL },            /* PIDFD_THREAD */
    { V(6, 9), SYS_pidfd_send_signal, 3, 7, 0, EINVAL },        /* PIDFD_SIGNAL_... */
    { V(6, 13), SYS_ioctl, 1, 0, 0xc050ff0b, ENOTTY },          /* PIDFD_GET_INFO */
};

static struct sock_filter code[512];
static unsigned short length;

static void add(unsigned short op, unsigned char yes, unsigned char no, unsigned k)
{
    code[length++] = (struct sock_filter){ op, yes, no, k };
}

static void load(size_t offset)
{
    add(BPF_LD | BPF_W | BPF_ABS, 0, 0, (unsigned)offset);
}

static void answer(int error)
{
    add(BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ERRNO | (unsigned)error);
}

int main(int argc, char **argv)
{
    int major, minor, last = 0;
    if (argc < 3)
        return fprintf(stderr, "usage: old_kernel VERSION|NUMBER,... PROGRAM ARGUMENT...\n"), 2;
    load(offsetof(struct seccomp_data, nr));
    if (sscanf(argv[1], "%d.%d", &major, &minor) == 2) {
        int version = V(major, minor);
        for (size_t i = 0; i < COUNT(numbers); i++)
            if (numbers[i].version <= version)
                last = numbers[i].last;
        if (!last)
            return fprintf(stderr, "old_kernel: 5.3 is the oldest\n"), 2;
        add(BPF_JMP | BPF_JGT | BPF_K, 0, 1, (unsigned)last);
        answer(ENOSYS);
        for (size_t i = 0; i < COUNT(parts); i++) {
            if (parts[i].since <= version)
                continue;
            add(BPF_JMP | BPF_JEQ | BPF_K, 0, 4, (unsigned)parts[i].call);
            load(offsetof(struct seccomp_data, args) + 8 * (size_t)parts[i].argument);
            if (parts[i].bits)
                add(BPF_JMP | BPF_JSET | BPF_K, 0, 1, parts[i].bits);
            else
                add(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, parts[i].value);
            answer(parts[i].error);
            load(offsetof(struct seccomp_data, nr));
        }
    } else {
        for (char *word = strtok(argv[1], ","); word; word = strtok(NULL, ",")) {
            add(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, (unsigned)strtoul(word, NULL, 10));
            answer(ENOSYS);
        }
    }
    add(BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW);

    struct sock_fprog program = { length, code };
    /* As root without no_new_privs, which would change what is tested. */
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) &&
        (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
         syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program)))
        return perror("old_kernel: seccomp"), 2;
    execv(argv[2], argv + 2);
    return perror(argv[2]), 127;
}
