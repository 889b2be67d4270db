// What an attacker would run in a jail, one mode a question: raw system calls, so that no C
// library stands between the question and the kernel. Built by support/attack.rs at test time.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <mqueue.h>
#include <grp.h>
#include <dirent.h>
#include <unistd.h>

extern char **environ;

static void say(const char *name, long result) {
    printf("%s %s\n", name, result < 0 ? strerrorname_np(errno) : "ok");
}

struct call {
    const char *name;
    long number, a[6];
};

#define BAD (-1L)

// Arguments are such that a call which is let through fails for another reason, or does no harm.
static const struct call CALLS[] = {
    {"keyctl", SYS_keyctl, {0, -3, 0}},
    {"add_key", SYS_add_key, {0}},
    {"request_key", SYS_request_key, {0}},
    {"bpf", SYS_bpf, {0, 0, 0}},
    {"perf_event_open", SYS_perf_event_open, {0, 0, -1, -1, 0}},
    {"userfaultfd", SYS_userfaultfd, {1}},
    {"io_uring_setup", SYS_io_uring_setup, {1, 0}},
    {"io_uring_enter", SYS_io_uring_enter, {BAD, 0, 0, 0, 0}},
    {"io_uring_register", SYS_io_uring_register, {BAD, 0, 0, 0}},
    {"mount", SYS_mount, {0, 0, 0, 0, 0}},
    {"umount2", SYS_umount2, {0, 0}},
    {"pivot_root", SYS_pivot_root, {0, 0}},
    {"fsopen", SYS_fsopen, {0, 0}},
    {"fsconfig", SYS_fsconfig, {BAD, 0, 0, 0, 0}},
    {"fsmount", SYS_fsmount, {BAD, 0, 0}},
    {"fspick", SYS_fspick, {BAD, 0, 0}},
    {"open_tree", SYS_open_tree, {BAD, 0, 0}},
    {"move_mount", SYS_move_mount, {BAD, 0, BAD, 0, 0}},
    {"mount_setattr", SYS_mount_setattr, {BAD, 0, 0, 0, 0}},
    {"kexec_load", SYS_kexec_load, {0, 0, 0, 0}},
    {"kexec_file_load", SYS_kexec_file_load, {BAD, BAD, 0, 0, 0}},
    {"init_module", SYS_init_module, {0, 0, 0}},
    {"finit_module", SYS_finit_module, {BAD, 0, 0}},
    {"delete_module", SYS_delete_module, {0, 0}},
    {"open_by_handle_at", SYS_open_by_handle_at, {BAD, 0, 0}},
    {"name_to_handle_at", SYS_name_to_handle_at, {BAD, 0, 0, 0, 0}},
    {"pidfd_getfd", SYS_pidfd_getfd, {BAD, 0, 0}},
    {"kcmp", SYS_kcmp, {1, 1, 99, 0, 0}},
    {"process_madvise", SYS_process_madvise, {BAD, 0, 0, 0, 0}},
    {"quotactl", SYS_quotactl, {0, 0, 0, 0}},
    {"acct", SYS_acct, {8}},
    {"swapon", SYS_swapon, {8, 0}},
    {"swapoff", SYS_swapoff, {8}},
    {"settimeofday", SYS_settimeofday, {8, 0}},
    {"clock_settime", SYS_clock_settime, {0, 8}},
    {"reboot", SYS_reboot, {0, 0, 0, 0}},
    {"personality", SYS_personality, {0x0400000}},  // ADDR_NO_RANDOMIZE and more: odd
    {"iopl", SYS_iopl, {4}},
    {"ioperm", SYS_ioperm, {-1, 1, 1}},
    {"fanotify_init", SYS_fanotify_init, {BAD, 0}},
    {"lookup_dcookie", SYS_lookup_dcookie, {0, 0, 0}},
    {"setns", SYS_setns, {BAD, 0}},
    {"unshare", SYS_unshare, {CLONE_NEWUSER}},
    {"ptrace", SYS_ptrace, {99, 0, 0, 0}},
    {"process_vm_readv", SYS_process_vm_readv, {0, 0, 0, 0, 0, 1}},
    {"process_vm_writev", SYS_process_vm_writev, {0, 0, 0, 0, 0, 1}},
    {"memfd_secret", SYS_memfd_secret, {BAD}},
    {"chroot", SYS_chroot, {8}},
    {"syslog", SYS_syslog, {10, 0, 0}},
};

static int calls(void) {
    for (size_t i = 0; i < sizeof CALLS / sizeof *CALLS; i++) {
        const struct call *c = &CALLS[i];
        const long *a = c->a;
        // Each in a child of its own: some change the caller when let through.
        fflush(stdout);
        pid_t pid = fork();
        if (pid == 0) {
            say(c->name, syscall(c->number, a[0], a[1], a[2], a[3], a[4], a[5]));
            fflush(stdout);
            _exit(0);
        }
        int status;
        waitpid(pid, &status, 0);
        if (WIFSIGNALED(status)) printf("%s SIG%d\n", c->name, WTERMSIG(status));
    }
    return 0;
}

static int namespaces(void) {
    static const struct { const char *name; long flag; } FLAGS[] = {
        {"clone_newns", CLONE_NEWNS},   {"clone_newuser", CLONE_NEWUSER},
        {"clone_newpid", CLONE_NEWPID}, {"clone_newnet", CLONE_NEWNET},
        {"clone_newipc", CLONE_NEWIPC}, {"clone_newuts", CLONE_NEWUTS},
        {"clone_newcgroup", CLONE_NEWCGROUP},
    };
    for (size_t i = 0; i < sizeof FLAGS / sizeof *FLAGS; i++) {
        fflush(stdout);
        long pid = syscall(SYS_clone, FLAGS[i].flag | SIGCHLD, 0, 0, 0, 0);
        if (pid == 0) _exit(0);
        say(FLAGS[i].name, pid);
        // With a new user namespace beside it, root of which might do the rest.
        pid = syscall(SYS_clone, FLAGS[i].flag | CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
        if (pid == 0) _exit(0);
        printf("user+");
        say(FLAGS[i].name, pid);
    }
    say("clone3", syscall(SYS_clone3, 0, 0));
    return 0;
}

static void *thread(void *arg) {
    return arg;
}

static int threads(void) {
    pthread_t t;
    void *back = 0, *token = &back;
    if (pthread_create(&t, 0, thread, token) || pthread_join(t, &back) || back != token) return 1;
    puts("thread ok");
    fflush(stdout);
    pid_t pid;
    char *argv[] = {"sh", "-c", "echo spawned", 0};
    int status;
    if (posix_spawn(&pid, "/bin/sh", 0, 0, argv, environ)) return 2;
    waitpid(pid, &status, 0);
    return status;
}

static int sockets(void) {
    static const struct { const char *name; int family, type, protocol; } S[] = {
        {"AF_ALG", 38, SOCK_SEQPACKET, 0}, {"AF_VSOCK", 40, SOCK_STREAM, 0},
        {"AF_PACKET", 17, SOCK_RAW, 0},    {"AF_KEY", 15, SOCK_RAW, 2},
        {"AF_RXRPC", 33, SOCK_DGRAM, 2},   {"AF_XDP", 44, SOCK_RAW, 0},
        {"NETLINK_AUDIT", 16, SOCK_RAW, 9}, {"AF_UNIX", 1, SOCK_STREAM, 0},
        {"AF_INET", 2, SOCK_STREAM, 0},    {"NETLINK_ROUTE", 16, SOCK_RAW, 0},
    };
    for (size_t i = 0; i < sizeof S / sizeof *S; i++)
        say(S[i].name, socket(S[i].family, S[i].type, S[i].protocol));
    // The kernel takes ints: bits above them must not get a family past the filter.
    say("AF_ALG+bit32", syscall(SYS_socket, 38 | 1L << 32, SOCK_SEQPACKET, 0));
    int pair[2];
    say("AF_ALG-pair", socketpair(38, SOCK_SEQPACKET, 0, pair));
    return 0;
}

static int ioctls(void) {
    char c = 'x', sub = 2;
    say("TIOCSTI", syscall(SYS_ioctl, 0, 0x5412L, &c));
    say("TIOCSTI+bit32", syscall(SYS_ioctl, 0, 0x5412L | 1L << 32, &c));
    say("TIOCLINUX", syscall(SYS_ioctl, 0, 0x541cL, &sub));
    say("TIOCLINUX+bit32", syscall(SYS_ioctl, 0, 0x541cL | 1L << 63, &sub));
    struct winsize size;
    say("TIOCGWINSZ", ioctl(0, TIOCGWINSZ, &size));
    return 0;
}

static int int80(void) {
    long result = 20;  // getpid of the 32-bit table
    __asm__ volatile("int $0x80" : "+a"(result)::"memory");
    printf("int80 answered %ld\n", result);
    return 0;
}

static int x32(void) {
    say("x32-getpid", syscall(SYS_getpid | 0x40000000L));
    return 0;
}

static int fds(void) {
    for (int fd = 0; fd < 4096; fd++) {
        char name[32], to[256];
        snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
        ssize_t n = readlink(name, to, sizeof to);
        if (n >= 0) printf("%d %.*s\n", fd, (int)n, to);
    }
    return 0;
}

static int signals(void) {
    sigset_t set;
    sigprocmask(SIG_SETMASK, 0, &set);
    for (int s = 1; s < 65; s++) {
        struct sigaction old;
        if (sigismember(&set, s) == 1) printf("blocked %d\n", s);
        if (sigaction(s, 0, &old) == 0 && old.sa_handler != SIG_DFL) printf("not default %d\n", s);
    }
    puts("looked");
    return 0;
}

static int ids(void) {
    uid_t r, e, s;
    gid_t rg, eg, sg, groups[64];
    getresuid(&r, &e, &s);
    getresgid(&rg, &eg, &sg);
    printf("uid %u %u %u\ngid %u %u %u\ngroups", r, e, s, rg, eg, sg);
    int n = getgroups(64, groups);
    for (int i = 0; i < n; i++) printf(" %u", groups[i]);
    puts("");
    gid_t more = 4242;
    say("setgroups", setgroups(1, &more));
    say("setgroups0", setgroups(0, 0));
    say("setuid0", setresuid(0, 0, 0) | setresgid(0, 0, 0));
    return 0;
}

static int keyring(void) {
    printf("session %ld\n", syscall(SYS_keyctl, 0, -3, 0, 0, 0));
    say("search", syscall(SYS_keyctl, 10, -3, "user", "stockade-test-key", 0));
    return 0;
}

static int addkey(char **argv) {
    // A session keyring with a key in it, and then the rest of the command line.
    if (syscall(SYS_keyctl, 1, 0, 0, 0, 0) < 0) return 77;
    if (syscall(SYS_add_key, "user", "stockade-test-key", "secret", 6, -3) < 0) return 77;
    execv(argv[0], argv);
    return 126;
}

static int ipc(char **argv) {
    key_t key = (key_t)strtol(argv[0], 0, 10);
    say("shmget", shmget(key, 0, 0));
    say("mq_open", mq_open(argv[1], O_RDONLY));
    char path[256];
    snprintf(path, sizeof path, "/dev/shm%s", argv[1]);
    say("shm_open", open(path, O_RDONLY));
    return 0;
}

static int makeipc(char **argv) {
    key_t key = (key_t)strtol(argv[0], 0, 10);
    int id = shmget(key, 4096, IPC_CREAT | 0666);
    struct mq_attr attr = {.mq_maxmsg = 1, .mq_msgsize = 16};
    mqd_t q = mq_open(argv[1], O_CREAT | O_RDWR, 0666, &attr);
    char path[256];
    snprintf(path, sizeof path, "/dev/shm%s", argv[1]);
    int fd = open(path, O_CREAT | O_RDWR, 0666);
    printf("%d %d %d\n", id, q, fd);
    fflush(stdout);
    getchar();
    shmctl(id, IPC_RMID, 0);
    mq_unlink(argv[1]);
    unlink(path);
    return 0;
}

static int orphans(char **argv) {
    int wanted = atoi(argv[0]);
    for (int i = 0; i < wanted; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            if (fork() == 0) _exit(0);  // its parent is gone or going: init's to reap
            _exit(0);
        }
        if (pid < 0) { i--; usleep(1000); continue; }
        waitpid(pid, 0, 0);
    }
    // Those still on their way die within moments; a zombie stays for ever.
    for (int round = 0; round < 500; round++) {
        int others = 0;
        DIR *proc = opendir("/proc");
        for (struct dirent *d; (d = readdir(proc));) {
            int pid = atoi(d->d_name);
            if (pid > 1 && pid != getpid()) others++;
        }
        closedir(proc);
        if (!others) { puts("no zombie"); return 0; }
        usleep(10000);
    }
    puts("zombies");
    return 1;
}

static int suidfile(void) {
    // Every way to a set-user-ID file in the working directory.
    close(open("plain", O_CREAT | O_RDWR, 0755));
    say("chmod", chmod("plain", 04755));
    say("chmod-sgid", chmod("plain", 02755));
    int fd = open("plain", O_RDWR);
    say("fchmod", fchmod(fd, 04755));
    say("fchmodat", syscall(SYS_fchmodat, AT_FDCWD, "plain", 04755));
    say("fchmodat2", syscall(452, AT_FDCWD, "plain", 04755, 0));
    say("fchmod+bit32", syscall(SYS_fchmod, fd, 04755 | 1L << 32));
    umask(0);
    say("open", syscall(SYS_open, "s1", O_CREAT | O_RDWR, 04755));
    say("openat", syscall(SYS_openat, AT_FDCWD, "s2", O_CREAT | O_RDWR, 04755));
    say("creat", syscall(SYS_creat, "s3", 04755));
    say("mknod", syscall(SYS_mknod, "s4", S_IFREG | 04755, 0));
    say("mknodat", syscall(SYS_mknodat, AT_FDCWD, "s5", S_IFREG | 04755, 0));
    int tmp = syscall(SYS_openat, AT_FDCWD, ".", O_TMPFILE | O_RDWR, 04755);
    say("tmpfile", tmp);
    unsigned long how[3] = {O_CREAT | O_RDWR, 04755, 0};
    say("openat2", syscall(437, AT_FDCWD, "s6", how, sizeof how));
    say("mkdir-sgid", mkdir("s7", 02777));
    return 0;
}

static int devices(char **argv) {
    for (; *argv; argv++) {
        int fd = open(*argv, O_RDONLY | O_NONBLOCK);
        say(*argv, fd);
    }
    say("mknod-c", mknod("c", S_IFCHR | 0666, 0x0103));
    say("open-c", open("c", O_RDONLY));
    say("mknod-b", mknod("b", S_IFBLK | 0666, 0xfe00));
    say("open-b", open("b", O_RDONLY));
    return 0;
}

int main(int argc, char **argv) {
    const char *mode = argc > 1 ? argv[1] : "";
    if (!strcmp(mode, "calls")) return calls();
    if (!strcmp(mode, "namespaces")) return namespaces();
    if (!strcmp(mode, "threads")) return threads();
    if (!strcmp(mode, "sockets")) return sockets();
    if (!strcmp(mode, "ioctls")) return ioctls();
    if (!strcmp(mode, "int80")) return int80();
    if (!strcmp(mode, "x32")) return x32();
    if (!strcmp(mode, "fds")) return fds();
    if (!strcmp(mode, "signals")) return signals();
    if (!strcmp(mode, "ids")) return ids();
    if (!strcmp(mode, "keyring")) return keyring();
    if (!strcmp(mode, "suidfile")) return suidfile();
    if (!strcmp(mode, "devices")) return devices(argv + 2);
    if (!strcmp(mode, "addkey") && argc > 2) return addkey(argv + 2);
    if (!strcmp(mode, "ipc") && argc > 3) return ipc(argv + 2);
    if (!strcmp(mode, "makeipc") && argc > 3) return makeipc(argv + 2);
    if (!strcmp(mode, "orphans") && argc > 2) return orphans(argv + 2);
    return 99;
}
