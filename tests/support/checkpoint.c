/*
 * Programs that are checkpointed. They count:
 *   tell SOCKET      to a datagram socket outside
 *   lock LOCK FILE   to a file, and hold a lock on another
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int tell(const char *path)
{
    struct sockaddr_un to = { .sun_family = AF_UNIX };
    int sock = socket(AF_UNIX, SOCK_DGRAM, 0);

    strncpy(to.sun_path, path, sizeof(to.sun_path) - 1);
    return sock >= 0 && connect(sock, (struct sockaddr *)&to, sizeof(to)) == 0 ? sock : -1;
}

static int lock(const char *path, const char *file)
{
    int held = open(path, O_CREAT | O_RDWR, 0600);

    if (held < 0 || flock(held, LOCK_EX | LOCK_NB))
        return -1;
    return open(file, O_CREAT | O_APPEND | O_WRONLY, 0600);
}

int main(int argc, char **argv)
{
    int to = argc == 3 ? tell(argv[2]) : argc == 4 ? lock(argv[2], argv[3]) : -1;
    char text[32];

    for (int i = 1; to >= 0; i++) {
        int n = snprintf(text, sizeof(text), argc == 3 ? "%d" : "%d\n", i);
        /* Nobody may be listening for a while. */
        (void)!(argc == 3 ? send(to, text, n, MSG_DONTWAIT) : write(to, text, n));
        usleep(50000);
    }
    return 1;
}
