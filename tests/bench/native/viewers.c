/* Many WebSocket viewers in one small process (RFC 6455, client side, as little of it as counts).
 *
 *     viewers PORT COUNT COUNTERS PATH [latency]
 *
 * Connects COUNT viewers to 127.0.0.1:PORT and reads on for ever. COUNTERS is a file that is mapped
 * and holds a struct counters, for whoever measures. Without `latency` bytes are thrown away
 * unread, at the least possible cost. With it frames are taken apart, and each token whose text is
 * "@SECONDS" (since the epoch, with a fraction) counts with the time since then.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BINS 200000 /* of 10 microseconds: two seconds */
#define BUFFER (1 << 20)

struct counters {
    uint64_t connected;
    uint64_t bytes;
    uint64_t closed;
    uint64_t tokens;
    uint64_t late;     /* tokens beyond the last bin */
    uint64_t welcomed; /* viewers that have had their Snapshot: from now on every token counts */
    uint64_t histogram[BINS];
};

struct viewer {
    int socket;
    size_t held, room;
    char *data; /* the start of a frame whose end has not come yet */
};

static volatile struct counters *counters;
static char buffer[BUFFER];

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static int connected(int port, const char *path) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int viewer = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (viewer < 0 || connect(viewer, (struct sockaddr *)&address, sizeof address)) fail("connect");
    char request[512];
    int size = snprintf(request, sizeof request,
                        "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\n"
                        "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                        "Sec-WebSocket-Version: 13\r\n\r\n",
                        path, port);
    if (write(viewer, request, (size_t)size) != size) fail("handshake");
    /* A byte at a time, so that nothing is read of what follows the head. */
    char head[4096];
    size_t length = 0;
    while (length < 4 || memcmp(head + length - 4, "\r\n\r\n", 4)) {
        if (length == sizeof head || recv(viewer, head + length, 1, 0) != 1) fail("handshake");
        length++;
    }
    if (memcmp(head, "HTTP/1.1 101", 12)) {
        fprintf(stderr, "refused: %.*s\n", (int)length, head);
        exit(1);
    }
    fcntl(viewer, F_SETFL, O_NONBLOCK);
    return viewer;
}

static int is_kind(const char *data, size_t size, const char *kind) {
    static const char start[] = "{\"message_type\":\"";
    size_t skip = sizeof start - 1, length = strlen(kind);
    return size > skip + length && !memcmp(data, start, skip) &&
           !memcmp(data + skip, kind, length);
}

static void take_message(const char *data, size_t size, double arrived) {
    static const char text[] = "\"current_token\":\"@";
    if (is_kind(data, size, "Snapshot\"")) counters->welcomed++;
    if (!is_kind(data, size, "TokenVisualizationUpdate\"")) return;
    counters->tokens++;
    const char *at = memmem(data, size, text, sizeof text - 1);
    if (!at) return;
    double late = arrived - strtod(at + sizeof text - 1, NULL); /* ends at the closing quote */
    uint64_t bin = late > 0 ? (uint64_t)(late * 1e5) : 0;
    if (bin < BINS)
        counters->histogram[bin]++;
    else
        counters->late++;
}

/* Take whole frames and answer pings; returns how many bytes they were. */
static size_t take_frames(int socket, const char *data, size_t size, double arrived) {
    static const unsigned char pong[] = {0x8a, 0x80, 0, 0, 0, 0}; /* masked with zeros */
    size_t at = 0;
    while (size - at >= 2) {
        const unsigned char *head = (const unsigned char *)data + at;
        uint64_t length = head[1] & 127;
        size_t start = length == 126 ? 4 : length == 127 ? 10 : 2;
        if (size - at < start) break;
        if (length >= 126) {
            length = 0;
            for (size_t i = 2; i < start; i++) length = length << 8 | head[i];
        }
        if (size - at - start < length) break;
        /* A full socket loses one; the next ping comes in five seconds. */
        if ((head[0] & 15) == 9) (void)!write(socket, pong, sizeof pong);
        if ((head[0] & 15) == 1) take_message(data + at + start, length, arrived);
        at += start + length;
    }
    return at;
}

static void hold(struct viewer *viewer, const char *data, size_t size) {
    if (viewer->held + size > viewer->room) {
        viewer->room = 2 * (viewer->held + size);
        viewer->data = realloc(viewer->data, viewer->room);
        if (!viewer->data) fail("realloc");
    }
    memcpy(viewer->data + viewer->held, data, size);
    viewer->held += size;
}

static void take(struct viewer *viewer, size_t size) {
    double arrived = now();
    if (!viewer->held) {
        size_t taken = take_frames(viewer->socket, buffer, size, arrived);
        if (taken < size) hold(viewer, buffer + taken, size - taken);
        return;
    }
    hold(viewer, buffer, size);
    size_t taken = take_frames(viewer->socket, viewer->data, viewer->held, arrived);
    viewer->held -= taken;
    memmove(viewer->data, viewer->data + taken, viewer->held);
}

int main(int count, char **arguments) {
    if (count < 5) {
        fprintf(stderr, "usage: viewers PORT COUNT COUNTERS PATH [latency]\n");
        return 64;
    }
    int port = atoi(arguments[1]), viewers = atoi(arguments[2]), latency = count > 5;
    int file = open(arguments[3], O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0 || ftruncate(file, sizeof *counters)) fail(arguments[3]);
    counters = mmap(NULL, sizeof *counters, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (counters == MAP_FAILED) fail("mmap");
    struct viewer *all = calloc((size_t)viewers, sizeof *all);
    int poll = epoll_create1(EPOLL_CLOEXEC);
    if (!all || poll < 0) fail("epoll_create1");
    for (int i = 0; i < viewers; i++) {
        all[i].socket = connected(port, arguments[4]);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &all[i]};
        epoll_ctl(poll, EPOLL_CTL_ADD, all[i].socket, &event);
        counters->connected++;
    }
    struct epoll_event events[1024];
    for (;;) {
        int ready = epoll_wait(poll, events, 1024, -1);
        for (int i = 0; i < ready; i++) {
            struct viewer *viewer = events[i].data.ptr;
            ssize_t size = recv(viewer->socket, buffer, sizeof buffer, 0);
            if (size > 0) {
                counters->bytes += (uint64_t)size;
                if (latency) take(viewer, (size_t)size);
            } else if (size == 0 || errno != EAGAIN) {
                counters->closed++;
                close(viewer->socket);
            }
        }
    }
}
