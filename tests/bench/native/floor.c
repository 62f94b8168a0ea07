/* The floor of any fan-out: a loop of send() in C, which does nothing else.
 *
 *     floor VIEWERS RATE BATCH SIZE
 *
 * Listens on a free port of 127.0.0.1, prints it, waits for VIEWERS WebSocket handshakes (answered
 * with a canned head: only the key of viewers.c fits) and then sends RATE messages a second to each
 * viewer, BATCH of them in one send(), each a text frame of SIZE bytes.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const char HEAD[] =
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static void sleep_until(double when) {
    struct timespec time = {.tv_sec = (time_t)when};
    time.tv_nsec = (long)((when - (double)time.tv_sec) * 1e9);
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL);
}

static int listening(void) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (server < 0 || bind(server, (struct sockaddr *)&address, size) || listen(server, 1024))
        fail("listen");
    if (getsockname(server, (struct sockaddr *)&address, &size)) fail("getsockname");
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return server;
}

static int admitted(int server) {
    int one = 1, viewer = accept(server, NULL, NULL);
    char request[4096];
    if (viewer < 0 || recv(viewer, request, sizeof request, 0) <= 0) fail("accept");
    if (write(viewer, HEAD, sizeof HEAD - 1) != sizeof HEAD - 1) fail("handshake");
    setsockopt(viewer, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fcntl(viewer, F_SETFL, O_NONBLOCK);
    return viewer;
}

static void send_whole(int viewer, const char *data, size_t size) {
    while (size) {
        ssize_t sent = send(viewer, data, size, MSG_NOSIGNAL);
        if (sent >= 0) {
            data += sent;
            size -= (size_t)sent;
        } else if (errno == EAGAIN) {
            struct pollfd room = {.fd = viewer, .events = POLLOUT};
            poll(&room, 1, -1);
        } else {
            exit(0); /* the viewers have gone */
        }
    }
}

int main(int count, char **arguments) {
    if (count != 5) {
        fprintf(stderr, "usage: floor VIEWERS RATE BATCH SIZE\n");
        return 64;
    }
    size_t viewers = strtoul(arguments[1], NULL, 10), batch = strtoul(arguments[3], NULL, 10);
    size_t size = strtoul(arguments[4], NULL, 10), frame = size + 4;
    double every = (double)batch / strtod(arguments[2], NULL);
    int server = listening(), *viewer = malloc(viewers * sizeof *viewer);
    char *frames = malloc(batch * frame);
    if (!viewer || !frames) fail("malloc");
    for (size_t i = 0; i < viewers; i++) viewer[i] = admitted(server);
    for (size_t i = 0; i < batch; i++) {
        char *start = frames + i * frame;
        start[0] = (char)0x81; /* FIN, text (RFC 6455 section 5.2); a 16-bit length */
        start[1] = 126;
        start[2] = (char)(size >> 8);
        start[3] = (char)(size & 255);
        memset(start + 4, 'x', size);
    }
    double next = now();
    for (;;) {
        for (size_t i = 0; i < viewers; i++) send_whole(viewer[i], frames, batch * frame);
        next += every;
        double earliest = now() - 0.25; /* a little late is made up for; a pause is not */
        if (next < earliest) next = earliest;
        sleep_until(next);
    }
}
