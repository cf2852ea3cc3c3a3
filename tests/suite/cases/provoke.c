/* What the suite cannot do in safe Rust: `store FILE`, through a mapping after the last close; `truncate FILE LEN`, by
   path. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "truncate") == 0)
        return truncate(argv[2], atol(argv[3])) != 0;
    if (argc == 3 && strcmp(argv[1], "store") == 0) {
        int fd = open(argv[2], O_RDWR);
        char *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (fd < 0 || at == MAP_FAILED || close(fd) != 0)
            return 1;
        /* Whatever watches has read the event of the close by the time the program says so. */
        if (write(1, "closed\n", 7) != 7 || read(0, &fd, 1) < 0)
            return 1;
        memset(at, 'S', 5);
        return munmap(at, 4096) != 0;
    }
    return 2;
}
